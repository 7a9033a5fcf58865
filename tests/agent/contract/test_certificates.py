"""A device's certificate: what it asks for, and which one it takes."""

import base64
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.certificates import certificate_request, check_certificate, subject
from agent.contract.errors import RejectedError
from agent.contract.keys import TlsKey

BEGIN, END = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
KEY = TlsKey.generate()


def certificate(name: str = "press-1", key: TlsKey = KEY) -> str:
    made = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject("works"))
        .public_key(key.private.public_key())
        .serial_number(1)
        .not_valid_before(BEGIN)
        .not_valid_after(END)
        .sign(TlsKey.generate().private, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def test_a_request_is_for_the_device_and_signed_by_its_key():
    request = x509.load_pem_x509_csr(certificate_request(KEY, "press-1").encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=press-1"
    assert request.public_key() == KEY.private.public_key()


def test_the_largest_name_fits_the_request():
    assert len(certificate_request(KEY, "x" * 32)) < 1024


def test_its_own_certificate_is_taken_and_says_when_it_counts():
    validity = check_certificate(certificate() + certificate("works"), KEY, "press-1")
    assert validity == (BEGIN.timestamp() * 1000, END.timestamp() * 1000)


@pytest.mark.parametrize(
    "chain",
    [
        "",
        "x",
        certificate("press-2"),
        certificate("press-1", TlsKey.generate()),
        certificate("works") + certificate(),
        certificate()[:300],
        KEY.pem,
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "ü",
    ],
)
def test_any_other_is_refused(chain: str):
    with pytest.raises(RejectedError):
        check_certificate(chain, KEY, "press-1")


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing_that_counts(place: int, change: int):
    der = bytearray(x509.load_pem_x509_certificate(certificate().encode()).public_bytes(Encoding.DER))
    der[place % len(der)] ^= change
    text = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(bytes(der)).decode()}\n-----END CERTIFICATE-----\n"
    try:
        check_certificate(text, KEY, "press-1")
    except RejectedError:
        return


def test_a_serial_number_that_is_not_positive_is_refused_without_a_warning():
    der = bytearray(x509.load_pem_x509_certificate(certificate().encode()).public_bytes(Encoding.DER))
    serial = der.index(b"\xa0\x03\x02\x01\x02\x02") + 7  # behind the version: an integer, its length, its bytes
    der[serial] |= 0x80
    text = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(bytes(der)).decode()}\n-----END CERTIFICATE-----\n"
    with pytest.raises(RejectedError):
        check_certificate(text, KEY, "press-1")


def test_a_tls_key_is_p_256_and_never_shown():
    again = TlsKey(KEY.pem)
    assert again.private.public_key() == KEY.private.public_key()
    assert KEY.pem[40:80] not in repr(KEY) + str(KEY)
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text in ("", "x", KEY.pem[:100], other.decode(), certificate()):
        with pytest.raises(RejectedError) as caught:
            TlsKey(text)
        assert text[30:80] not in str(caught.value) or not text[30:80]
