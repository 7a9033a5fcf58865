"""The end of a connection whose peer is gone without a word: sooner than the system's own quarter of an hour."""

from __future__ import annotations

import contextlib
import socket

_UNHEARD_MS = 20_000  # sent bytes that nobody confirms for so long end the connection, where the system can do that


def end_when_unheard(_client: object, _data: object, opened: object) -> None:
    """Tell the system so of a socket; in the form in which MQTT clients announce a new one."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if option is not None and isinstance(opened, socket.socket):
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, option, _UNHEARD_MS)
