"""Renewal of the client certificate, long before it ends: when to ask, and which answer to take.

The time is the centre's, of its last signed word: a device whose clock is wrong renews at the right time, too.
Called by the thread that owns the store.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.contract import renewal
from agent.contract.certificates import Validity, certificate_request, check_certificate
from agent.contract.errors import RejectedError
from agent.contract.keys import SigningKey
from agent.contract.topics import DeviceTopics
from agent.contract.trust import FleetTrust, KeyUse
from agent.store.identity import CLOCK_FLOOR, ClientTls, Identity

if TYPE_CHECKING:
    from agent.sync.ports import Line

_LEFT = 1 / 3  # of its life: from then on a newer one is asked for
_SPREAD_MS = 86_400_000  # certificates of one day are not all renewed in one second
_ASK_AGAIN_S = 900.0

_log = logging.getLogger(__name__)


def due_ms(validity: Validity) -> int:
    """Return from when on a newer certificate is asked for, by the centre's time, within a day."""
    return validity.not_after_ms - int((validity.not_after_ms - validity.not_before_ms) * _LEFT)


def told(validity: Validity, asked: int = 0) -> dict[str, int]:
    """Return when a certificate ends, from when on a newer one is asked for, and how often that was so far."""
    return {"ends_ms": validity.not_after_ms, "renewal_from_ms": due_ms(validity), "asked": asked}


class Renewal:
    """Asks for a newer certificate from a third of its life left, until one comes."""

    def __init__(
        self,
        identity: Identity,
        key: SigningKey,
        link: Line,
        *,
        monotonic: Callable[[], float],
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is asked before `pump`.

        Args:
            identity: holds the certificate, and the centre's time.
            key: signs the request.
            link: the line to the broker.
            monotonic: seconds, for waiting.
            rng: uniform numbers in [0, 1).
        """
        self._identity, self._key, self._link = identity, key, link
        self._monotonic, self._rng = monotonic, rng
        self._spread_ms = int(rng() * _SPREAD_MS)
        self._not_before_s = float("-inf")
        self._asked = 0
        self._validity = self._read()

    def pump(self) -> None:
        """Ask, when it is due and the line is there. Call it often: it returns at once where nothing is."""
        if self._validity is None or self._monotonic() < self._not_before_s or not self._link.connected:
            return
        from_ms = due_ms(self._validity) + self._spread_ms
        tls, enrolled = self._tls, self._identity.enrolment
        if tls is None or enrolled is None or self._identity.floor(CLOCK_FLOOR) < from_ms:
            return
        request = renewal.sign_request(enrolled.device, certificate_request(tls.key, enrolled.device), self._key)
        if self._link.publish(DeviceTopics(enrolled.device).cert_request, request):
            self._asked += 1
            self._not_before_s = self._monotonic() + _ASK_AGAIN_S * (0.5 + self._rng())

    def told(self) -> dict[str, int] | None:
        """Return what `told` says of the certificate in use; None where it cannot be read."""
        return None if self._validity is None else told(self._validity, self._asked)

    def on_response(self, payload: bytes, trust: FleetTrust) -> None:
        """Judge an answer and keep its certificate; the next connection shows that.

        Raises:
            RejectedError: when it is not the centre's, or not a newer certificate of this device; the old one stays.
            StorageError: when it cannot be written.
        """
        enrolled, tls = self._identity.enrolment, self._tls
        if enrolled is None or tls is None or self._validity is None:
            raise RejectedError("was not asked for", where="certificate")
        chain = renewal.verify_response(payload, trust.verifiers(KeyUse.ACK), device=enrolled.device)
        validity = check_certificate(chain, tls.key, enrolled.device)
        if chain == tls.chain:
            return
        if validity.not_after_ms <= self._validity.not_after_ms:
            raise RejectedError("ends no later than the one in use", where="certificate")
        self._identity.set_certificate(ClientTls(tls.key, chain))
        self._validity, self._asked = validity, 0
        _log.info("the certificate for the broker is renewed")

    @property
    def _tls(self) -> ClientTls | None:
        return self._identity.enrolment.tls if self._identity.enrolment else None

    def _read(self) -> Validity | None:
        tls, enrolled = self._tls, self._identity.enrolment
        if tls is None or enrolled is None:
            return None
        try:
            return check_certificate(tls.chain, tls.key, enrolled.device)
        except RejectedError as exc:  # the connection will say so, too
            _log.warning("%s: enrol the device again", exc)
            return None
