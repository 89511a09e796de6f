"""Loads the configuration: config.json, overridden by the environment, overridden by the command line."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from invites.config.access import warn_of_access
from invites.config.checks import ConfigError, check_together
from invites.config.sections import Basic, Config
from invites.connection.url import UnusableUrlError, parse_redis_url
from invites.values.secret import Secret, SecretError, from_environment
from invites.values.validation import ValidationError, convert, fields, kind_of, syntax_error

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_DIGITS: Final = 400  # beyond 309 digits, a float is infinite
LIFTED: Final = ("parallelSip", "onlyOneDeviceWithInvitations")
"""Flags of `invites` that may stand in `basic` as well: the vendor's page does not say where they belong."""

_log = logging.getLogger(__name__)


def load(
    file: Path | None = None,
    *,
    redis_url: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The configuration in `file` (None: the defaults), overridden by the environment, then by `redis_url`.

    Raises ConfigError.
    """
    config = Config() if file is None else _from_file(file)
    try:
        config = _override(config, redis_url, os.environ if environ is None else environ)
    except SecretError as error:
        raise ConfigError(str(error)) from None
    return config


def parse(raw: object) -> Config:
    """The configuration in decoded JSON. Raises ConfigError."""
    if not isinstance(raw, dict):
        raise ConfigError(f"the configuration must be an object, not {kind_of(raw)}.")
    sections = {name: value for name, value in raw.items() if name in fields(Config)}
    if "invites" in sections:
        sections["invites"] = _lift_flags(sections["invites"])
    try:
        config = convert(sections, Config, {Basic: LIFTED})
    except ValidationError as error:
        raise ConfigError(str(error)) from None
    check_together(config)
    return config


def _lift_flags(invites: object) -> object:
    """Move two flags from `basic` to `invites`; there they win."""
    if not isinstance(invites, dict) or not isinstance(invites.get("basic"), dict):
        return invites
    basic = invites["basic"]
    lifted = {name: basic[name] for name in LIFTED if name in basic}
    kept = {name: value for name, value in basic.items() if name not in LIFTED}
    return {**lifted, **invites, "basic": kept}


def _from_file(file: Path) -> Config:
    try:
        text = file.read_text("utf-8-sig")
        raw = json.loads(text, parse_int=_whole, object_pairs_hook=partial(_object, file))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"The configuration {file} cannot be read: {reason}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The configuration {file} is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"The configuration {file} is not valid JSON: {syntax_error(error)}.") from None
    except RecursionError:
        raise ConfigError(f"The configuration {file} is nested too deeply.") from None
    try:
        config = parse(raw)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    warn_of_access(file, config)
    return config


def _object(file: Path, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. JSON allows a key to occur twice, and the first value is lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for name, times in Counter(name for name, _ in pairs).items():
            if times > 1:
                _log.warning("%s has the key %s twice in an object: the last one counts.", file, name)
    return found


def _whole(digits: str) -> int | float:
    """A whole number; infinity if it is too long for Python. Its field refuses that, and is named."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _override(config: Config, redis_url: str | None, environ: Mapping[str, str]) -> Config:
    url, origin = config.redis.url, "redis.url"
    from_env = from_environment("INVITES_REDIS_URL", environ)
    if redis_url is not None:
        url, origin = Secret(redis_url), "--redis-url"
    elif from_env is not None:
        url, origin = from_env, "INVITES_REDIS_URL"
    if url is not None:
        try:
            parse_redis_url(url)
        except UnusableUrlError as error:
            raise ConfigError(f"{origin} {error}") from None

    basic = config.invites.basic
    password = from_environment("INVITES_WAC_PASSWORD", environ) or basic.wac.password
    token = from_environment("INVITES_HTTP_TOKEN", environ) or config.http.token
    if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token.reveal()):
        raise ConfigError(
            "http.token (or INVITES_HTTP_TOKEN) must be visible ASCII characters without spaces, because it is sent "
            "in a header: generate one with `openssl rand -hex 32`."
        )
    secret = from_environment("INVITES_GATEWAY_SECRET", environ) or config.gateway.secret
    wac = msgspec.structs.replace(basic.wac, password=password)
    invites = msgspec.structs.replace(config.invites, basic=msgspec.structs.replace(basic, wac=wac))
    return Config(
        invites=invites,
        redis=msgspec.structs.replace(config.redis, url=url),
        http=msgspec.structs.replace(config.http, token=token),
        gateway=msgspec.structs.replace(config.gateway, secret=secret),
    )
