"""The sections of config.json: fields, defaults and limits."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from invites.keys import Keys
from invites.store.settings import Glare, LookUp, Redial, Settings, WhenBusy
from invites.values.secret import Secret

_HOUR: Final = 3_600_000  # ms; entries that wait for a worker or a gateway must not expire before
_WEEK: Final = 604_800_000  # ms; a longer time is a mistake in the unit
_YEAR: Final = 31_536_000_000  # ms
MOST_SHARDS: Final = 1_024
"""A worker has some connections for each shard, and takes processor time for it even without calls."""

_MS: Final = "a whole number of milliseconds from"

Duration = Annotated[int, Meta(ge=0, le=_WEEK, description=f"{_MS} 0 to {_WEEK} (a week)")]
Age = Annotated[int, Meta(ge=1, le=_YEAR, description=f"{_MS} 1 to {_YEAR} (a year)")]
Kept = Annotated[
    int, Meta(ge=_HOUR, le=_YEAR, description=f"{_MS} {_HOUR} (an hour) to {_YEAR} (a year), or null")
]
Interval = Annotated[int, Meta(ge=1, le=_WEEK, description=f"{_MS} 1 to {_WEEK} (a week)")]
ClaimAge = Annotated[int, Meta(ge=100, le=_WEEK, description=f"{_MS} 100 to {_WEEK} (a week)")]
Members = Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100000")]
Calls = Annotated[int, Meta(ge=0, le=1_000, description="a whole number from 0 to 1000")]
Limit = Annotated[int, Meta(ge=0, le=1_000_000, description="a whole number from 0 to 1000000")]
Deliveries = Annotated[int, Meta(ge=1, le=1_000, description="a whole number from 1 to 1000")]
Shards = Annotated[int, Meta(ge=1, le=MOST_SHARDS, description=f"a whole number from 1 to {MOST_SHARDS}")]
# A caller waits for lookups, so more than a minute is a mistake.
Wait = Annotated[int, Meta(ge=1, le=60_000, description=f"{_MS} 1 to 60000 (a minute)")]
Requests = Annotated[int, Meta(ge=1, le=10_000, description="a whole number from 1 to 10000")]
Failures = Annotated[int, Meta(ge=1, le=1_000, description="a whole number from 1 to 1000")]
Size = Annotated[
    int, Meta(ge=65_536, le=2**50, description=f"a whole number of bytes from 65536 to {2**50}, or null")
]
Bytes = Annotated[
    int, Meta(ge=65_536, le=2**50, description=f"a whole number of bytes from 65536 to {2**50}")
]
Port = Annotated[int, Meta(ge=0, le=65_535, description="a whole number from 0 to 65535")]
Flag = Annotated[bool, Meta(description="true or false")]
Busy = Annotated[WhenBusy, Meta(description="ring, waiting or reject")]
Glaring = Annotated[Glare, Meta(description="off or merge")]
Redialing = Annotated[Redial, Meta(description="replace or ring")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Texts = Annotated[tuple[str, ...], Meta(description="a list that holds only texts")]
Message = Annotated[
    int, Meta(ge=1_024, le=1_048_576, description="a whole number of bytes from 1024 to 1048576")
]
Rate = Annotated[int, Meta(ge=1, le=10_000, description="a whole number from 1 to 10000")]
Connections = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
Hidden = Annotated[Secret | None, Meta(description="a text that is not empty, or null")]
Prefix = Annotated[
    str,
    Meta(
        pattern=r"\A[^\s{}|\x00-\x1f\x7f]{1,100}\Z",
        description="1 to 100 characters without white space, `{`, `}` or `|`",
    ),
]


# Visible ASCII, except characters that end the path or have a meaning of their own.
_IN_A_PATH: Final = r'[!"$-\[\]-z|~]*'


def _path(example: str, placeholder: str = "") -> Meta:
    wanted = f"a path like {example}"
    if not placeholder:
        return Meta(pattern=rf"\A/{_IN_A_PATH}\Z", description=wanted)
    return Meta(
        pattern=rf"\A/{_IN_A_PATH}\{{{placeholder}\}}{_IN_A_PATH}\Z",
        description=f"{wanted}, with {{{placeholder}}} once",
    )


class _Section(Struct, frozen=True, rename="camel"):
    """A part of the file in which unknown keys are errors."""


class Paths(_Section, frozen=True):
    """The paths of the sippo-server API below `wac.address`. Ids in them are percent-encoded."""

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
    """The sippo-server API and the worker's account there. Times are in ms.

    `timeout` limits one request, `deadline` one call with all its retries. At most `max_concurrent` lookups and as
    many pushes run at the same time. A group is cached for `group_cache` (0: never). After `break_after` consecutive
    failures calls fail at once; after `break_for` one call is tried again.
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
    """`invites.basic`. Times are in ms."""

    remove_after: Duration = 0
    resolve_groups: Flag = False
    resolve_push: Flag = False
    legacy_user_group_resolution: Flag = True
    resolve_nested_groups: Flag = False
    wac: Wac = field(default_factory=Wac)


