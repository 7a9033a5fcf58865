"""Whether newer keys of the centre may take the place of those that a device trusts (pure).

That they are genuine is the repository's to say: they are a target like a model.
"""

from __future__ import annotations

from agent.contract.trust import FleetTrust, KeyState, KeyUse


def objection(present: FleetTrust, newer: FleetTrust) -> str:
    """Return why a device must not take `newer`, or nothing.

    It would cut itself off with keys of another fleet, or without one in use for every purpose.
    """
    if newer.fleet != present.fleet:
        return f"it is of fleet {newer.fleet}, this device is of {present.fleet}"
    active = {key.use for key in newer.keys if key.state is KeyState.ACTIVE}
    missing = ", ".join(sorted(set(KeyUse) - active))
    return f"it has no active key for {missing}" if missing else ""
