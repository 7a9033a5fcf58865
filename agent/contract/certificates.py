"""A device's client certificate: how it is asked for, and whether what came is the one.

Decides form only: the subject is the device id and nothing else, the key EC P-256. Who gets one is the centre's to say.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from agent.contract.errors import RejectedError
from agent.contract.keys import TlsKey


class Validity(NamedTuple):
    """When a certificate counts, in real time (ms)."""

    not_before_ms: int
    not_after_ms: int


def subject(name: str) -> x509.Name:
    """Return the subject of a certificate: the broker takes it for the name of its client."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate_request(key: TlsKey, device: str) -> str:
    """Return a request for the certificate of `device` (CSR, PEM), signed by `key`."""
    request = x509.CertificateSigningRequestBuilder().subject_name(subject(device)).sign(key.private, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def check_certificate(chain: str, key: TlsKey, device: str) -> Validity:
    """Return when a certificate counts that is for `device` and of `key`.

    Args:
        chain: the certificate and those above it (PEM), its own first.
        key: the device's key.
        device: id of the device.

    Raises:
        RejectedError: when it is none, or of another device or key.
    """
    where = "client certificate"
    try:
        with warnings.catch_warnings():  # what the library will refuse one day, as a serial number below 1, is refused
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            certificate = x509.load_pem_x509_certificates(chain.encode())[0]
        name, public = certificate.subject, certificate.public_key()
        dates = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (
        ValueError,
        TypeError,
        IndexError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        CryptographyDeprecationWarning,
    ) as exc:
        raise RejectedError("is not in PEM form", where=where) from exc
    if name != subject(device) or public != key.private.public_key():
        raise RejectedError(f"is not the one of device {device} and its key", where=where)
    return Validity(*(int(date.timestamp() * 1000) for date in dates))
