"""The authority of the broker's clients: who gets a certificate, for how long, and which no longer count.

The broker takes a certificate's subject for its client's name, so a device's is its id and the centre's own begin with
`centre.`, which no device id can. A certificate lasts a year: what ends one early is the revocation list, not its date,
and a device that was off for months still comes back by itself.

`certify`, `revoke` and `revoked` work in the caller's transaction.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy.engine import Connection

from agent.contract.certificates import subject
from agent.contract.durable import fsync_folder, write_durable
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.keys import TlsKey
from trainer.fleet import database as db

CLIENT_DAYS = 365
_SERVER_DAYS = 730
_AUTHORITY_DAYS = 7300
_DAY_MS = 86_400_000
_BACK = dt.timedelta(days=1)  # clocks of devices may be late
_KEY, _CERTIFICATE = "authority.key", "authority.pem"


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate: its serial number in hexadecimal, its PEM form, and when it ends."""

    serial: str
    pem: str
    not_after_ms: int


class Authority:
    """Signs certificates and the revocation list; its key is on line, since devices enrol at any hour."""

    def __init__(self, key: TlsKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate
        self.pem = certificate.public_bytes(Encoding.PEM).decode()

    @classmethod
    def create(cls, folder: Path, fleet: str, now_ms: int) -> Authority:
        """Make the authority where it is missing, and open it.

        Raises:
            StorageError: when the folder cannot be written.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fsync_folder(folder.parent)
        if not (folder / _KEY).exists():
            write_durable(folder / _KEY, TlsKey.generate().pem.encode(), mode=0o600)
        key = _read_key(folder / _KEY)
        if not (folder / _CERTIFICATE).exists():
            name = subject(f"{fleet} authority")
            made = (
                _builder(now_ms, _AUTHORITY_DAYS)
                .subject_name(name)
                .issuer_name(name)
                .public_key(key.private.public_key())
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_usage(authority=True), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.private.public_key()), critical=False)
                .sign(key.private, hashes.SHA256())
            )
            write_durable(folder / _CERTIFICATE, made.public_bytes(Encoding.PEM))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """Open it.

        Raises:
            ConfigError: when it is missing, damaged, or its key can be read by others.
        """
        key, path = _read_key(folder / _KEY), folder / _CERTIFICATE
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as exc:
            raise ConfigError("is missing or damaged", where=str(path), todo="Restore it from its copy") from exc
        return cls(key, certificate)

    def issue(self, csr: str, device: str, now_ms: int) -> Issued:
        """Return a client certificate for the key in a request; whatever else that says is passed over.

        Raises:
            RejectedError: when the request is malformed, not signed by its key, or the key is not EC P-256.
        """
        return self._sign(_requested_key(csr), device, now_ms, CLIENT_DAYS, ExtendedKeyUsageOID.CLIENT_AUTH)

    def client(self, name: str, now_ms: int) -> tuple[TlsKey, Issued]:
        """Return a key and a certificate for a client of the centre's own."""
        key = TlsKey.generate()
        public = key.private.public_key()
        return key, self._sign(public, name, now_ms, _SERVER_DAYS, ExtendedKeyUsageOID.CLIENT_AUTH)

    def server(self, names: Sequence[str], now_ms: int) -> tuple[TlsKey, Issued]:
        """Return a key and a certificate for the broker.

        Args:
            names: host names and addresses by which it is reached; the first is its subject.
            now_ms: real time.
        """
        key = TlsKey.generate()
        public = key.private.public_key()
        return key, self._sign(public, names[0], now_ms, _SERVER_DAYS, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def revocation_list(self, revoked: Iterable[tuple[str, int]], now_ms: int) -> str:
        """Return the list of revoked certificates (PEM).

        It lasts as long as the authority: a broker refuses every client once its list is out of date.

        Args:
            revoked: serial number and time of each.
            now_ms: real time.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(_date(now_ms) - _BACK)
            .next_update(self._certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(now_ms), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        for serial, at_ms in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(_date(at_ms))
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key.private, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def _sign(
        self,
        public: ec.EllipticCurvePublicKey,
        name: str,
        now_ms: int,
        days: int,
        use: x509.ObjectIdentifier,
        names: Sequence[str] = (),
    ) -> Issued:
        builder = (
            _builder(now_ms, days)
            .subject_name(subject(name))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(name) for name in names]), critical=False
            )
        made = builder.sign(self._key.private, hashes.SHA256())
        return Issued(
            f"{made.serial_number:x}",
            made.public_bytes(Encoding.PEM).decode(),
            int(made.not_valid_after_utc.timestamp() * 1000),
        )

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.private.public_key())


@dataclass(frozen=True, slots=True)
class Applicant:
    """A registered device that asks for a certificate: number, id, id of its signing key, and the request (PEM)."""

    number: int
    name: str
    key: str
    csr: str


def certify(connection: Connection, authority: Authority, device: Applicant, now_ms: int) -> str:
    """Return a certificate of a device, kept in the register.

    It is the one that the device has, when it asks again with the same keys before half of that is over: the answer
    may have been lost, and repeating a request must not fill the register.

    Raises:
        RejectedError: see `Authority.issue`.
    """
    table, wanted = db.certificate, _requested_key(device.csr)
    mine = table.c.device == device.number, table.c.key == device.key, table.c.revoked_ms.is_(None)
    fresh = table.c.not_after_ms > now_ms + CLIENT_DAYS * _DAY_MS // 2
    query = sa.select(table.c.pem).where(*mine, fresh).order_by(table.c.not_after_ms.desc())
    for pem in connection.execute(query).scalars():
        if x509.load_pem_x509_certificate(pem.encode()).public_key() == wanted:
            return str(pem)
    made = authority.issue(device.csr, device.name, now_ms)
    row = {"serial": made.serial, "device": device.number, "key": device.key, "pem": made.pem}
    connection.execute(db.certificate.insert().values(**row, not_after_ms=made.not_after_ms))
    return made.pem


def revoke(connection: Connection, device: int, now_ms: int) -> None:
    """Let no certificate of a device count any more."""
    table = db.certificate
    valid = table.c.device == device, table.c.revoked_ms.is_(None)
    connection.execute(table.update().where(*valid).values(revoked_ms=now_ms))


def revoked(connection: Connection, now_ms: int) -> list[tuple[str, int]]:
    """Return serial number and time of every revoked certificate that has not ended by itself."""
    table = db.certificate
    counts = table.c.revoked_ms.is_not(None), table.c.not_after_ms > now_ms
    query = sa.select(table.c.serial, table.c.revoked_ms).where(*counts).order_by(table.c.serial)
    return [(row.serial, row.revoked_ms) for row in connection.execute(query)]


def _requested_key(csr: str) -> ec.EllipticCurvePublicKey:
    where = "certificate request"
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        public, genuine = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as exc:
        raise RejectedError("is malformed", where=where) from exc
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise RejectedError("is not of an EC P-256 key", where=where)
    if not genuine:
        raise RejectedError("is not signed by the key in it", where=where)
    return public


def _read_key(path: Path) -> TlsKey:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError("a private key can be read by others", where=str(path), todo=f"chmod 600 {path}")
        return TlsKey(path.read_text())
    except (OSError, UnicodeDecodeError, RejectedError) as exc:
        raise ConfigError("is missing or damaged", where=str(path), todo="Restore it from its copy") from exc


def _builder(now_ms: int, days: int) -> x509.CertificateBuilder:
    now = _date(now_ms)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACK)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _date(at_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms // 1000, dt.UTC)
