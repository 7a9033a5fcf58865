"""Keys that wait for the centre's answer: the same ones until it comes, since a carried answer may take days."""

from __future__ import annotations

import contextlib

from agent.contract.errors import RejectedError
from agent.contract.keys import SigningKey, TlsKey
from agent.store.kept import twofold
from agent.store.kept.folder import Folder

NAMES = _SIGNING, _TLS = "pending.key", "pending-tls.pem"
_KEY_BYTES = 32


def signing_key(folder: Folder) -> SigningKey:
    """Return the signing key for a request; one that is damaged is made anew.

    Raises:
        StorageError: when a new one cannot be written.
    """
    private = twofold.read(folder.path / _SIGNING)
    if private is not None and len(private) == _KEY_BYTES:
        return SigningKey(private)
    key = SigningKey.generate()
    folder.put(_SIGNING, key.private)
    return key


def tls_key(folder: Folder) -> TlsKey:
    """Return the TLS key for a request, likewise.

    Raises:
        StorageError: when a new one cannot be written.
    """
    pem = twofold.read(folder.path / _TLS)
    with contextlib.suppress(RejectedError, UnicodeDecodeError):
        if pem is not None:
            return TlsKey(pem.decode())
    key = TlsKey.generate()
    folder.put(_TLS, key.pem.encode())
    return key
