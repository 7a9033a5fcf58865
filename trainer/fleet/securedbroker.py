"""The centre's side of a broker that asks for certificates: where that is, who the centre is to it, what it refuses.

`broker.json` in the centre's folder says that there is one; without it the centre serves a broker that lets anyone in.
What the broker itself reads lies in a folder of its own (`files`): the authority, its key and certificate, the list of
revoked certificates.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from sqlalchemy.engine import Engine

from agent.contract import jsonform
from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.contract.jsonform import Fields
from agent.contract.trust import Broker
from trainer.fleet import certificates
from trainer.fleet import database as db
from trainer.fleet.certificates import Authority

COMMAND = "centre.command"
INGEST = tuple(f"centre.ingest-{number}" for number in (1, 2))
CA, CRL, SERVER_CERTIFICATE, SERVER_KEY = "ca.pem", "crl.pem", "server.pem", "server.key"
_RELOAD_WITHIN_S = 30
_WARN_DAYS = 60
_DAY_MS = 86_400_000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SecuredBroker:
    """What `broker.json` says.

    Attributes:
        host, port, enrol_port: of the two listeners, as devices and the centre reach them.
        files: the folder that the broker reads.
        reload: the command that makes it read the revocation list again; empty when somebody else sees to that.
        keys: the centre's folder of the authority and of its own certificates.
    """

    host: str
    port: int
    enrol_port: int
    files: Path
    reload: tuple[str, ...]
    keys: Path

    @classmethod
    def load(cls, path: Path, keys: Path) -> SecuredBroker | None:
        """Read the file; None where there is none.

        Raises:
            ConfigError: when it is damaged.
        """
        if not path.exists():
            return None
        try:
            value = jsonform.loads(path.read_bytes(), where=str(path), max_bytes=65_536)
        except (OSError, RejectedError) as exc:
            raise ConfigError(
                f"is damaged ({exc})", where=str(path), todo="Run `edgewatt-trainer broker init`"
            ) from exc
        fields = Fields(value, str(path), ConfigError)
        words = fields.items("reload", 64)
        if not all(isinstance(word, str) for word in words):
            fields.fail("reload", "is not a list of words")
        return cls(
            host=fields.text("host"),
            port=fields.integer("port", 1, 65_535),
            enrol_port=fields.integer("enrol_port", 1, 65_535),
            files=Path(fields.text("files", max_length=4096)),
            reload=tuple(words),
            keys=keys,
        )

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            StorageError: when it cannot be written.
        """
        value = {
            "schema": 1,
            "host": self.host,
            "port": self.port,
            "enrol_port": self.enrol_port,
            "files": str(self.files),
            "reload": list(self.reload),
        }
        write_durable(path, jsonform.dumps(value))

    def make(self, authority: Authority, names: Sequence[str], revoked: str, now_ms: int) -> None:
        """Write what the broker reads, and the centre's own certificates; those of before are replaced.

        Args:
            authority: signs.
            names: by which the broker is reached.
            revoked: the revocation list.
            now_ms: real time.

        Raises:
            StorageError: when a file cannot be written.
        """
        self.files.mkdir(parents=True, exist_ok=True)
        key, server = authority.server(names, now_ms)
        write_durable(self.files / SERVER_KEY, key.pem.encode(), mode=0o600)
        for name, text in ((CA, authority.pem), (SERVER_CERTIFICATE, server.pem), (CRL, revoked)):
            write_durable(self.files / name, text.encode())
        for name in (COMMAND, *INGEST):
            key, client = authority.client(name, now_ms)
            certificate, private = self.certificate(name)
            write_durable(private, key.pem.encode(), mode=0o600)
            write_durable(certificate, client.pem.encode())

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Return certificate and key of one of the centre's own clients."""
        return self.keys / f"{name}.pem", self.keys / f"{name}.key"

    def for_devices(self, authority: Authority) -> Broker:
        """Return what an enrolment file says of it."""
        return Broker(self.host, self.port, authority.pem, self.enrol_port, self.host)

    def warn(self, now_ms: int) -> None:
        """Log when certificates that people have to renew end soon; devices renew their own.

        Raises:
            ConfigError: when one is missing or damaged.
        """
        for path in (self.files / SERVER_CERTIFICATE, *(self.certificate(name)[0] for name in INGEST)):
            try:
                ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
            except (OSError, ValueError) as exc:
                raise ConfigError(
                    "is missing or damaged", where=str(path), todo="Run `edgewatt-trainer broker init`"
                ) from exc
            left = (ends.timestamp() * 1000 - now_ms) / _DAY_MS
            if left < _WARN_DAYS:
                _LOG.warning("%s ends in %d days: run `edgewatt-trainer broker init` again", path, left)


class RevocationList:
    """Keeps the broker's list of revoked certificates as the register has it.

    Args:
        engine: the central database.
        authority: signs the list.
        path: the file that the broker reads.
        reload: makes it read the file again.
        now_ms: the real clock.
    """

    def __init__(
        self, engine: Engine, authority: Authority, path: Path, reload: Sequence[str], now_ms: Callable[[], int]
    ) -> None:
        self._engine, self._authority, self._path = engine, authority, path
        self._reload, self._now_ms = list(reload), now_ms
        self._told: bytes | None = None  # the list that the broker read last, as far as this process knows

    def text(self) -> str:
        """Return the list as it should be now (PEM)."""
        return self._authority.revocation_list(self._revoked(), self._now_ms())

    def publish(self, *, again: bool = False) -> None:
        """Write the list when it has changed, and have it read if this process did not yet; with `again`, in any case.

        Another process may have written it and then failed to have it read.

        Raises:
            StorageError: when it cannot be written.
            UnavailableError: when the command that has it read fails; the next call gives it again.
        """
        if again or {int(serial, 16) for serial, _ in self._revoked()} != self._written():
            self._told = None
            write_durable(self._path, self.text().encode())
        written = self._content()
        if written != self._told and self._reload:
            _run(self._reload)
        self._told = written

    def _revoked(self) -> list[tuple[str, int]]:
        with db.read(self._engine) as connection:
            return certificates.revoked(connection, self._now_ms())

    def _written(self) -> set[int] | None:
        try:
            found = x509.load_pem_x509_crl(self._content())
        except ValueError:
            return None
        return {entry.serial_number for entry in found}

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError:
            return b""  # which is no list: it is written again


def _run(command: list[str]) -> None:
    todo = "Have the broker read its revocation list again; until then a revoked certificate still opens a session"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_RELOAD_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UnavailableError(f"cannot be run ({exc})", where=command[0], todo=todo) from exc
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[:300]
        raise UnavailableError(f"ended with code {done.returncode}: {said}", where=command[0], todo=todo)
