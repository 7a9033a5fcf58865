"""How a connection to the broker is protected: whom it must be, what of its certificate is judged, who we are to it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.contract.errors import ConfigError
from agent.store.identity import ClientTls

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, to which Python gives no name


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What a context is made from, anew for each connection.

    Attributes:
        ca_pem: the only certificates that vouch for the broker.
        server_name: the name that its certificate must hold; empty for the name that is connected to.
        client: this device's key and certificate, now; None where the broker asks for none.
    """

    ca_pem: str
    server_name: str
    client: Callable[[], ClientTls | None]


class _Socket(ssl.SSLSocket):
    """Closes itself when the broker's certificate is refused; paho would leave it to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class _Context(ssl.SSLContext):
    """Asks for the name in the broker's certificate, by whatever address it is reached."""

    server_name = ""

    def wrap_socket(self, *args: Any, server_hostname: str | bytes | None = None, **more: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, server_hostname=self.server_name or server_hostname, **more)  # type: ignore[misc]


def make_context(settings: TlsSettings, *, check_time: bool) -> ssl.SSLContext:
    """Return the context of one connection.

    Args:
        settings: what is known of both sides.
        check_time: whether the dates of the broker's certificate are judged. Its issuer and its name are always.

    Raises:
        ConfigError: when no authority is named, or the device's key and certificate do not fit; nothing of the key is
            shown.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=settings.ca_pem)
    except ssl.SSLError as exc:
        raise ConfigError(
            "holds no certificate of a broker's authority", where="ca_pem", todo="Enrol the device again"
        ) from exc
    context.server_name = settings.server_name
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not check_time:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    client = settings.client()
    if client is not None:
        _load_client(context, client)
    return context


def _load_client(context: ssl.SSLContext, client: ClientTls) -> None:
    """Hand the key over; Python takes it from a file only, and this one is on no disk."""
    descriptor = os.memfd_create("edgewatt-tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(client.key.pem.encode() + b"\n" + client.chain.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError(
            "the device's certificate and key do not fit", where="identity", todo="Enrol the device again"
        ) from exc
    finally:
        os.close(descriptor)
