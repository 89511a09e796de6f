"""The consumer groups on the notifications of one shard: how far behind each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from invites.connection.errors import ErrorKind, classify
from invites.keys import PROBE_GROUPS
from invites.queries.streams import after
from invites.values.printable import escape
from invites.values.server_time import in_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.asyncio import Redis

    from invites.keys import Keys

READ_LATELY_MS: Final = 300_000
"""A group that has not asked for entries for longer counts as gone (ms)."""

LATE_MS: Final = 60_000
"""A group is late when its oldest unacknowledged notification is older (ms): by then most calls are over."""


class GatewayGroup(Struct, rename="camel", frozen=True):
    """A consumer group on the notifications.

    `lag` entries have not been delivered to it, `pending` ones are delivered and not acknowledged. `oldest_ms` is the
    age of the oldest of both that still exists (ms), 0 if there is none. `idle_ms` is the time since one of its
    consumers last asked for entries (ms), None if it has no consumer.
    """

    name: str
    lag: int
    pending: int
    oldest_ms: int
    idle_ms: int | None

    def is_named(self, name: str) -> bool:
        """Whether the group has this name, or is shown by it."""
        return name in {self.name, escape(self.name)}

    @property
    def is_gone(self) -> bool:
        """Whether none of its consumers has asked for entries lately."""
        return self.idle_ms is None or self.idle_ms > READ_LATELY_MS

    @property
    def is_probe(self) -> bool:
        """Whether it is the group of a probe, which may have been killed."""
        return self.name.startswith(PROBE_GROUPS)

    @property
    def is_late(self) -> bool:
        """Whether a notification has waited too long. Those left for a probe's group do not count."""
        return self.oldest_ms > LATE_MS and not self.is_probe


async def gateway_groups(client: Redis, keys: Keys) -> list[GatewayGroup]:
    """The groups on the notifications of a shard, by name; empty without any. Raises redis exceptions.

    The server's own `lag` is nil after XDEL, and counts entries that were trimmed unread. It is used only up to the
    length of the stream. Without it, the length minus the pending entries is used, which may be too much.
    """
    stream = keys.notifications
    async with client.pipeline(transaction=False) as pipe:
        pipe.xinfo_groups(stream)
        pipe.xrange(stream, count=1)
        pipe.xlen(stream)
        pipe.time()
        groups, first, length, time = await pipe.execute(raise_on_error=False)
    for reply in (groups, first, length, time):
        if isinstance(reply, Exception) and classify(reply) is not ErrorKind.NO_GROUP:
            raise reply
    if isinstance(groups, Exception):
        return []
    first_id = first[0][0].decode() if first else None
    now = in_ms(time)
    found = []
    for group in groups:
        name = group["name"]
        start, end = after(group["last-delivered-id"].decode())
        async with client.pipeline(transaction=False) as pipe:
            pipe.xinfo_consumers(stream, name)
            pipe.xrange(stream, min=start, max=end, count=1)
            pipe.xpending_range(stream, name, min=first_id or "-", max="+", count=1)
            replies = await pipe.execute(raise_on_error=False)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if any(classify(error) is ErrorKind.NO_GROUP for error in errors):
            continue  # removed a moment ago
        if errors:
            raise errors[0]
        found.append(_group(group, replies, length, now))
    return sorted(found, key=lambda one: one.name)


def without_lag(names: Iterable[bytes]) -> list[GatewayGroup]:
    """The groups with these names on empty notifications."""
    texts = sorted(_text(name) for name in names)
    return [GatewayGroup(name, lag=0, pending=0, oldest_ms=0, idle_ms=None) for name in texts]


async def remove_group(client: Redis, keys: Keys, name: str) -> bool:
    """Remove a group from the notifications of a shard. False if there is none of this name. Raises redis exceptions.

    `name` is the group's name, or how `gateway_groups` and the commands show it.
    """
    try:
        groups = await client.xinfo_groups(keys.notifications)
    except Exception as error:
        if classify(error) is ErrorKind.NO_GROUP:
            return False
        raise
    names = [group["name"] for group in groups]
    alike = [one for one in names if one == name.encode(errors="surrogateescape")]
    alike = alike or [one for one in names if name in {_text(one), escape(_text(one))}]
    return bool(alike) and bool(await client.xgroup_destroy(keys.notifications, alike[0]))


def _group(group: Any, replies: list[Any], length: int, now: int) -> GatewayGroup:  # noqa: ANN401 - a reply
    consumers, unread, pending = replies
    lag = 0
    if unread:
        known = group.get("lag")
        lag = max(1, length - group["pending"] if known is None else min(known, length))
    oldest = min(
        (
            int(entry.split(b"-")[0])
            for entry in (*(one["message_id"] for one in pending), *(one[0] for one in unread))
        ),
        default=now,
    )
    return GatewayGroup(
        name=_text(group["name"]),
        lag=lag,
        pending=group["pending"],
        oldest_ms=max(0, now - oldest),
        idle_ms=min((one["idle"] for one in consumers), default=None),
    )


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
