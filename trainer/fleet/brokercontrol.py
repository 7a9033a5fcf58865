"""Who may do what at the broker: its dynamic-security plugin, told over MQTT by a client that has the right to.

A device may write and read its own topics and no other; one that has only a token yet, those of its enrolment. Every
command may be given again: what is there already, or gone already, is as good as done.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from agent.contract import jsonform
from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.contract.jsonform import Fields
from agent.contract.topics import DeviceTopics
from trainer.fleet.mqtt import Incoming

CONTROL = "$CONTROL/dynamic-security/v1"
RESPONSE = f"{CONTROL}/response"
_DONE = frozenset({"Client already exists", "Role already exists", "Client not found", "Role not found"})
_MAX_RESPONSE_BYTES = 1_048_576
_POLL_S = 0.1

Command = dict[str, Any]


class Link(Protocol):
    """The broker, as this module uses it."""

    connected: bool

    def poll(self, timeout_s: float) -> list[Incoming]:
        """Return what has come within about `timeout_s`."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand over a message; False when that is not possible now."""

    def done(self, message: Incoming) -> None:
        """Tell the broker that a message was dealt with."""


class BrokerControl:
    """Gives commands and waits until the broker has taken them.

    Args:
        link: subscribed to `RESPONSE`.
        within_s: how long the broker may take.
        monotonic: a clock in seconds.
    """

    def __init__(self, link: Link, *, within_s: float = 10.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._link, self._within_s, self._monotonic = link, within_s, monotonic

    def let_in(self, device: str, token: str = "") -> None:
        """Allow a device its topics; with `token`, also the topics of its enrolment, by that as its password.

        Raises:
            UnavailableError: when the broker cannot be reached.
            ConfigError: when it refuses.
        """
        commands = [*_role(device, device_rights(device)), {"command": "createClient", **_client(device)}]
        if token:
            user = DeviceTopics(device).enrol_user
            commands += closing(device)
            commands += [*_role(user, enrolment_rights(device))]
            commands += [{"command": "createClient", **_client(user), "password": token}]
        self.run(commands)

    def shut_out(self, device: str) -> None:
        """Cut a device's session, and leave no right to anything under its name.

        Deleted, not only disabled: a client with a certificate is let in without asking whether it is disabled.

        Raises:
            UnavailableError: when the broker cannot be reached.
            ConfigError: when it refuses.
        """
        self.run([{"command": "disableClient", "username": device}, *_without(device), *closing(device)])

    def run(self, commands: list[Command]) -> None:
        """Give commands, in order; see `let_in` for the errors."""
        end_s = self._monotonic() + self._within_s
        mark, sent, left = secrets.token_hex(8), False, len(commands)
        payload = jsonform.dumps({"commands": [{**command, "correlationData": mark} for command in commands]})
        while left:
            if self._monotonic() > end_s:
                what = "does not answer" if sent else "cannot be reached"
                raise UnavailableError(
                    f"the broker {what}", where="broker control", todo="See that it runs; give the command again"
                )
            for message in self._link.poll(_POLL_S):
                self._link.done(message)
                if message.topic == RESPONSE:
                    left -= judge(message.payload, mark)
            if not sent and self._link.connected:
                sent = self._link.publish(CONTROL, payload)


def device_rights(device: str) -> list[tuple[str, str]]:
    """Return kind and topic of what a device may do at the broker: literal topics, its own."""
    topics = DeviceTopics(device)
    written = topics.up("#"), topics.status, topics.repo_get, topics.cert_request
    read = topics.ack, topics.assign, topics.repo_data, topics.cert_response
    return [*(("publishClientSend", topic) for topic in written), *_reading(*read)]


def enrolment_rights(device: str) -> list[tuple[str, str]]:
    """Return what it may do before it has a certificate."""
    topics = DeviceTopics(device)
    return [("publishClientSend", topics.enrol_request), *_reading(topics.enrol_response)]


def closing(device: str) -> list[Command]:
    """Return the commands that end a device's enrolment at the broker."""
    return _without(DeviceTopics(device).enrol_user)


def closing_message(devices: Iterable[str]) -> bytes:
    """Return a message to `CONTROL` that ends enrolments; nobody need wait for its answer."""
    return jsonform.dumps({"commands": [command for device in devices for command in closing(device)]})


def _reading(*topics: str) -> Iterable[tuple[str, str]]:
    kinds = "subscribeLiteral", "unsubscribeLiteral", "publishClientReceive"
    return ((kind, topic) for topic in topics for kind in kinds)


def _role(name: str, rights: list[tuple[str, str]]) -> list[Command]:
    acls = [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in rights]
    role = {"rolename": name, "acls": acls}
    # A role that is there may be of an earlier version, with fewer topics.
    return [{"command": "createRole", **role}, {"command": "modifyRole", **role}]


def _client(name: str) -> Command:
    return {"username": name, "roles": [{"rolename": name, "priority": 0}]}


def _without(name: str) -> list[Command]:
    return [{"command": "deleteClient", "username": name}, {"command": "deleteRole", "rolename": name}]


def judge(payload: bytes, mark: str) -> int:
    """Return how many commands of this mark an answer of the broker says are done.

    Raises:
        ConfigError: when it says that one was refused.
    """
    done = 0
    try:
        answers = Fields(jsonform.loads(payload, where=RESPONSE, max_bytes=_MAX_RESPONSE_BYTES), RESPONSE)
        for answer in answers.children("responses", 100_000):
            if answer.as_dict().get("correlationData") != mark:
                continue
            error = answer.text("error", max_length=512) if "error" in answer else ""
            if error and error not in _DONE:
                raise ConfigError(
                    f"the broker refuses {answer.text('command')}: {error}",
                    where="broker control",
                    todo="See firmware-configs/mosquitto/README.md: the centre's roles must be there",
                )
            done += 1
    except RejectedError:
        return 0  # not an answer of this plugin
    return done


class EnrolmentCloser:
    """Ends enrolments at the broker that the register has ended; what gets lost is told again after a restart.

    Args:
        names: returns the devices whose enrolment is over.
        publish: hands a message to the broker.
    """

    def __init__(self, names: Callable[[], list[str]], publish: Callable[[str, bytes], bool]) -> None:
        self._names, self._publish = names, publish
        self._told: set[str] = set()

    def __call__(self) -> None:
        """Tell the broker of those that it was not told of yet."""
        over = set(self._names())
        self._told &= over
        fresh = over - self._told
        if fresh and self._publish(CONTROL, closing_message(sorted(fresh))):
            self._told |= fresh
