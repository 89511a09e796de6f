"""The sippo-server API: whether it answers at the configured address and accepts the credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from invites.values.printable import escape
from workers.cli.check.finding import Finding

if TYPE_CHECKING:
    from invites.config import Config

_NAME: Final = "sippo-server"
_WITHIN_S: Final = 5.0
_LARGEST_ANSWER: Final = 65_536  # bytes; a token is short


async def check_api(config: Config) -> Finding:
    """Log in once, if a setting needs the API."""
    asked_by = config.lookups()
    wac = config.invites.basic.wac
    if not asked_by:
        return Finding("-", _NAME, "Not needed: neither resolveGroups nor resolvePush is set.")
    if wac.address is None or wac.username is None or wac.password is None:
        names = ", ".join(config.missing_for_lookups())
        return Finding("FAIL", _NAME, f"{' and '.join(asked_by)} needs it, but {names} is missing: add it.")
    url = wac.address.rstrip("/") + wac.paths.login
    credentials = {"username": wac.username, "password": wac.password.reveal()}
    timeout = aiohttp.ClientTimeout(total=_WITHIN_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            # A redirect must not send the credentials to another server.
            session.post(url, json=credentials, allow_redirects=False) as answer,
        ):
            body = await answer.content.read(_LARGEST_ANSWER)
            return _verdict(url, answer.status, body)
    except (aiohttp.ClientError, OSError) as error:
        said = f"no answer within {_WITHIN_S:g} s" if isinstance(error, TimeoutError) else escape(str(error))
        return Finding("FAIL", _NAME, f"{url} cannot be reached ({said}): check invites.basic.wac.address.")


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
