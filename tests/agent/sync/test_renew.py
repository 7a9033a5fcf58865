"""A certificate is renewed in time, by the centre's clock, and only for a newer one of this device."""

from pathlib import Path

import pytest

from agent.contract import renewal
from agent.contract.certificates import certificate_request
from agent.contract.enrolment import Enrolment
from agent.contract.errors import RejectedError
from agent.contract.keys import SigningKey, TlsKey
from agent.contract.topics import DeviceTopics
from agent.contract.trust import Broker
from agent.store.identity import CLOCK_FLOOR, ClientTls, Identity
from agent.sync.renew import Renewal
from tests.support.small_centre import SmallCentre, Wire
from trainer.fleet.certificates import CLIENT_DAYS, Authority

DAY_MS = 86_400_000
LIFE_MS = (CLIENT_DAYS + 1) * DAY_MS
BEGIN_MS = 1_700_000_000_000
TOPICS = DeviceTopics("press-1")


class Device:
    """An enrolled device with a certificate, its line, and the centre that answers."""

    def __init__(self, folder: Path):
        self.centre, self.wire = SmallCentre(), Wire()
        self.authority = Authority.create(folder / "authority", "works", BEGIN_MS)
        self.key, self.tls = SigningKey.generate(), TlsKey.generate()
        self.folder = folder / "identity"
        self.identity = Identity.open(self.folder)
        enrolment = Enrolment("press-1", "t" * 32, 2**42, Broker("b", 8883, "x"), self.centre.trust(), "{}")
        self.first = self.issue(BEGIN_MS)
        self.identity.enrol(enrolment, self.key, ClientTls(self.tls, self.first))
        self.now_s = 0.0
        self.renewal = self.boot()

    def boot(self) -> Renewal:
        self.renewal = Renewal(self.identity, self.key, self.wire, monotonic=lambda: self.now_s, rng=lambda: 0.5)
        return self.renewal

    def issue(self, now_ms: int, name: str = "press-1", tls: TlsKey | None = None) -> str:
        return self.authority.issue(certificate_request(tls or self.tls, name), name, now_ms).pem

    def answer(self, chain: str, key: SigningKey | None = None, name: str = "press-1") -> None:
        payload = renewal.sign_response(name, chain, key or self.centre.ack_key)
        self.renewal.on_response(payload, self.centre.trust())

    def at(self, now_ms: int) -> int:
        """Let the centre say what time it is; how many requests came of it."""
        self.identity.raise_floor(CLOCK_FLOOR, now_ms)
        before = len(self.wire.sent)
        self.renewal.pump()
        return len(self.wire.sent) - before

    @property
    def chain(self) -> str:
        return Identity.open(self.folder).enrolment.tls.chain


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_asks_from_a_third_of_its_life_left_and_again_until_a_newer_one_comes(device: Device):
    due_ms = BEGIN_MS - DAY_MS + LIFE_MS - LIFE_MS // 3 + DAY_MS // 2  # spread over a day
    assert device.at(due_ms - 1) == 0
    assert device.at(due_ms) == 1
    assert device.at(due_ms) == 0
    device.now_s += 1000
    assert device.at(due_ms) == 1
    topic, request = device.wire.sent[-1]
    assert topic == TOPICS.cert_request
    csr = renewal.verify_request(request, {device.key.id: device.key.public}, device="press-1")
    newer = device.authority.issue(csr, "press-1", due_ms).pem
    ends_ms = BEGIN_MS - DAY_MS + LIFE_MS
    assert device.renewal.told() == {"ends_ms": ends_ms, "renewal_from_ms": ends_ms - LIFE_MS // 3, "asked": 2}
    device.answer(newer)
    assert device.chain == newer
    assert device.renewal.told()["ends_ms"] > ends_ms
    assert device.renewal.told()["asked"] == 0
    device.now_s += 1000
    assert device.at(due_ms) == 0


def test_a_cut_line_is_waited_for_and_a_restart_forgets_nothing(device: Device):
    device.wire.connected = False
    assert device.at(BEGIN_MS + LIFE_MS) == 0
    device.wire.connected = True
    assert device.at(BEGIN_MS + LIFE_MS) == 1
    device.boot()
    assert device.at(BEGIN_MS + LIFE_MS) == 1


def test_takes_no_certificate_but_a_newer_one_of_its_own_that_the_centre_has_signed(device: Device):
    newer = device.issue(BEGIN_MS + 100 * DAY_MS)
    for chain, more in (
        (newer, {"key": SigningKey.generate()}),
        (newer, {"name": "press-2"}),
        (device.issue(BEGIN_MS + 100 * DAY_MS, name="press-2"), {}),
        (device.issue(BEGIN_MS + 100 * DAY_MS, tls=TlsKey.generate()), {}),
        (device.issue(BEGIN_MS - DAY_MS), {}),  # one that was recorded long ago
        ("nonsense", {}),
    ):
        with pytest.raises(RejectedError):
            device.answer(chain, **more)
        assert device.chain == device.first
    device.answer(device.first)  # the same, said again
    device.answer(newer)
    with pytest.raises(RejectedError, match="no later"):
        device.answer(device.first)
    assert device.chain == newer
