"""`redis.url`: which URLs are known, and which of them are served."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from invites.secret import Secret

_SERVED: Final = ("redis", "rediss", "unix")
_KNOWN: Final = (*_SERVED, "redis+sentinel", "redis+cluster")
# Time-outs are not among them: they have to fit how the worker reads.
_OPTIONS: Final = (
    "db",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
)
_OTHER_NAMES: Final = {"valkey": "redis", "valkeys": "rediss", "valkey+unix": "unix", "redis+unix": "unix"}
_ENCODE: Final = (
    "percent-encode what is special in a password (/ as %2F, # as %23, ? as %3F, @ as %40, % as %25)"
)


class UnusableUrlError(Exception):
    """The URL cannot be used. The text goes on after the name of the URL's origin, and never quotes it."""


def check_redis_url(secret: Secret) -> None:
    """Raise UnusableUrlError unless the URL is one that this release serves.

    Served are `redis://[user:password@]host[:port][/db]`, the same with `rediss`, and
    `unix://[user:password@]/path/of/socket[?db=N]`. Options of `rediss` are the certificates (`ssl_…`).
    """
    try:
        url = urlsplit(secret.reveal())
    except ValueError:
        raise UnusableUrlError(f"is no URL: write redis://HOST:PORT/0, and {_ENCODE}.") from None
    _check_scheme(url.scheme if "://" in secret.reveal() else "")
    if url.fragment:
        raise UnusableUrlError(f"holds a `#`: {_ENCODE}.")
    if url.scheme != "unix":
        _check_server(url)
    elif url.hostname or not url.path.strip("/"):
        raise UnusableUrlError("must name a socket by its whole path, like unix:///run/valkey/valkey.sock.")
    _check_options(url)


def address_of(secret: Secret) -> str:
    """Where a URL leads that `check_redis_url` has passed: without user, password and options."""
    url = urlsplit(secret.reveal())
    if url.scheme == "unix":
        return f"unix://{unquote(url.path)}"
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}:{url.port or 6379}{url.path.rstrip('/')}"


def _check_scheme(scheme: str) -> None:
    if scheme in _SERVED:
        return
    if scheme in _KNOWN:
        raise UnusableUrlError(
            f"begins with {scheme}://, but this release serves one shard on a single server: "
            "write redis://, rediss:// or unix://."
        )
    if not scheme:
        raise UnusableUrlError("has no scheme: write redis://HOST:PORT/0.")
    nearest = _OTHER_NAMES.get(scheme) or difflib.get_close_matches(scheme, _KNOWN, n=1, cutoff=0)[0]
    raise UnusableUrlError(f"begins with {scheme}://, which is not known: the nearest known is {nearest}://.")


def _check_server(url: SplitResult) -> None:
    try:
        port = url.port
    except ValueError:
        raise UnusableUrlError(f"has no valid port: write redis://HOST:6379/0, and {_ENCODE}.") from None
    if port == 0 or not url.hostname:
        raise UnusableUrlError("must name a host, and a port from 1 to 65535, like redis://valkey:6379/0.")
    database = url.path.strip("/")
    if database and not database.isdecimal():
        raise UnusableUrlError(f"must end with the number of a database, like /0; {_ENCODE}.")


def _check_options(url: SplitResult) -> None:
    known = _OPTIONS if url.scheme == "rediss" else _OPTIONS[:1]
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        if name not in known:
            raise UnusableUrlError(
                f"has the option {name!r}, which cannot be set here: the nearest that can is "
                f"{difflib.get_close_matches(name, known, n=1, cutoff=0)[0]}."
            )
        if name == "db" and not value.isdecimal():
            raise UnusableUrlError("must give the database as a number, like ?db=0.")
