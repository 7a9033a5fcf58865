"""Certificates of devices: who gets one, which one, and how it ends; the same on both databases."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.contract import renewal
from agent.contract.certificates import certificate_request, check_certificate, subject
from agent.contract.enrolment import Enrolment, EnrolmentResponse, seal_request
from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.contract.keys import SigningKey, TlsKey
from agent.contract.topics import DeviceTopics
from agent.contract.trust import KeyUse
from tests.support.centre import DAY_MS, NOW_MS, Centre
from trainer.fleet import certificates
from trainer.fleet import database as db
from trainer.fleet.certificates import CLIENT_DAYS, Authority
from trainer.fleet.securedbroker import RevocationList

TLS = TlsKey.generate()


def judge(centre: Centre, enrolment: Enrolment, key: SigningKey, csr: str) -> EnrolmentResponse:
    request = seal_request(enrolment, key, created_ms=1, csr=csr)
    return centre.registry.judge(request, topic_device=None, seal=centre.online.seal, ack=centre.online.ack)[0]


def enrolled(centre: Centre, name: str = "press-1", tls: TlsKey = TLS) -> tuple[SigningKey, str]:
    key = SigningKey.generate()
    response = judge(centre, centre.enrolment(name), key, certificate_request(tls, name))
    assert response.accepted, response.reason
    return key, response.certificate


def revoked(centre: Centre) -> set[int]:
    with db.read(centre.engine) as connection:
        return {int(serial, 16) for serial, _ in certificates.revoked(connection, centre.clock.ms)}


def serial(pem: str) -> int:
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_enrolment_brings_a_certificate_of_the_device_and_no_more_than_that(any_centre: Centre) -> None:
    _, pem = enrolled(any_centre)
    assert check_certificate(pem, TLS, "press-1") == (NOW_MS - DAY_MS, NOW_MS + CLIENT_DAYS * DAY_MS)
    made = x509.load_pem_x509_certificate(pem.encode())
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(any_centre.authority.pem.encode()))
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    use = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(use) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_name_in_a_certificate_is_the_registers_whatever_was_asked_for(any_centre: Centre) -> None:
    enrolment = any_centre.enrolment("press-1")
    response = judge(any_centre, enrolment, SigningKey.generate(), certificate_request(TLS, "centre.command"))
    check_certificate(response.certificate, TLS, "press-1")


def test_the_same_request_again_gets_the_same_certificate(any_centre: Centre) -> None:
    enrolment, key = any_centre.enrolment("press-1"), SigningKey.generate()
    csr = certificate_request(TLS, "press-1")
    first = judge(any_centre, enrolment, key, csr)
    before = any_centre.dump()
    assert judge(any_centre, enrolment, key, csr) == first
    assert any_centre.dump() == before


def bad_requests() -> dict[str, str]:
    other = ec.generate_private_key(ec.SECP384R1())
    big = x509.CertificateSigningRequestBuilder().subject_name(subject("press-1")).sign(other, hashes.SHA256())
    good = certificate_request(TLS, "press-1")
    signed = x509.load_pem_x509_csr(good.encode()).public_bytes(Encoding.DER)
    import base64

    forged = base64.encodebytes(signed[:-1] + bytes([signed[-1] ^ 1])).decode()
    return {
        "is malformed": "nonsense",
        "is not of an EC P-256 key": big.public_bytes(Encoding.PEM).decode(),
        "is not signed by the key in it": f"-----BEGIN CERTIFICATE REQUEST-----\n{forged}-----END CERTIFICATE REQUEST-----\n",
    }


@pytest.mark.parametrize("reason", list(bad_requests()))
def test_a_bad_certificate_request_is_refused_and_leaves_the_token_unused(any_centre: Centre, reason: str) -> None:
    enrolment = any_centre.enrolment("press-1")
    before = any_centre.dump()
    response = judge(any_centre, enrolment, SigningKey.generate(), bad_requests()[reason])
    assert (response.accepted, response.certificate) == (False, "")
    assert reason in response.reason
    assert any_centre.dump() == before
    assert judge(any_centre, enrolment, SigningKey.generate(), certificate_request(TLS, "press-1")).accepted


def test_a_device_that_asks_for_no_certificate_gets_none(centre: Centre) -> None:
    assert judge(centre, centre.enrolment("press-1"), SigningKey.generate(), "").certificate == ""


def test_a_revoked_device_has_nothing_that_counts(any_centre: Centre) -> None:
    device = any_centre.device("press-2")
    key, pem = enrolled(any_centre)
    open_token = any_centre.enrolment("press-1", replace=True)
    any_centre.registry.revoke("press-1")
    assert revoked(any_centre) == {serial(pem)}
    with pytest.raises(RejectedError, match="revoked"):
        any_centre.registry.public_key("press-1", key.id)
    assert not judge(any_centre, open_token, SigningKey.generate(), "").accepted
    before = any_centre.dump("rejection")
    envelope = replace(device, name="press-1", key=key)
    data = envelope.seal(envelope.readings(3))
    assert any_centre.ingest.handle(DeviceTopics("press-1").up("readings"), data) == []  # its next batch
    assert any_centre.dump("rejection") == before
    other = device.seal(device.readings(3))
    assert any_centre.ingest.handle(DeviceTopics("press-2").up("readings"), other) != []
    with pytest.raises(ConfigError, match="not registered"):
        any_centre.registry.revoke("press-9")


def test_a_new_enrolment_ends_the_certificate_of_before(any_centre: Centre) -> None:
    _, old = enrolled(any_centre)
    response = judge(
        any_centre, any_centre.enrolment("press-1", replace=True), SigningKey.generate(), certificate_request(TLS, "x")
    )
    assert revoked(any_centre) == {serial(old)} != {serial(response.certificate)}


def test_a_certificate_is_renewed_before_it_ends(any_centre: Centre) -> None:
    key, old = enrolled(any_centre)
    topics, request = DeviceTopics("press-1"), renewal.sign_request("press-1", certificate_request(TLS, "press-1"), key)
    verifiers = any_centre.online.trust.verifiers(KeyUse.ACK)

    def ask() -> str:
        (answer,) = any_centre.ingest.handle(topics.cert_request, request)
        assert answer.topic == topics.cert_response
        return renewal.verify_response(answer.payload, verifiers, device="press-1")

    assert ask() == old  # most of its life is left
    any_centre.clock.ms += CLIENT_DAYS * DAY_MS * 2 // 3
    newer = ask()
    assert check_certificate(newer, TLS, "press-1").not_after_ms == any_centre.clock.ms + CLIENT_DAYS * DAY_MS
    assert ask() == newer
    assert revoked(any_centre) == set()  # the old one ends by itself: the newer may still be on its way


def test_a_renewal_is_for_the_devices_own_valid_key_only(any_centre: Centre) -> None:
    key, _ = enrolled(any_centre)
    other, _ = enrolled(any_centre, "press-2")
    csr, topic = certificate_request(TLS, "press-1"), DeviceTopics("press-1").cert_request
    before = any_centre.dump("rejection")
    for request in (
        renewal.sign_request("press-1", csr, other),
        renewal.sign_request("press-2", csr, key),
        renewal.sign_request("press-1", "nonsense", key),
        renewal.sign_request("press-1", csr, SigningKey.generate()),
        b"",
    ):
        assert any_centre.ingest.handle(topic, request) == []
    assert any_centre.dump("rejection") == before
    any_centre.registry.revoke("press-1")
    assert any_centre.ingest.handle(topic, renewal.sign_request("press-1", csr, key)) == []


def test_enrolments_that_are_over_are_named_until_they_are_forgotten(any_centre: Centre) -> None:
    enrolled(any_centre)
    any_centre.enrolment("press-2", valid_ms=DAY_MS)
    assert any_centre.registry.closed_enrolments() == []  # its answer may have to be given again
    any_centre.clock.ms += DAY_MS // 2
    assert any_centre.registry.closed_enrolments() == ["press-1"]
    any_centre.clock.ms += DAY_MS
    assert any_centre.registry.closed_enrolments() == ["press-1", "press-2"]
    any_centre.enrolment("press-2")
    assert any_centre.registry.closed_enrolments() == ["press-1"]
    any_centre.clock.ms += 9 * DAY_MS
    assert any_centre.registry.closed_enrolments() == []


class TestRevocationList:
    def serials(self, path: Path) -> set[int]:
        return {entry.serial_number for entry in x509.load_pem_x509_crl(path.read_bytes())}

    def test_is_written_and_read_again_when_it_has_changed(self, centre: Centre, tmp_path: Path) -> None:
        path, told = tmp_path / "crl.pem", tmp_path / "told"
        command = ["sh", "-c", f"echo again >> {told}"]
        revocations = RevocationList(centre.engine, centre.authority, path, command, centre.clock.now)
        _, pem = enrolled(centre)
        revocations.publish()
        assert self.serials(path) == set()
        centre.registry.revoke("press-1")
        for _ in range(3):
            revocations.publish()
        assert self.serials(path) == {serial(pem)}
        assert told.read_text().count("again") == 2
        revocations.publish(again=True)
        assert told.read_text().count("again") == 3
        made = x509.load_pem_x509_crl(path.read_bytes())
        authority = x509.load_pem_x509_certificate(centre.authority.pem.encode())
        assert made.is_signature_valid(authority.public_key())
        assert made.next_update_utc == authority.not_valid_after_utc  # a list out of date would shut everyone out

    def test_a_broker_that_was_not_told_is_told_again(self, centre: Centre, tmp_path: Path) -> None:
        told = tmp_path / "told"
        command = ["sh", "-c", f"test -e {told} || {{ echo no such unit >&2; exit 5; }}"]
        revocations = RevocationList(centre.engine, centre.authority, tmp_path / "crl", command, centre.clock.now)
        with pytest.raises(UnavailableError, match="code 5: no such unit"):
            revocations.publish()
        with pytest.raises(UnavailableError):
            revocations.publish()
        told.touch()
        revocations.publish()

    def test_a_list_that_was_written_before_the_process_ended_is_read_again_at_the_next_start(
        self, centre: Centre, tmp_path: Path
    ) -> None:
        path, told = tmp_path / "crl.pem", tmp_path / "told"
        with pytest.raises(UnavailableError):
            RevocationList(centre.engine, centre.authority, path, ["false"], centre.clock.now).publish()
        command = ["sh", "-c", f"echo again >> {told}"]
        revocations = RevocationList(centre.engine, centre.authority, path, command, centre.clock.now)
        for _ in range(3):
            revocations.publish()
        assert told.read_text().count("again") == 1

    def test_a_list_that_another_process_wrote_is_read_too(self, centre: Centre, tmp_path: Path) -> None:
        path, told = tmp_path / "crl.pem", tmp_path / "told"
        command = ["sh", "-c", f"echo again >> {told}"]
        serving = RevocationList(centre.engine, centre.authority, path, command, centre.clock.now)
        enrolled(centre)
        serving.publish()
        centre.registry.revoke("press-1")
        with pytest.raises(UnavailableError):
            RevocationList(centre.engine, centre.authority, path, ["false"], centre.clock.now).publish(again=True)
        for _ in range(3):
            serving.publish()
        assert told.read_text().count("again") == 2

    def test_a_command_that_is_not_there_is_named(self, centre: Centre, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError, match="cannot be run"):
            RevocationList(centre.engine, centre.authority, tmp_path / "c", ["/none"], centre.clock.now).publish()


class TestAuthority:
    def test_its_key_is_private_and_made_once(self, tmp_path: Path) -> None:
        folder = tmp_path / "authority"
        made = Authority.create(folder, "works", NOW_MS)
        assert (folder / "authority.key").stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
        assert Authority.create(folder, "other", NOW_MS).pem == Authority.open(folder).pem == made.pem

    def test_damage_is_named_and_no_key_is_shown(self, tmp_path: Path) -> None:
        Authority.create(tmp_path, "works", NOW_MS)
        key, secret = tmp_path / "authority.key", (tmp_path / "authority.key").read_text()
        key.chmod(0o644)
        with pytest.raises(ConfigError, match="read by others"):
            Authority.open(tmp_path)
        key.chmod(0o600)
        key.write_text(secret[:-40])
        with pytest.raises(ConfigError, match=r"authority\.key") as caught:
            Authority.open(tmp_path)
        assert secret[40:80] not in str(caught.value)
        key.write_text(secret)
        (tmp_path / "authority.pem").unlink()
        with pytest.raises(ConfigError, match=r"authority\.pem"):
            Authority.open(tmp_path)
