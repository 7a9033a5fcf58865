"""What the systemd unit of the agent says, for whoever starts an agent as a device does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

UNIT = Path(__file__).parents[2] / "firmware-configs" / "systemd" / "edgewatt.service"


def unit_environment() -> dict[str, str]:
    """Variables that the unit sets."""
    return dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", UNIT.read_text()))


def unit_preparation() -> list[str]:
    """Arguments of Python in the unit's `ExecStartPre`."""
    (command,) = re.findall(r"(?m)^ExecStartPre=\+-/opt/edgewatt/bin/python (.*)$", UNIT.read_text())
    return shlex.split(command)
