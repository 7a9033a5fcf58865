"""Commands for a broker that asks for certificates; and how the other commands reach a broker, that one or any."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.contract.errors import ConfigError, EdgewattError, RejectedError
from converter.cli_support import remark
from trainer.cli.home import Home, now_ms, pass_home

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from trainer.fleet.brokercontrol import BrokerControl
    from trainer.fleet.certificates import Authority
    from trainer.fleet.mqtt import BrokerLink
    from trainer.fleet.securedbroker import SecuredBroker
    from trainer.fleet.service import Chore

ADDRESS = "HOST:PORT"
_OFTEN_S, _DAY_S = 5.0, 86_400.0
_FOLDER = click.Path(file_okay=False, path_type=Path)
_PORT = click.IntRange(1, 65_535)


@click.group()
def broker() -> None:
    """Prepare the broker of a fleet whose devices have certificates.

    \b
    Example:
      edgewatt-trainer broker --help
    """


@broker.command("init")
@click.option("--name", "names", required=True, multiple=True, help="By which it is reached; the first by devices.")
@click.option("--files", required=True, type=_FOLDER, help="Folder for what the broker reads: certificates, list.")
@click.option("--port", type=_PORT, default=8883, show_default=True, help="Of the listener with certificates.")
@click.option("--enrol-port", type=_PORT, default=8884, show_default=True, help="Of the listener for enrolment.")
@click.option(
    "--reload", "reload_command", default="", help="Makes the broker read them: 'systemctl reload mosquitto'."
)
@pass_home
def init(home: Home, names: tuple[str, ...], files: Path, port: int, enrol_port: int, reload_command: str) -> None:
    """Make the authority of the broker's clients, and the files that the broker reads.

    From now on `device add` writes enrolment files for this broker, and `ingest` serves it. Run again, it renews the
    certificates of broker and centre, which last two years; devices need not be touched.

    \b
    Example:
      edgewatt-trainer broker init --name mqtt.example.net --files /etc/mosquitto/edgewatt
    """
    from trainer.fleet.certificates import Authority
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.securedbroker import CRL, RevocationList, SecuredBroker

    keys, at_ms = OnlineKeys.open(home.online_keys), now_ms()
    words = tuple(shlex.split(reload_command))
    made = SecuredBroker(names[0], port, enrol_port, files.absolute(), words, home.authority)
    authority = Authority.create(home.authority, keys.fleet, at_ms)
    engine = home.database()
    try:
        revoked = RevocationList(engine, authority, made.files / CRL, (), now_ms).text()
    finally:
        engine.dispose()
    made.make(authority, names, revoked, at_ms)
    made.save(home.broker)
    remark(f"{made.files} holds what the broker reads; see firmware-configs/mosquitto for its own configuration")
    remark(f"keep a copy of {home.authority}: without it no device gets a certificate, and none can be revoked")


def revoke_device(home: Home, name: str) -> None:
    """Let a device in no more: at once, and for good.

    The centre refuses its next batch, its certificate opens no session, and the session that it has is cut. What it
    has sent before stays. A device that comes back into good hands is enrolled anew, with `device add`.

    \b
    Example:
      edgewatt-trainer device revoke press-1
    """
    from trainer.fleet.certificates import Authority
    from trainer.fleet.registry import Registry
    from trainer.fleet.securedbroker import CRL, RevocationList

    engine = home.database()
    try:
        Registry(engine, now_ms).revoke(name)
        remark(f"{name}: the centre refuses what it sends from now on")
        secured = secured_broker(home)
        if secured is None:
            remark("the broker asks for no certificates: it does not keep the device out")
            return
        authority = Authority.open(home.authority)
        revocations = RevocationList(engine, authority, secured.files / CRL, secured.reload, now_ms)
        # One that fails must not keep the other from being done.
        failures: list[EdgewattError] = []
        steps: list[tuple[Callable[[], None], str]] = [
            (lambda: revocations.publish(again=True), "its certificate opens no session"),
            (lambda: _shut_out(secured, name), "its session is cut"),
        ]
        for action, done in steps:
            try:
                action()
                remark(f"{name}: {done}")
            except EdgewattError as exc:
                failures.append(exc)
        for failure in failures[:-1]:
            remark(str(failure))
        if failures:
            raise failures[-1]
    finally:
        engine.dispose()


def _shut_out(secured: SecuredBroker, name: str) -> None:
    with control_of(secured) as control:
        control.shut_out(name)


def secured_broker(home: Home) -> SecuredBroker | None:
    """Return the broker that asks for certificates, where `broker init` has made one."""
    from trainer.fleet.securedbroker import SecuredBroker

    return SecuredBroker.load(home.broker, home.authority)


@contextmanager
def control_of(secured: SecuredBroker) -> Iterator[BrokerControl]:
    """Connect to the broker as the one who may give it commands."""
    from trainer.fleet.brokercontrol import RESPONSE, BrokerControl
    from trainer.fleet.securedbroker import COMMAND

    link = link_to(secured, COMMAND, [RESPONSE])
    try:
        yield BrokerControl(link)
    finally:
        link.close()


def link_to(secured: SecuredBroker, name: str, subscriptions: Sequence[str], shared: Sequence[str] = ()) -> BrokerLink:
    """Return a link to the broker for one of the centre's own clients.

    Raises:
        ConfigError: when a certificate is missing or damaged.
    """
    from trainer.fleet.mqtt import BrokerLink
    from trainer.fleet.securedbroker import CA

    try:
        ca_pem = (secured.files / CA).read_text()
    except OSError as exc:
        raise ConfigError(
            f"cannot be read ({exc.strerror})",
            where=str(secured.files / CA),
            todo="Run `edgewatt-trainer broker init` again",
        ) from exc
    certificate = secured.certificate(name)
    return BrokerLink(
        secured.host,
        secured.port,
        ca_pem=ca_pem,
        certificate=certificate,
        subscriptions=subscriptions,
        shared=shared,
    )


def chores_at(secured: SecuredBroker, engine: Engine, authority: Authority, link: BrokerLink) -> list[Chore]:
    """Return what the ingest process has to do for a broker that asks for certificates."""
    from trainer.fleet.brokercontrol import EnrolmentCloser
    from trainer.fleet.registry import Registry
    from trainer.fleet.securedbroker import CRL, RevocationList
    from trainer.fleet.service import Chore

    revocations = RevocationList(engine, authority, secured.files / CRL, secured.reload, now_ms)
    closer = EnrolmentCloser(Registry(engine, now_ms).closed_enrolments, link.publish)
    return [
        Chore(_OFTEN_S, revocations.publish, _OFTEN_S),  # a revoked device is out there while it is not done
        Chore(_OFTEN_S, closer),
        Chore(_DAY_S, lambda: secured.warn(now_ms())),
    ]


def broker_address(text: str | None) -> tuple[str, int]:
    """Return host and port of a broker that was named on the command line.

    Raises:
        ConfigError: when none was, or it is not an address.
    """
    if not text:
        raise ConfigError(
            "is missing",
            where="--broker",
            todo=f"Give {ADDRESS}, or prepare a broker with `edgewatt-trainer broker init`",
        )
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", host) or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise ConfigError(f"{text!r} is not {ADDRESS}", where="--broker", todo="Example: localhost:1883")
    return host, int(port)


def broker_certificates(path: Path) -> str:
    """Return the certificates of a broker's authority in PEM form.

    Raises:
        RejectedError: when the file holds none.
    """
    import ssl

    from agent.contract.givenfiles import CERTIFICATE, given_file

    with given_file(path, 2**14, wanted=CERTIFICATE, todo="Give the certificate of the broker's authority") as file:
        try:
            text = file.read().decode("ascii")
            ssl.create_default_context(cadata=text)
        except (ValueError, ssl.SSLError) as exc:
            raise RejectedError("holds none in PEM form") from exc
    return text


commands: list[click.Command] = [broker]
