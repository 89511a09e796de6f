"""Parses `redis.url`, and formats the parts of it that may be shown."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode

from msgspec import Struct

from invites.values.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Address = tuple[str, int]
"""Host and port."""

_SCHEMES: Final = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_OTHER_NAMES: Final = {"valkey": "redis", "valkeys": "rediss", "valkey+unix": "unix", "redis+unix": "unix"}
_EXAMPLES: Final = {
    "sentinel": "redis+sentinel://sentinel1:26379,sentinel2:26379/SERVICE/0",
    "cluster": "redis+cluster://valkey1:6379,valkey2:6379",
    "": "redis://valkey:6379/0",
}
_PORTS: Final = {"sentinel": 26379, "cluster": 6379, "": 6379}
_LAST_PORT: Final = 65_535
# Time-outs are not options: they depend on how the worker reads.
_TLS_OPTIONS: Final = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
)
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")
_SENTINEL_TLS: Final = "sentinel_ssl"
_YES_OR_NO: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_CERT_REQS: Final = ("required", "optional", "none")
_ENCODE: Final = (
    "percent-encode special characters in a password (/ as %2F, # as %23, ? as %3F, @ as %40, % as %25)"
)


class UnusableUrlError(ValueError):
    """The URL cannot be used. The text continues after the name of the URL's origin, and never quotes the URL."""


class Credentials(Struct, frozen=True):
    """A user and a password. Without a user, the server assumes its user `default`."""

    username: Secret | None = None
    password: Secret | None = None