class Limits(_Section, frozen=True):
    """`invites.limits`. 0 switches a limit off.

    `devices_per_user` limits the registrations of a user, the others the pending invites: to a callee, of a caller,
    of one caller to one callee.
    """

    devices_per_user: Limit = 100
    per_callee: Limit = 200
    per_caller: Limit = 1_000
    per_pair: Limit = 10


class NotificationRetention(_Section, frozen=True):
    """How long notifications stay that a group has not acknowledged (ms), and how many bytes they may take.

    `bytes` is for each shard. None is a quarter of the server's `maxmemory`, divided by the number of shards.
    """

    age: Interval = 3_600_000
    bytes: Size | None = None


class DeadRetention(_Section, frozen=True):
    """How long dead letters stay (ms), and how many bytes those of each shard may take."""

    age: Age = 2_592_000_000
    bytes: Bytes = 67_108_864


class Invites(_Section, frozen=True):
    """`invites`. Times are in ms."""

    basic: Basic = field(default_factory=Basic)
    limits: Limits = field(default_factory=Limits)
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
    notification_retention: NotificationRetention = field(default_factory=NotificationRetention)
    dead_retention: DeadRetention = field(default_factory=DeadRetention)
    redial: Redialing = "replace"
    glare: Glaring = "off"
    push_after: Duration | None = None
    join_accepts: Flag = True
    room_grace: Duration = 0
    when_busy: Busy = "ring"
    track_busy: Flag = False
    story: Flag = True
    keep_history: Calls = 0
    keep_history_for: Age = 2_592_000_000
    log_context: Flag = True
    keep_personal: Kept | None = None


class Redis(_Section, frozen=True):
    """`redis`. The URL is a secret, because it may contain a password."""

    url: Hidden = None
    prefix: Prefix = "invites"
    shards: Shards = 1


class Http(_Section, frozen=True):
    """`http`. Port 0 means any free port."""

    host: Text = "127.0.0.1"
    port: Port = 8080
    token: Hidden = None


class Gateway(_Section, frozen=True):
    """`gateway`: the WebSocket gateway. Port 0 means any free port. Times are in ms.

    Devices log in with a JWT that is signed with `secret` (HS256) or with a key in the file `jwks`. Pages of other
    `origins` than these are refused. `expires` is that of a device's registration, `heartbeat` the time between pings.
    """

    host: Text = "127.0.0.1"
    port: Port = 8090
    secret: Hidden = None
    jwks: Text | None = None
    audience: Text | None = None
    origins: Texts = ()
    heartbeat: Interval = 20_000
    expires: Interval = 60_000
    max_message: Message = 65_536
    messages_per_second: Rate = 20
    max_connections: Connections = 10_000
    connections_per_user: Connections = 100


class Config(Struct, frozen=True):
    """A valid configuration."""

    invites: Invites = field(default_factory=Invites)
    redis: Redis = field(default_factory=Redis)
    http: Http = field(default_factory=Http)
    gateway: Gateway = field(default_factory=Gateway)

    def shards(self) -> list[Keys]:
        """The keys of each shard."""
        shards = self.redis.shards
        return [Keys(self.redis.prefix, number, shards) for number in range(shards)]

    def settings(self) -> Settings:
        """The part that the server's functions need."""
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
            push_after=-1 if invites.push_after is None else invites.push_after,
            devices_per_user=invites.limits.devices_per_user,
            per_callee=invites.limits.per_callee,
            per_caller=invites.limits.per_caller,
            per_pair=invites.limits.per_pair,
            redial=invites.redial,
            glare=invites.glare,
            join_accepts=invites.join_accepts,
            room_grace=invites.room_grace,
            when_busy=invites.when_busy,
            track_busy=invites.track_busy,
            story=invites.story,
            keep_history=invites.keep_history,
            keep_history_for=self.kept(invites.keep_history_for),
        )

    def kept(self, age: int) -> int:
        """The time to keep data whose own limit is `age` (ms): at most `invites.keepPersonal`."""
        return min(age, self.invites.keep_personal or age)

    def _look_up(self) -> LookUp:
        basic = self.invites.basic
        if not basic.legacy_user_group_resolution:
            return "reachability"
        if basic.resolve_groups:
            return "all" if basic.resolve_push else "groups"
        return "push" if basic.resolve_push else ""

    def lookups(self) -> list[str]:
        """The paths of the settings that need the sippo-server API; empty when none does."""
        basic = self.invites.basic
        if not basic.legacy_user_group_resolution:
            return ["invites.basic.legacyUserGroupResolution"]
        asked = {"resolveGroups": basic.resolve_groups, "resolvePush": basic.resolve_push}
        return [f"invites.basic.{name}" for name, on in asked.items() if on]

    def missing_for_lookups(self) -> list[str]:
        """The paths of the fields that lookups need and that are missing; empty without lookups."""
        wac = self.invites.basic.wac
        needed = {"address": wac.address, "username": wac.username, "password": wac.password}
        if not self.lookups():
            return []
        return [f"invites.basic.wac.{name}" for name, value in needed.items() if value is None]
