"""The state of one shard: its backlogs, timers, streams and workers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from redis.exceptions import NoPermissionError, ResponseError

from invites.connection.errors import ErrorKind, classify
from invites.events.entry import order
from invites.keys import Stream
from invites.queries.gateways import GatewayGroup, gateway_groups
from invites.queries.memory import Memory, memory_of
from invites.queries.streams import after
from invites.store.announcement import KEPT_MS, Announcement, read
from invites.values.server_time import in_ms

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.keys import Keys

ALIVE_MS: Final = 10_000
"""A worker that has been silent for longer counts as gone (ms). A worker announces itself once a second."""

_SCAN_PAGE: Final = 1_000


class Backlog(Struct, rename="camel", frozen=True):
    """The unsettled entries of a stream: `unread` by the group, and `delivered` to a worker.

    `oldest_ms` is the age of the oldest one (ms), 0 if there is none.
    """

    entries: int
    unread: int
    delivered: int
    oldest_ms: int


class Consumer(Struct, rename="camel", frozen=True):
    """A worker in its consumer group.

    `idle_ms` is the time since it last asked for entries or announced itself. `announced` is None for a worker of a
    release before 0.2.0. Such a worker seems idle while nothing comes, if the server is older than Redis 7.2. There
    it counts as alive for a day.
    """

    name: str
    pending: int
    idle_ms: int
    alive: bool
    announced: Announcement | None


class Overview(Struct, rename="camel", frozen=True):
    """The state of one shard. `backlog` is that of the events; `consumers` is None while their group is missing.

    `groups` are those of the gateways, on the notifications. `memory` is the server's, None if INFO is not allowed.
    `newest_dead_letter_ms` is the age of the last dead letter, None without any.
    """

    shard: int
    backlog: Backlog
    relay_backlog: Backlog
    push_backlog: Backlog
    pending_invites: int
    timers: int
    overdue_timers: int
    events: int
    notifications: int
    dead_letters: int
    consumers: list[Consumer] | None
    groups: list[GatewayGroup]
    memory: Memory | None
    newest_dead_letter_ms: int | None = None


async def overview(client: Redis, keys: Keys) -> Overview:
    """The current state of a shard. Missing keys count as empty. Raises redis exceptions.

    Counting the pending invites scans all timers, in pages of 1,000.
    """
    now = in_ms(await client.time())
    async with client.pipeline(transaction=False) as pipe:
        pipe.xlen(keys.events)
        pipe.xlen(keys.notifications)
        pipe.xlen(keys.dead)
        pipe.zcount(keys.timers, "-inf", now)
        pipe.xrevrange(keys.dead, count=1)
        events, notifications, dead, overdue, newest = await pipe.execute()
    found = await timers(client, keys)
    return Overview(
        shard=keys.shard,
        backlog=await backlog(client, keys),
        relay_backlog=await backlog(client, keys, Stream.RELAY),
        push_backlog=await backlog(client, keys, Stream.PUSH),
        pending_invites=found["ring"],
        timers=found.total(),
        overdue_timers=overdue,
        events=events,
        notifications=notifications,
        dead_letters=dead,
        consumers=await consumers(client, keys),
        groups=await gateway_groups(client, keys),
        memory=await _memory(client),
        newest_dead_letter_ms=max(0, now - order(newest[0][0].decode())[0]) if newest else None,
    )


async def backlog(client: Redis, keys: Keys, stream: Stream = Stream.EVENTS) -> Backlog:
    """The backlog of one stream of a shard. Without a consumer group, all entries count as unread.

    The server's own `lag` is nil after deletions, and wrong on some versions. It is used only when an unread entry
    really exists. Without it, the length of the stream minus the delivered entries is used, since streams are trimmed
    to their unsettled entries.
    """
    key, name = stream.key(keys), stream.group
    async with client.pipeline(transaction=False) as pipe:
        pipe.xinfo_groups(key)
        pipe.xpending(key, name)
        pipe.xlen(key)
        pipe.time()
        groups, summary, length, time = await pipe.execute(raise_on_error=False)
    for reply in (groups, summary, length, time):
        if isinstance(reply, Exception) and classify(reply) is not ErrorKind.NO_GROUP:
            raise reply
    group = None
    if not isinstance(summary, Exception):
        group = next(one for one in groups if one["name"] == name.encode())
    delivered, oldest, first, end, lag = 0, None, "-", "+", None
    if group is not None:
        delivered, oldest, lag = summary["pending"], summary["min"], group["lag"]
        first, end = after(group["last-delivered-id"].decode())
    following = await client.xrange(key, min=first, max=end, count=1)
    unread = 0
    if following:
        unread = lag or max(1, length - delivered)
        oldest = oldest or following[0][0]
    age = 0 if oldest is None else max(0, in_ms(time) - int(oldest.split(b"-")[0]))
    return Backlog(unread + delivered, unread, delivered, age)


async def consumers(client: Redis, keys: Keys, stream: Stream = Stream.EVENTS) -> list[Consumer] | None:
    """The workers on one stream of a shard, by name; None without a consumer group."""
    try:
        found = await client.xinfo_consumers(stream.key(keys), stream.group)
    except ResponseError as error:
        if classify(error) is ErrorKind.NO_GROUP:
            return None
        raise
    async with client.pipeline(transaction=False) as pipe:
        pipe.time()
        for one in found:
            pipe.hgetall(keys.worker("").encode() + one["name"])
        time, *announcements = await pipe.execute()
    known = [
        _consumer(one, read(hash_), in_ms(time)) for one, hash_ in zip(found, announcements, strict=True)
    ]
    return sorted(known, key=lambda one: one.name)


def _consumer(found: Any, announced: Announcement | None, now: int) -> Consumer:  # noqa: ANN401 - a reply
    idle, alive_ms = found["idle"], ALIVE_MS
    if announced is not None:
        idle = min(idle, max(0, now - announced.at))
    elif "inactive" not in found:  # a server before Redis 7.2
        alive_ms = KEPT_MS
    name = found["name"].decode(errors="replace")
    return Consumer(name, found["pending"], idle, idle <= alive_ms, announced)


async def _memory(client: Redis) -> Memory | None:
    try:
        return memory_of(await client.info("memory"))
    except NoPermissionError:
        return None


async def timers(client: Redis, keys: Keys) -> Counter[str]:
    """The number of timers by kind. Each pending invite has one timer of kind `ring`.

    Scans all timers, in pages of 1,000.
    """
    kinds: Counter[str] = Counter()
    async for member, _ in client.zscan_iter(keys.timers, count=_SCAN_PAGE):
        kinds[member.partition(b"|")[0].decode(errors="replace")] += 1
    return kinds
