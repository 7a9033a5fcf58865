"""Enrolments for tests of a device's identity."""

from agent.contract.enrolment import Enrolment
from agent.contract.keys import SealingKey
from agent.contract.trust import Broker, FleetKey, FleetTrust, KeyState, KeyUse


def enrolment(device="plant-1") -> Enrolment:
    """The file by which a device is enrolled once."""
    seal = FleetKey(KeyUse.SEAL, SealingKey.generate().public, 0, KeyState.ACTIVE)
    return Enrolment(device, "token-of-sixteen-and-more", 2**40, Broker("b", 1883), FleetTrust("f", (seal,)), "{root}")
