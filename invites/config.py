"""The configuration: config.json (the vendor's structure first), the environment, the command line.

Whatever is wrong with it is a ConfigError, whose text is one sentence that names the field and says what to
write instead.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from invites.connection.url import UnusableUrlError, parse_redis_url
from invites.keys import Keys
from invites.values.secret import Secret, SecretError, from_environment
from invites.values.validation import ValidationError, convert, fields, kind_of, shown, syntax_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invites.store.commit import LookUp, Settings

_WEEK: Final = 604_800_000  # ms; more than a week is a mistake in the unit
_MS: Final = "a whole number of milliseconds from"

Duration = Annotated[int, Meta(ge=0, le=_WEEK, description=f"{_MS} 0 to {_WEEK} (a week)")]
Interval = Annotated[int, Meta(ge=1, le=_WEEK, description=f"{_MS} 1 to {_WEEK} (a week)")]
ClaimAge = Annotated[int, Meta(ge=100, le=_WEEK, description=f"{_MS} 100 to {_WEEK} (a week)")]
Members = Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100000")]
Deliveries = Annotated[int, Meta(ge=1, le=1_000, description="a whole number from 1 to 1000")]
Shards = Annotated[int, Meta(ge=1, le=1_024, description="a whole number from 1 to 1024")]
# A caller waits for what is looked up, so more than a minute is a mistake.
Wait = Annotated[int, Meta(ge=1, le=60_000, description=f"{_MS} 1 to 60000 (a minute)")]
Requests = Annotated[int, Meta(ge=1, le=10_000, description="a whole number from 1 to 10000")]
Failures = Annotated[int, Meta(ge=1, le=1_000, description="a whole number from 1 to 1000")]
Port = Annotated[int, Meta(ge=0, le=65_535, description="a whole number from 0 to 65535")]
Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Hidden = Annotated[Secret | None, Meta(description="a text that is not empty, or null")]
Prefix = Annotated[
    str,
    Meta(
        pattern=r"\A[^\s{}|\x00-\x1f\x7f]{1,100}\Z",
        description="1 to 100 characters without white space, `{`, `}` or `|`",
    ),
]


# Visible ASCII without what would end the path or stand for something else.
_IN_A_PATH: Final = r"[!\"$-\[\]-z|~]*"


def _path(example: str, placeholder: str = "") -> Meta:
    wanted = f"a path like {example}"
    if not placeholder:
        return Meta(pattern=rf"\A/{_IN_A_PATH}\Z", description=wanted)
    return Meta(
        pattern=rf"\A/{_IN_A_PATH}\{{{placeholder}\}}{_IN_A_PATH}\Z",
        description=f"{wanted}, with {{{placeholder}}} once",
    )


class ConfigError(Exception):
    """The configuration cannot be used; the text is one sentence: which field, and what to write there."""


class _Section(Struct, frozen=True, rename="camel"):
    """Part of the file whose keys are all known."""


class Paths(_Section, frozen=True):
    """Where the calls of the sippo-server API are, below `wac.address`; ids are percent-encoded."""

    login: Annotated[str, _path("/sapi/login")] = "/sapi/login"
    groups: Annotated[str, _path("/sapi/groups/{id}", "id")] = "/sapi/groups/{id}"
    push_devices: Annotated[str, _path("/sapi/users/{user}/push-devices", "user")] = (
        "/sapi/users/{user}/push-devices"
    )
    reachability: Annotated[str, _path("/sapi/reachability/{resource}", "resource")] = (
        "/sapi/reachability/{resource}"
    )
    push: Annotated[str, _path("/sapi/push")] = "/sapi/push"


class Wac(_Section, frozen=True):
    """The sippo-server API, and who the worker is there; times in ms.

    One request may take `timeout`, one call with all its repetitions `deadline`. `max_concurrent` look-ups run at
    once, and as many pushes. `group_cache` is how long a group is remembered (0: not at all). After `break_after`
    failures in a row calls fail at once, for `break_for` before the next is tried.
    """

    address: Text | None = None
    username: Text | None = None
    password: Hidden = None
    paths: Paths = field(default_factory=Paths)
    timeout: Wait = 1_000
    deadline: Wait = 3_000
    max_concurrent: Requests = 100
    group_cache: Duration = 0
    break_after: Failures = 5
    break_for: Interval = 2_000


class Basic(_Section, frozen=True):
    """`invites.basic`; times in ms."""

    remove_after: Duration = 0
    resolve_groups: Flag = False
    resolve_push: Flag = False
    legacy_user_group_resolution: Flag = True
    wac: Wac = field(default_factory=Wac)


class Invites(_Section, frozen=True):
    """`invites`; times in ms."""

    basic: Basic = field(default_factory=Basic)
    parallel_sip: Flag = False
    only_one_device_with_invitations: Flag = False
    ring_timeout: Interval = 60_000
    max_ring_timeout: Interval = 120_000
    caller_grace: Duration = 10_000
    retain_after: Duration = 300_000
    ringing_step: Interval = 10_000
    max_group_size: Members = 500
    max_deliveries: Deliveries = 5
    claim_after: ClaimAge = 3_000


class Redis(_Section, frozen=True):
    """`redis`. The URL is a secret, since it may hold a password."""

    url: Hidden = None
    prefix: Prefix = "invites"
    shards: Shards = 1


class Http(_Section, frozen=True):
    """`http`; port 0 takes any free one."""

    host: Text = "127.0.0.1"
    port: Port = 8080
    token: Hidden = None


class Config(Struct, frozen=True):
    """The whole configuration, checked."""

    invites: Invites = field(default_factory=Invites)
    redis: Redis = field(default_factory=Redis)
    http: Http = field(default_factory=Http)

    def shards(self) -> list[Keys]:
        """The keys of each shard."""
        shards = self.redis.shards
        return [Keys(self.redis.prefix, number, shards) for number in range(shards)]

    def settings(self) -> Settings:
        """The part of it that the scripts work with."""
        # Here and not above: the commit brings the Redis client along, which `invites --help` has no use for.
        from invites.store.commit import Settings  # noqa: PLC0415

        invites = self.invites
        return Settings(
            remove_after=invites.basic.remove_after,
            ring_timeout=invites.ring_timeout,
            max_ring_timeout=invites.max_ring_timeout,
            caller_grace=invites.caller_grace,
            retain_after=invites.retain_after,
            parallel_sip=invites.parallel_sip,
            only_one_device_with_invitations=invites.only_one_device_with_invitations,
            ringing_step=invites.ringing_step,
            max_group_size=invites.max_group_size,
            look_up=self._look_up(),
        )

    def _look_up(self) -> LookUp:
        basic = self.invites.basic
        if not basic.legacy_user_group_resolution:
            return "reachability"
        if basic.resolve_groups:
            return "all" if basic.resolve_push else "groups"
        return "push" if basic.resolve_push else ""

    def look_ups(self) -> list[str]:
        """The settings that ask for the sippo-server API, by their paths; empty when nothing does."""
        basic = self.invites.basic
        if not basic.legacy_user_group_resolution:
            return ["invites.basic.legacyUserGroupResolution"]
        asked = {"resolveGroups": basic.resolve_groups, "resolvePush": basic.resolve_push}
        return [f"invites.basic.{name}" for name, on in asked.items() if on]

    def missing_for_look_ups(self) -> list[str]:
        """What the look-ups need and the configuration does not have, by path; empty when nothing is looked up."""
        wac = self.invites.basic.wac
        needed = {"address": wac.address, "username": wac.username, "password": wac.password}
        if not self.look_ups():
            return []
        return [f"invites.basic.wac.{name}" for name, value in needed.items() if value is None]


def load(
    file: Path | None = None,
    *,
    redis_url: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The configuration of `file` (None: the defaults), overridden by the environment, then by `redis_url`.

    Raises ConfigError.
    """
    config = Config() if file is None else _from_file(file)
    try:
        config = _override(config, redis_url, os.environ if environ is None else environ)
    except SecretError as error:
        raise ConfigError(str(error)) from None
    return config


