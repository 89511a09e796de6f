"""Who may ask for `/v1` without a token: programs of this machine, but no proxy and no page in a browser."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import web

# Headers that a proxy adds. Behind a proxy, every peer seems to be on this machine. Each vendor has its own names, so
# this matches their forms.
_BY_A_PROXY: Final = re.compile(
    r"""
    via | forwarded | x-forwarded.* | forwarded-.*
    | (?:.*-)?(?:client|connecting|real|remote|source|src|user|originating|socket|cluster|external)
      -?(?:ip|addr|address|host)
    | x-(?:original|proxy|envoy|azure|arr|appengine|amz-cf|amzn|vercel|cloud|nf|scheme|url-scheme|host|varnish).*
    | (?:cf|cdn|fastly|fly|proxy|akamai|incap|front-end)-.*
    """,
    re.VERBOSE,
)
_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.", "ip6-localhost", "ip6-loopback"})


def refusal(request: web.Request, own_host: str) -> str | None:
    """Why a request without a token is refused; None if it is not. `own_host` is `http.host`.

    A page in a browser on this machine can make its own name resolve to 127.0.0.1 (DNS rebinding). The request then
    comes from this machine, but its `Host` still has that name.
    """
    if not _is_loopback(request.remote or ""):
        return "without http.token in the configuration, /v1 is available on loopback only"
    proxied = next((name for name in request.headers if _BY_A_PROXY.fullmatch(name.lower())), None)
    if proxied is not None:
        return (
            "without http.token in the configuration, /v1 does not answer requests that a proxy has forwarded"
        )
    named = request.headers.getall("Host", [])
    if named:
        named.append(request.host)  # that of an absolute request target
    if not named or not all(_is_own(host, own_host) for host in named):
        return (
            "without http.token in the configuration, /v1 only answers to the names of this machine: "
            "the header Host must be localhost, a loopback address or http.host"
        )
    return None


def _is_own(given: str, own_host: str) -> bool:
    """Whether a `Host`, with or without a port, names this machine."""
    found = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*))(?::\d*)?", given)
    if found is None:
        return given == own_host  # an IPv6 address without brackets, from an absolute request target
    host = (found[1] or found[2] or "").lower()
    return host in _LOCAL_NAMES or host == own_host.lower() or _is_loopback(host)


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
