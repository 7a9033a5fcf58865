"""The daemon's side of the line to the centre: which message goes to which room. Judges no message."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agent.contract.errors import RejectedError
from agent.contract.topics import DeviceTopics
from agent.daemon.troubles import Troubles

if TYPE_CHECKING:
    from agent.store.identity import Identity
    from agent.store.store import Store
    from agent.sync.acks import AckResult
    from agent.sync.mqtt import MqttLink
    from agent.sync.renew import Renewal
    from agent.sync.uplink import Uplink

Handler = Callable[[bytes], object]


class Exchange:
    """Sends what waits in the store, and hands what comes to whom it concerns.

    A message that a room refuses is told, and leaves nothing wrong; one that it fails at is that room's trouble. The
    messages after it still arrive.
    """

    def __init__(
        self,
        device: str,
        link: MqttLink,
        uplink: Uplink,
        store: Store,
        identity: Identity,
        *,
        on_assignment: Handler,
        on_piece: Handler,
        renewal: Renewal | None = None,
    ) -> None:
        """Join link and uplink; assignments and pieces of the repository go to the handlers."""
        topics = DeviceTopics(device)
        self.link = link
        self.uplink = uplink
        self._store, self._identity = store, identity
        self._renewal = renewal
        self._rooms: dict[str, tuple[str, Handler]] = {
            topics.ack: ("acknowledgements", self.acknowledged),
            topics.assign: ("assignments", on_assignment),
            topics.repo_data: ("repository", on_piece),
        }
        if renewal is not None:
            self._rooms[topics.cert_response] = (
                "certificates",
                lambda payload: renewal.on_response(payload, uplink.trust),
            )

    def turn(self, troubles: Troubles) -> None:
        """Take what came, send what is due. Returns at once; the network is waited for elsewhere."""
        troubles.note("identity", self.link.rival)
        for topic, payload in self.link.receive():
            room, handler = self._rooms.get(topic, ("", None))
            if handler is not None:
                action = partial(handler, payload)
                troubles.run(room, action, passing=(RejectedError,))
        self.uplink.pump(self._store)
        if self._renewal is not None:
            self._renewal.pump()

    def certificate(self) -> dict[str, int] | None:
        """Return when the certificate ends and how its renewal goes; None without one that can be read."""
        return None if self._renewal is None else self._renewal.told()

    def acknowledged(self, payload: bytes, *, carried: bool = False) -> AckResult:
        """Take an acknowledgement in, from the line or carried here.

        Raises:
            StorageError: when it is good but cannot be applied; it may be taken in again then.
        """
        return self.uplink.on_ack(payload, self._store, self._identity, carried=carried)
