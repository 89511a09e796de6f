"""Access to the page: its names, its key, and its content security policy."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from typing import Final

_COOKIE: Final = "invites-demo-key"
_HTTP_PORT: Final = 80
_ANY: Final = "0.0.0.0"  # noqa: S104 - what a person has asked for


class PageError(Exception):
    """The page cannot be shown. The text says why and what to do."""


class Access:
    """The addresses of the page, and its key if other machines can reach it.

    `host` is the requested one, `address` and `port` is where the page listens.
    """

    def __init__(self, host: str, address: str, port: int) -> None:
        self.is_local = ipaddress.ip_address(address).is_loopback
        self.key = None if self.is_local else secrets.token_urlsafe(16)
        names = [address, "127.0.0.1", "localhost"] if self.is_local else _names_of(host, address)
        # Browsers leave the usual port out.
        self._hosts = {f"{name}:{port}" for name in names} | (set(names) if port == _HTTP_PORT else set())
        self._first = f"{names[0]}:{port}"

    @property
    def origins(self) -> list[str]:
        """The origins of the page, for the gateway."""
        return [f"http://{host}" for host in sorted(self._hosts)]

    @property
    def url(self) -> str:
        """Where a person opens the page."""
        return self._url("")

    @property
    def device_url(self) -> str:
        """Where another device chooses which one it is."""
        return self._url("device")

    @property
    def cookie(self) -> str:
        """The name of the cookie that has the key."""
        return _COOKIE

    def _url(self, path: str) -> str:
        return f"http://{self._first}/{path}" + ("" if self.key is None else f"?key={self.key}")

    def is_host(self, host: str | None) -> bool:
        """Whether the page has this name. Another name may be that of a foreign page, which its DNS leads here."""
        return host is not None and host.lower() in self._hosts

    def is_origin(self, origin: str | None) -> bool:
        """Whether a request comes from the page itself."""
        return origin in self.origins

    def opens(self, key: str | None) -> bool:
        """Whether the key is right, or none is needed."""
        return self.key is None or (
            key is not None and hmac.compare_digest(key.encode(errors="replace"), self.key.encode())
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises PageError."""
    try:
        found = socket.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
        return socket.create_server((str(found[0][4][0]), port))
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PageError(
            f"The page cannot listen on {host} port {port}: {reason}. Give --host an IPv4 address of this machine and "
            "--port a free port (0: any)."
        ) from error


def policy(host: str, gateway_port: int) -> str:
    """The Content-Security-Policy of a page: its own files, its own server, and the gateway beside it."""
    name = host.partition(":")[0]
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' ws://{name}:{gateway_port}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _names_of(host: str, address: str) -> list[str]:
    """The names under which others may reach this machine. The first one is for people."""
    named = _address() if address == _ANY else [host, address]
    own = socket.gethostname()
    names = (*named, own, f"{own}.local", "127.0.0.1", "localhost")
    return list(dict.fromkeys(name.lower() for name in names))


def _address() -> list[str]:
    """The address of this machine in its network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address for examples
        except OSError:
            return []
        return [str(probe.getsockname()[0])]
