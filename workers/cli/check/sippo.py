"""The sippo-server API: whether it answers at the configured address and accepts the credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from invites.sippo.reasons import reason_of
from workers.cli.check.finding import Finding

if TYPE_CHECKING:
    from invites.config import Config, Wac

_NAME: Final = "sippo-server"
_WITHIN_S: Final = 5.0
_LARGEST_ANSWER: Final = 65_536  # bytes; a token is short


async def check_api(config: Config) -> Finding:
    """Log in once, if the address is configured. A fault is only a warning if no setting needs the API."""
    asked_by = config.lookups()
    missing = config.missing_for_lookups()
    if missing:
        names = ", ".join(missing)
        return Finding("FAIL", _NAME, f"{' and '.join(asked_by)} needs it, but {names} is missing: add it.")
    wac = config.invites.basic.wac
    if wac.address is None:
        return Finding("-", _NAME, "Not needed: neither resolveGroups nor resolvePush is set.")
    finding = await _log_in(wac, wac.address)
    if asked_by or finding.verdict != "FAIL":
        return finding
    return Finding("warn", _NAME, f"{finding.text} No setting needs it.")


async def _log_in(wac: Wac, address: str) -> Finding:
    url = address.rstrip("/") + wac.paths.login
    credentials = None
    if wac.username is not None and wac.password is not None:
        credentials = {"username": wac.username, "password": wac.password.reveal()}
    timeout = aiohttp.ClientTimeout(total=_WITHIN_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            # A redirect must not send the credentials to another server.
            session.request(
                "POST" if credentials else "GET", url, json=credentials, allow_redirects=False
            ) as answer,
        ):
            body = await answer.content.read(_LARGEST_ANSWER)
    except (aiohttp.ClientError, OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
        said = f"no answer within {_WITHIN_S:g} s" if isinstance(error, TimeoutError) else reason_of(error)
        return Finding("FAIL", _NAME, f"{url} cannot be reached ({said}): check invites.basic.wac.address.")
    if credentials is None:
        return Finding(
            "ok", _NAME, f"{url} answers. Without wac.username and wac.password nobody has logged in."
        )
    return _verdict(url, answer.status, body)


def _verdict(url: str, status: int, body: bytes) -> Finding:
    if status in {400, 401, 403}:
        advice = "check wac.username and wac.password (INVITES_WAC_PASSWORD)"
        return Finding("FAIL", _NAME, f"{url} refuses the credentials (status {status}): {advice}.")
    if status != 200:  # noqa: PLR2004 - the status of success
        return Finding(
            "FAIL", _NAME, f"{url} answers with status {status}, not 200: check invites.basic.wac.address."
        )
    try:
        token = msgspec.json.decode(body).get("token")
    except (msgspec.DecodeError, AttributeError):
        token = None
    if not isinstance(token, str) or not token:
        return Finding(
            "FAIL",
            _NAME,
            f"{url} returns no token: check that invites.basic.wac.address names a sippo-server.",
        )
    return Finding("ok", _NAME, f"{url} accepts the credentials.")
