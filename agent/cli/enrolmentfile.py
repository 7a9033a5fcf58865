"""Whether an enrolment file can work at all: what its form does not show, each part named that cannot.

Decides nothing about the token: only the centre judges that.
"""

from __future__ import annotations

import ipaddress
import re

from agent.contract.enrolment import Enrolment
from agent.contract.errors import EdgewattError, RejectedError
from agent.contract.keys import SealTo, verify_key
from agent.contract.trust import KeyState, KeyUse

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_MAX_HOST = 253


def check_parts(enrolment: Enrolment) -> None:
    """Refuse a file that can enrol no device, whoever asks; the first part that cannot work is named.

    Its date is not judged here: that is for whoever asks the centre, with the clock in hand.

    Raises:
        RejectedError: naming the part.
    """
    _check_broker(enrolment)
    _check_trust(enrolment)
    _check_root(enrolment.tuf_root)


def _check_broker(enrolment: Enrolment) -> None:
    broker = enrolment.broker
    for name, host in (("host", broker.host), ("server_name", broker.server_name)):
        if host and not _is_host(host):
            raise RejectedError(f"{host!r} is no host name and no address", where=f"broker.{name}")
    if broker.enrol_port == broker.port:
        raise RejectedError(
            "is the same as port, where only devices with a certificate come in", where="broker.enrol_port"
        )
    if broker.enrol_port and not broker.ca_pem:
        raise RejectedError("is empty, and enrolment on a port of its own needs TLS", where="broker.ca_pem")
    if broker.ca_pem:
        from agent.sync.tls import TlsSettings, make_context

        try:
            make_context(TlsSettings(broker.ca_pem, broker.server_name, lambda: None), check_time=True)
        except (EdgewattError, ValueError) as exc:
            raise RejectedError("holds no certificate of an authority", where="broker.ca_pem") from exc


def _check_trust(enrolment: Enrolment) -> None:
    for key in enrolment.trust.keys:
        try:
            if key.use is KeyUse.SEAL:
                SealTo(key.public).seal(b"", b"")
            else:
                verify_key(key.public)
        except RejectedError as exc:
            raise RejectedError(exc.what, where=f"trust.keys, {key.use} {key.id}") from exc
    active = {key.use for key in enrolment.trust.keys if key.state is KeyState.ACTIVE}
    if missing := sorted(set(KeyUse) - active):
        raise RejectedError(f"has no active key for {', '.join(missing)}", where="trust.keys")


def _check_root(text: str) -> None:
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root
    from tuf.api.serialization import DeserializationError

    try:
        root = Metadata[Root].from_bytes(text.encode())
        if not isinstance(root.signed, Root):
            raise RejectedError(f"is {root.signed.type}, not root, of an update repository", where="tuf_root")
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except (DeserializationError, UnicodeEncodeError) as exc:
        raise RejectedError("is not the root of an update repository", where="tuf_root") from exc
    except (RepositoryError, ValueError) as exc:
        raise RejectedError("is not signed by its own keys: it was changed", where="tuf_root") from exc


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.removesuffix(".").split(".")
        # Four numbers would be an address, and are none.
        return len(text) <= _MAX_HOST and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdecimal()
    return True