def check_look_ups(config: Config) -> None:
    """Refuse look-ups that cannot be made; for a worker, since other commands can do without.

    Raises ConfigError.
    """
    missing = config.missing_for_look_ups()
    if missing:
        raise ConfigError(
            f"{' and '.join(config.look_ups())} needs sippo-server, but {', '.join(missing)} is missing: add it, "
            "a password better as INVITES_WAC_PASSWORD."
        )


def _from_file(file: Path) -> Config:
    try:
        raw = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"The configuration {file} cannot be read: {reason}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The configuration {file} is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"The configuration {file} is not valid JSON: {syntax_error(error)}.") from None
    except RecursionError:
        raise ConfigError(f"The configuration {file} is nested too deeply to be one.") from None
    try:
        return parse(raw)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def parse(raw: object) -> Config:
    """The configuration in decoded JSON. Raises ConfigError."""
    if not isinstance(raw, dict):
        raise ConfigError(f"the configuration must be an object, not {kind_of(raw)}.")
    sections = {name: value for name, value in raw.items() if name in fields(Config)}
    if "invites" in sections:
        sections["invites"] = _lift_flags(sections["invites"])
    try:
        config = convert(sections, Config, {Basic: _LIFTED})
    except ValidationError as error:
        raise ConfigError(str(error)) from None
    _check_together(config)
    return config


