"""The two messages by which an enrolled device comes to a newer client certificate: signed by it, and by the centre."""

from __future__ import annotations

from collections.abc import Mapping

from agent.contract import signed
from agent.contract.jsonform import Fields
from agent.contract.keys import MAX_CHAIN_CHARS, MAX_CSR_CHARS, SigningKey

_REQUEST, _RESPONSE = "cert-request", "cert-response"
_MAX_BYTES = 16_384


def sign_request(device: str, csr: str, key: SigningKey) -> bytes:
    """Return an enrolled device's request for a newer certificate, signed by its key."""
    return signed.sign(_REQUEST, {"device": device, "csr": csr}, key)


def verify_request(data: bytes, keys: Mapping[str, bytes], *, device: str) -> str:
    """Return the certificate request (CSR, PEM) in a request of `device`, which has signed it by one of `keys`.

    Raises:
        RejectedError: when altered, by an unknown key, malformed, or of another device.
    """
    where = _REQUEST
    fields = Fields(signed.verify(where, data, keys, max_bytes=_MAX_BYTES), where)
    if fields.text("device") != device:
        fields.fail("device", f"is not {device}")
    return fields.text("csr", max_length=MAX_CSR_CHARS)


def sign_response(device: str, certificate: str, key: SigningKey) -> bytes:
    """Return the centre's answer: the newer certificate with its chain (PEM)."""
    return signed.sign(_RESPONSE, {"device": device, "certificate": certificate}, key)


def verify_response(data: bytes, keys: Mapping[str, bytes], *, device: str) -> str:
    """Return the certificate in an answer to `device`; whether it fits the device's key is still to be seen.

    Raises:
        RejectedError: when altered, by an unknown key, malformed, or for another device.
    """
    fields = Fields(signed.verify(_RESPONSE, data, keys, max_bytes=_MAX_BYTES), _RESPONSE)
    if fields.text("device") != device:
        fields.fail("device", f"is not {device}")
    return fields.text("certificate", max_length=MAX_CHAIN_CHARS)
