"""A TCP proxy on loopback that can go deaf: it forwards, then stops, and closes nothing. So looks a radio link that is gone."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

from tests.support.broker import HOST

_CHUNK = 65_536


class Proxy:
    """Forwards connections to one port until `freeze`; connections that are made after `thaw` are forwarded again.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server((HOST, 0))
        self.port = int(self._server.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._frozen: list[socket.socket] = []
        self._deaf = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def freeze(self) -> None:
        """Forward nothing more on any connection, and answer none that is made."""
        self._deaf.set()

    def thaw(self) -> None:
        """Serve connections that are made from now on; those that were frozen stay deaf."""
        self._frozen += [one for one in self._peers if one not in self._frozen]
        self._deaf.clear()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, with all connections."""
        self._stop.set()
        self._thread.join()
        for one in (self._server, *self._peers):
            one.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.02):
                if self._deaf.is_set():
                    self._stop.wait(0.02)
                elif key.fileobj is self._server:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._forward(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._server.accept()
        with contextlib.suppress(OSError):
            server = socket.create_connection((HOST, self._target))
            self._peers |= {client: server, server: client}
            for one in (client, server):
                self._selector.register(one, selectors.EVENT_READ)
            return
        client.close()

    def _forward(self, source: socket.socket) -> None:
        if source in self._frozen:
            self._selector.unregister(source)
            return
        if source not in self._peers:
            return  # closed with its peer a moment ago, in the same round
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(_CHUNK)
            if data:
                self._peers[source].sendall(data)
                return
        for one in (source, self._peers.pop(source)):
            with contextlib.suppress(KeyError):
                self._selector.unregister(one)
            self._peers.pop(one, None)
            one.close()


@contextlib.contextmanager
def half_open(target: int) -> Iterator[Proxy]:
    """A started proxy, ended on leaving."""
    proxy = Proxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