class RedisUrl(Struct, frozen=True, kw_only=True):
    """The parts of a URL.

    `kind` is "" for a single server, "unix", "sentinel" or "cluster". `hosts` are the server, the sentinels, or some
    nodes of the cluster; empty for a socket. `tls` are the TLS options, or None without TLS; `sentinel_tls` is whether
    the sentinels use TLS too.
    """

    kind: str
    hosts: tuple[Address, ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    credentials: Credentials = Credentials()
    tls: Mapping[str, str | bool] | None = None
    sentinel_credentials: Credentials = Credentials()
    sentinel_tls: bool = False


def parse_redis_url(secret: Secret) -> RedisUrl:
    """Parse a URL.

    These forms are known:

    - `redis://[user:password@]host[:port][/db]`
    - `unix://[user:password@]/path/of/socket[?db=N]`
    - `redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/db]`
    - `redis+cluster://[user:password@]host[:port][,host[:port]…]`

    All but `unix` have a variant with `rediss` for TLS, with certificate options (`ssl_…`).

    Raises UnusableUrlError.
    """
    url = _split(secret.reveal())
    _check_scheme(url.scheme)
    if url.fragment:
        raise UnusableUrlError(f"contains a `#`: {_ENCODE}.")
    userinfo, _, hosts = url.netloc.rpartition("@")
    if url.scheme == "unix":
        if hosts or not url.path.strip("/"):
            raise UnusableUrlError(
                "must name a socket by its absolute path, like unix:///run/valkey/valkey.sock."
            )
        options = _options(url, ("db",))
        return RedisUrl(
            kind="unix",
            path=unquote(url.path),
            database=_database(options, ""),
            credentials=_credentials(userinfo),
        )
    return _over_network(url, userinfo, hosts)


def address_of(secret: Secret) -> str:
    """A usable URL without user, password and options, for people to read."""
    found = parse_redis_url(secret)
    if found.kind == "unix":
        return f"unix://{found.path}"
    scheme = _split(secret.reveal()).scheme
    path = f"/{found.service}" if found.service else ""
    path += "" if found.kind == "cluster" else f"/{found.database}"
    return f"{scheme}://{','.join(map(shown, found.hosts))}{path}"


def shown(address: Address) -> str:
    """The host and port as in a URL."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url_of_server(url: RedisUrl, address: Address) -> Secret:
    """The URL of one server of a service or a cluster, for clients without support for Sentinel and Cluster."""
    username, password = (
        "" if secret is None else quote(secret.reveal(), safe="")
        for secret in (url.credentials.username, url.credentials.password)
    )
    scheme = "redis" if url.tls is None else "rediss"
    options = {name: "yes" if value is True else value or "no" for name, value in (url.tls or {}).items()}
    userinfo = f"{username}:{password}@" if username or password else ""
    query = f"?{urlencode(options)}" if options else ""
    return Secret(f"{scheme}://{userinfo}{shown(address)}/{url.database}{query}")


def _split(text: str) -> SplitResult:
    """Split as `urlsplit` does. That of newer Pythons refuses an IPv6 address in a list of hosts."""
    scheme, there, rest = text.strip().partition("://")
    if not there:
        return SplitResult("", "", text, "", "")
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    netloc, slash, path = rest.partition("/")
    return SplitResult(scheme.lower(), netloc, slash + path, query, fragment)


def _over_network(url: SplitResult, userinfo: str, hosts: str) -> RedisUrl:
    base, _, kind = url.scheme.partition("+")
    addresses = _addresses(hosts, kind)
    if "@" in url.path + url.query:
        raise UnusableUrlError(f"contains a second @: {_ENCODE}.")
    tls = base == "rediss"
    known = (
        *(() if kind == "cluster" else ("db",)),
        *(_SENTINEL_OPTIONS if kind == "sentinel" else ()),
        *((_SENTINEL_TLS,) if kind == "sentinel" and tls else ()),
        *(_TLS_OPTIONS if tls else ()),
    )
    options = _options(url, known)
    service, path = "", url.path
    if kind == "sentinel":
        service, _, path = path.removeprefix("/").partition("/")
        if not service:
            raise UnusableUrlError(
                f"must name the service that the sentinels watch: write {_EXAMPLES[kind]}."
            )
    if kind == "cluster" and path.strip("/") not in {"", "0"}:
        raise UnusableUrlError("must not end with a database: a cluster has database 0 only.")
    return RedisUrl(
        kind=kind,
        hosts=addresses,
        service=unquote(service),
        database=_database(options, path),
        credentials=_credentials(userinfo),
        tls=_tls(options) if tls else None,
        sentinel_credentials=Credentials(*(_secret(options.get(name)) for name in _SENTINEL_OPTIONS)),
        sentinel_tls=tls and kind == "sentinel" and _yes_or_no(options, _SENTINEL_TLS, default=True),
    )


def _check_scheme(scheme: str) -> None:
    if scheme in _SCHEMES:
        return
    if not scheme:
        raise UnusableUrlError(f"has no scheme: write {_EXAMPLES['']}.")
    nearest = _OTHER_NAMES.get(scheme) or difflib.get_close_matches(scheme, _SCHEMES, n=1, cutoff=0)[0]
    raise UnusableUrlError(
        f"starts with {scheme}://, which is not a known scheme; did you mean {nearest}://?"
    )


def _addresses(hosts: str, kind: str) -> tuple[Address, ...]:
    named = hosts.split(",")
    if len(named) > 1 and not kind:
        raise UnusableUrlError(
            "names several servers: write redis+sentinel:// for Sentinel, or redis+cluster:// for Cluster."
        )
    return tuple(_address(one, kind) for one in named)


def _address(text: str, kind: str) -> Address:
    example = _EXAMPLES[kind]
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed:
            raise UnusableUrlError(f"is not a URL: write {example}, and {_ENCODE}.")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if port and not (port.isdecimal() and int(port) <= _LAST_PORT):
        raise UnusableUrlError(f"has no valid port: write {example}, and {_ENCODE}.")
    if not host or (port and int(port) == 0):
        raise UnusableUrlError(f"must name a host and a port from 1 to {_LAST_PORT}, like {example}.")
    return unquote(host), int(port) if port else _PORTS[kind]


def _credentials(userinfo: str) -> Credentials:
    username, _, password = userinfo.partition(":")
    return Credentials(_secret(unquote(username)), _secret(unquote(password)))


def _secret(text: str | None) -> Secret | None:
    return Secret(text) if text else None


def _options(url: SplitResult, known: Sequence[str]) -> dict[str, str]:
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    for name in options:
        if not known:
            raise UnusableUrlError(f"has the option {name!r}, but {url.scheme}:// takes no options.")
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise UnusableUrlError(
                f"has the option {name!r}, which cannot be set here; did you mean {nearest}?"
            )
    return options


def _database(options: Mapping[str, str], path: str) -> int:
    in_path, in_options = path.strip("/"), options.get("db", "0")
    if in_path and not in_path.isdecimal():
        raise UnusableUrlError(f"must end with a database number, like /0; {_ENCODE}.")
    if not in_options.isdecimal():
        raise UnusableUrlError("must have a number as its database, like ?db=0.")
    return int(in_options if "db" in options else in_path or 0)


def _tls(options: Mapping[str, str]) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {name: options[name] for name in _TLS_OPTIONS if name in options}
    if found.get("ssl_cert_reqs", "required") not in _CERT_REQS:
        raise UnusableUrlError(f"must have one of {', '.join(_CERT_REQS)} as ssl_cert_reqs.")
    found["ssl_check_hostname"] = _yes_or_no(options, "ssl_check_hostname", default=True)
    return found


def _yes_or_no(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = options.get(name)
    if value is None:
        return default
    if value.lower() not in _YES_OR_NO:
        raise UnusableUrlError(f"must have yes or no as {name}.")
    return _YES_OR_NO[value.lower()]