_LIFTED: Final = ("parallelSip", "onlyOneDeviceWithInvitations")


def _lift_flags(invites: object) -> object:
    """Take the two flags out of `basic`: the vendor's page leaves open where they stand. `invites` wins."""
    if not isinstance(invites, dict) or not isinstance(invites.get("basic"), dict):
        return invites
    basic = invites["basic"]
    lifted = {name: basic[name] for name in _LIFTED if name in basic}
    kept = {name: value for name, value in basic.items() if name not in _LIFTED}
    return {**lifted, **invites, "basic": kept}


def _check_together(config: Config) -> None:
    """What no field can tell alone."""
    invites, wac = config.invites, config.invites.basic.wac
    if invites.ring_timeout > invites.max_ring_timeout:
        raise ConfigError(
            f"invites.ringTimeout ({invites.ring_timeout}) is longer than invites.maxRingTimeout "
            f"({invites.max_ring_timeout}): lower the one or raise the other."
        )
    if wac.timeout > wac.deadline:
        raise ConfigError(
            f"invites.basic.wac.timeout ({wac.timeout}) is longer than invites.basic.wac.deadline "
            f"({wac.deadline}): lower the one or raise the other."
        )
    if wac.address is not None:
        _check_wac_address(wac.address)


def _check_wac_address(address: str) -> None:
    try:
        url = urlsplit(address)
        fine = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ConfigError("invites.basic.wac.address is no URL: write one like http://wac:8000.") from None
    if "@" in url.netloc:
        raise ConfigError(
            "invites.basic.wac.address holds credentials: "
            "move them to wac.username and wac.password, which are never logged."
        )
    if not fine or url.query or url.fragment:
        raise ConfigError(f"invites.basic.wac.address must be like http://wac:8000, not {shown(address)}.")


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
            "http.token (or INVITES_HTTP_TOKEN) must be visible ASCII characters without spaces, since it "
            "travels in a header: make one with `openssl rand -hex 32`."
        )
    wac = msgspec.structs.replace(basic.wac, password=password)
    invites = msgspec.structs.replace(config.invites, basic=msgspec.structs.replace(basic, wac=wac))
    return Config(
        invites=invites,
        redis=msgspec.structs.replace(config.redis, url=url),
        http=msgspec.structs.replace(config.http, token=token),
    )
