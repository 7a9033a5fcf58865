"""What a connection's protection is made from; the connections themselves are in tests/firmware_configs/test_mosquitto.py."""

import ssl
from pathlib import Path

import pytest

from agent.contract.errors import ConfigError
from agent.contract.keys import TlsKey
from agent.store.identity import ClientTls
from agent.sync.mqtt import MqttLink
from agent.sync.tls import TlsSettings, make_context
from trainer.fleet.certificates import Authority

NOW_MS = 1_764_000_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path, "works", NOW_MS)


def test_issuer_and_name_are_judged_with_and_without_a_clock(authority: Authority):
    for check_time in (True, False):
        context = make_context(TlsSettings(authority.pem, "", lambda: None), check_time=check_time)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert bool(context.verify_flags & 0x200000) is not check_time
        assert len(context.get_ca_certs()) == 1  # none of the machine's own


def test_a_key_that_does_not_fit_its_certificate_is_told_and_not_shown(authority: Authority):
    _, issued = authority.client("press-1", NOW_MS)
    other = TlsKey.generate()
    for tls in (ClientTls(other, issued.pem), ClientTls(other, "nonsense")):
        with pytest.raises(ConfigError, match="do not fit") as caught:
            MqttLink("127.0.0.1", 1, "x", ca_pem=authority.pem, client_tls=lambda tls=tls: tls)
        assert other.pem[40:80] not in str(caught.value)


def test_the_key_is_left_on_no_disk_and_in_no_descriptor(authority: Authority):
    key, issued = authority.client("press-1", NOW_MS)
    before = set(Path("/proc/self/fd").iterdir())
    make_context(TlsSettings(authority.pem, "", lambda: ClientTls(key, issued.pem)), check_time=True)
    assert len(set(Path("/proc/self/fd").iterdir()) - before) <= 1  # the look itself
