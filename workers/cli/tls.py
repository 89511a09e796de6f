"""Names the TLS fault between this machine and a server in one sentence. The errors of redis-py rarely do."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from invites.connection.url import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from invites.connection.url import Address, RedisUrl

_WITHIN_S: Final = 2.0
_PING: Final = b"PING\r\n"
_REPLIES: Final = (b"+", b"-")
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
# OpenSSL's codes of verification.
_EXPIRED: Final = 10
_OTHER_HOST: Final = frozenset({62, 64})


def tls_fault(url: RedisUrl) -> str:
    """The fault, with a remedy. "" if TLS is not at fault, or if no server listens.

    Asks the first server (of Sentinel or a cluster: the first node) that listens. Blocks for some seconds at most.
    """
    if url.tls is not None and (fault := _fault_of_files(url.tls)):
        return fault
    over_tls = url.sentinel_tls if url.kind == "sentinel" else url.tls is not None
    for address in url.hosts:
        with contextlib.suppress(OSError):
            socket.create_connection(address, _WITHIN_S).close()
            return _fault_at(address, url.tls or {}) if over_tls else _fault_without(address)
    return ""


def unverified(url: RedisUrl) -> str:
    """What an unverified certificate allows, with a remedy. "" if certificates are verified or not used."""
    if url.tls is None:
        return ""
    if url.tls.get("ssl_cert_reqs") == "none":
        return (
            "The server's certificate is not verified (ssl_cert_reqs=none), so another server can pose as this one: "
            "name its CA file in ssl_ca_certs instead."
        )
    if not url.tls.get("ssl_check_hostname", True):
        return (
            "The host name in the server's certificate is not checked (ssl_check_hostname=no), so any server with a "
            "certificate of this CA can pose as this one."
        )
    return ""


def _fault_of_files(options: Mapping[str, str | bool]) -> str:
    for name in _FILES:
        if name in options:
            try:
                Path(str(options[name])).open("rb").close()
            except OSError as error:
                return f"The file {options[name]} of {name} cannot be read ({error.strerror}): correct redis.url."
    try:
        _context(options)
    except ssl.SSLError as error:
        reason = error.reason or error
        if "ssl_certfile" in options and error.reason == "KEY_VALUES_MISMATCH":
            return f"The key {options.get('ssl_keyfile')} is not that of the certificate {options['ssl_certfile']}."
        files = " or ".join(str(options[name]) for name in _FILES if name in options)
        return f"The file {files} holds no certificate or key in PEM ({reason}): correct redis.url."
    return ""


def _context(options: Mapping[str, str | bool]) -> ssl.SSLContext:
    """The context that the options ask for. Raises SSLError and OSError."""
    given = {name: str(value) for name, value in options.items()}
    context = ssl.create_default_context()
    if given.get("ssl_cert_reqs") == "none" or not options.get("ssl_check_hostname", True):
        context.check_hostname = False
    if given.get("ssl_cert_reqs") == "none":
        context.verify_mode = ssl.CERT_NONE
    if "ssl_ca_certs" in given or "ssl_ca_path" in given:
        context.load_verify_locations(given.get("ssl_ca_certs"), given.get("ssl_ca_path"))
    if "ssl_certfile" in given:
        context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"), password="")
    return context


def _fault_without(address: Address) -> str:
    """The fault of a URL without TLS."""
    if _answers_without(address):
        return ""
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    try:
        with _connected(address, trusting):
            pass
    except OSError as error:
        if not _is_alert(error):
            return ""
    return f"The port {shown(address)} speaks TLS: use `rediss` instead of `redis` in redis.url."


def _fault_at(address: Address, options: Mapping[str, str | bool]) -> str:
    """The fault of a URL with TLS."""
    try:
        _ping(address, _context(options))
    except ssl.SSLCertVerificationError as error:
        return _fault_of_certificate(address, options, error)
    except OSError as error:
        if _answers_without(address):
            return (
                f"The port {shown(address)} does not speak TLS: use `redis` instead of `rediss` in redis.url."
            )
        return _fault_of_handshake(address, options, error)
    return ""


def _fault_of_handshake(address: Address, options: Mapping[str, str | bool], error: OSError) -> str:
    """The server has closed the connection, perhaps for lack of a client certificate, or does not answer."""
    if isinstance(error, TimeoutError):
        return ""
    closed = ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError
    refused = isinstance(error, closed) or _is_alert(error)
    if not refused:
        return f"The TLS handshake with {shown(address)} fails ({error.strerror or error})."
    if "ssl_certfile" in options:
        return (
            f"{shown(address)} refuses the client certificate {options['ssl_certfile']}: use one of its CA."
        )
    return (
        f"{shown(address)} wants a client certificate: name one with its key in ssl_certfile and ssl_keyfile of "
        "redis.url."
    )


def _fault_of_certificate(
    address: Address, options: Mapping[str, str | bool], error: ssl.SSLCertVerificationError
) -> str:
    if error.verify_code in _OTHER_HOST:
        return (
            f"The certificate of {shown(address)} is for another host ({error.verify_message.rstrip('.')}): use a "
            "name that is in the certificate."
        )
    if error.verify_code == _EXPIRED:
        return f"The certificate of {shown(address)} has expired: renew it."
    named = options.get("ssl_ca_certs") or options.get("ssl_ca_path")
    ca = f"The CA file {named} does" if named else "The CAs of this machine do"
    return (
        f"{ca} not vouch for the certificate of {shown(address)} ({error.verify_message}): name the CA file that does "
        "in ssl_ca_certs of redis.url."
    )


def _answers_without(address: Address) -> bool:
    """Whether the server answers without TLS."""
    with contextlib.suppress(OSError), socket.create_connection(address, _WITHIN_S) as plain:
        plain.settimeout(_WITHIN_S)
        plain.sendall(_PING)
        return plain.recv(1) in _REPLIES
    return False


@contextlib.contextmanager
def _connected(address: Address, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(address, _WITHIN_S) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as secure,
    ):
        yield secure


def _ping(address: Address, context: ssl.SSLContext) -> None:
    """Ask over TLS. A server of TLS 1.3 refuses a client certificate only after the handshake."""
    with _connected(address, context) as secure:
        secure.sendall(_PING)
        if not secure.recv(1):
            raise ConnectionResetError


def _is_alert(error: OSError) -> bool:
    """Whether the server has sent a TLS alert."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
