"""Keys: how they are made, named and written. Signing is Ed25519; sealing is HPKE with a hybrid post-quantum KEM."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from agent.contract.errors import RejectedError

KEY_ID_BYTES = 8
SEAL_PUBLIC_BYTES = 1184 + 32  # ML-KEM-768 encapsulation key, X25519 public key
SEAL_PRIVATE_BYTES = 64 + 32  # ML-KEM-768 seed, X25519 private key
SIGNATURE_BYTES = 64
SEAL_OVERHEAD_BYTES = 1088 + 32 + 16
MAX_CSR_CHARS, MAX_CHAIN_CHARS = 2048, 8192  # of a request for a certificate, and of one with those above it

# Fixed by the recipient key, never negotiated: a new suite would come with new keys.
SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def key_id(public: bytes) -> str:
    """Return the name of a public key: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[: 2 * KEY_ID_BYTES]


class SigningKey:
    """An Ed25519 private key. Its text form never appears in a log: `repr` shows the id only."""

    def __init__(self, private: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.private = private
        self.public = self._key.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"


class TlsKey:
    """The private key of a TLS client: EC P-256, which every broker's library knows. `repr` shows nothing of it."""

    def __init__(self, pem: str) -> None:
        """Read a key.

        Raises:
            RejectedError: when it is not an unencrypted P-256 key in PEM form; the error shows nothing of it.
        """
        try:
            key = serialization.load_pem_private_key(pem.encode(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise RejectedError("is not a private key in PEM form", where="TLS key") from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise RejectedError("is not an EC P-256 key", where="TLS key")
        self.private = key
        self.pem = pem

    @classmethod
    def generate(cls) -> TlsKey:
        """Make a new key."""
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return cls(ec.generate_private_key(ec.SECP256R1()).private_bytes(*form).decode())

    def __repr__(self) -> str:
        return "TlsKey(<secret>)"


def verify_key(public: bytes) -> Ed25519PublicKey:
    """Return the key that checks signatures.

    Raises:
        RejectedError: when the bytes are not a public key.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(public)
    except ValueError as exc:
        raise RejectedError("is not an Ed25519 public key", where="signing key") from exc


class SealingKey:
    """The recipient's private key: ML-KEM-768 and X25519 together. `repr` shows the id only."""

    def __init__(self, private: bytes) -> None:
        if len(private) != SEAL_PRIVATE_BYTES:
            raise RejectedError(f"has {len(private)} bytes, not {SEAL_PRIVATE_BYTES}", where="sealing key")
        lattice = MLKEM768PrivateKey.from_seed_bytes(private[:64])
        curve = X25519PrivateKey.from_private_bytes(private[64:])
        self._key = MLKEM768X25519PrivateKey(lattice, curve)
        self.private = private
        self.public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    @classmethod
    def generate(cls) -> SealingKey:
        """Make a new key."""
        return cls(MLKEM768PrivateKey.generate().private_bytes_raw() + X25519PrivateKey.generate().private_bytes_raw())

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Decrypt what was sealed to this key with the same `info`.

        Raises:
            cryptography.exceptions.InvalidTag: when a bit of it, or `info`, has changed.
        """
        return SUITE.decrypt(sealed, self._key, info=info)

    def __repr__(self) -> str:
        return f"SealingKey({self.id})"


class SealTo:
    """The recipient's public key, for whoever seals."""

    def __init__(self, public: bytes) -> None:
        if len(public) != SEAL_PUBLIC_BYTES:
            raise RejectedError(f"has {len(public)} bytes, not {SEAL_PUBLIC_BYTES}", where="sealing key")
        try:
            lattice = MLKEM768PublicKey.from_public_bytes(public[:1184])
            curve = X25519PublicKey.from_public_bytes(public[1184:])
        except ValueError as exc:
            raise RejectedError("is not an ML-KEM-768 + X25519 public key", where="sealing key") from exc
        self._key = MLKEM768X25519PublicKey(lattice, curve)
        self.public = public
        self.id = key_id(public)

    def seal(self, plain: bytes, info: bytes) -> bytes:
        """Encrypt; never twice the same bytes.

        Raises:
            RejectedError: when the key is one of the few that hide nothing.
        """
        try:
            return SUITE.encrypt(plain, self._key, info=info)
        except ValueError as exc:
            raise RejectedError("is a weak X25519 public key", where="sealing key") from exc
