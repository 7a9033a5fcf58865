"""MQTT topics: the one place where they are spelled."""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.contract.errors import ConfigError, RejectedError

DEVICE_ID = r"[a-z0-9-]{1,32}"
ROOT = "ew/v1"
STREAMS = ("readings", "slots", "forecasts", "costs", "alerts", "events", "health")
URGENT = ("alerts", "events")  # leave before all others, in this order, and without waiting to be many
ENVELOPE_STREAM = "batch"  # an envelope that carries several streams

# What the centre subscribes to.
UP = f"{ROOT}/+/up/+"
STATUS = f"{ROOT}/+/status"
REPO_GET = f"{ROOT}/+/repo/get"
ENROL_REQUEST = f"{ROOT}/+/enrol/request"
CERT_REQUEST = f"{ROOT}/+/cert/request"

_ENROL_USER = "enrol."  # no device id holds a dot, so that no device's name is another's enrolment


class DeviceTopics(NamedTuple):
    """Every topic of one device."""

    device: str

    def up(self, stream: str) -> str:
        """Envelopes towards the centre."""
        return f"{ROOT}/{self.device}/up/{stream}"

    @property
    def status(self) -> str:
        """Retained birth, will as death."""
        return f"{ROOT}/{self.device}/status"

    @property
    def repo_get(self) -> str:
        """Requests for a piece of the update repository."""
        return f"{ROOT}/{self.device}/repo/get"

    @property
    def repo_data(self) -> str:
        """Pieces of the update repository."""
        return f"{ROOT}/{self.device}/repo/data"

    @property
    def ack(self) -> str:
        """Signed acknowledgements."""
        return f"{ROOT}/{self.device}/ack"

    @property
    def assign(self) -> str:
        """The signed assignment, retained."""
        return f"{ROOT}/{self.device}/assign"

    @property
    def enrol_request(self) -> str:
        """The device's sealed request to be enrolled."""
        return f"{ROOT}/{self.device}/enrol/request"

    @property
    def enrol_response(self) -> str:
        """The centre's signed answer."""
        return f"{ROOT}/{self.device}/enrol/response"

    @property
    def cert_request(self) -> str:
        """The device's signed request for a newer certificate."""
        return f"{ROOT}/{self.device}/cert/request"

    @property
    def cert_response(self) -> str:
        """The centre's signed answer."""
        return f"{ROOT}/{self.device}/cert/response"

    @property
    def enrol_user(self) -> str:
        """Who the device is at the broker until it has a certificate; its password is the token."""
        return f"{_ENROL_USER}{self.device}"


def check_device_id(text: str) -> str:
    """Return `text` when it can be a device id.

    Raises:
        ConfigError: otherwise.
    """
    if re.fullmatch(DEVICE_ID, text) is None:
        raise ConfigError(f"device id {text!r} does not have the form {DEVICE_ID}")
    return text


def device_of(topic: str) -> str:
    """Return the device whose topic this is.

    Raises:
        RejectedError: when the topic is not under `ew/v1/<device>/`.
    """
    match = re.fullmatch(rf"{ROOT}/({DEVICE_ID})/.+", topic)
    if match is None:
        raise RejectedError(f"topic {topic!r} is not a device's")
    return match[1]
