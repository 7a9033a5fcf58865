"""Telling systemd that the agent is ready, alive, or ending (sd_notify(3)); silent where nobody asked."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Speaks to the service manager.

    Attributes:
        watchdog_s: the service manager ends an agent that is silent for this long; None where it does not.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the abstract namespace, whose names begin with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() and mine else None

    def ready(self) -> None:
        """The agent samples."""
        self._say("READY=1")

    def alive(self) -> None:
        """A turn of the loop is over."""
        if self.watchdog_s is not None:
            self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._say(f"STATUS={text}")

    def stopping(self) -> None:
        """The agent ends."""
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        # A service manager that has gone must not stop the sampling.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(text.encode(), self._address)
