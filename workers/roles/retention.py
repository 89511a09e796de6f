"""Drops notifications that a group has left for too long and dead letters that nobody has handled, and logs it.

Also drops entries older than `invites.keepPersonal`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError

from invites.keys import Stream
from invites.store.retention import Dropped, retain

if TYPE_CHECKING:
    from workers.consumer.shard import Shard

_SHARE: Final = 4  # the notifications may take a quarter of the server's memory
_SAY_S: Final = 60.0  # one line a minute, however often something is dropped
_ASK_S: Final = 60.0  # an operator may change maxmemory
_MOST_NAMES: Final = 10  # in a line
_LONGEST_NAME: Final = 100  # characters; a gateway chooses its group's name

_log = logging.getLogger(__name__)


class NotificationRetention:
    """Keeps the notifications within `invites.notificationRetention`, even unread ones.

    Otherwise a group whose gateway is gone would keep them until the server is full.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._size = shard.worker.config.invites.notification_retention.bytes
        self._ask_at = 0.0
        self._say_at = 0.0
        self._dropped = 0
        self._groups: set[bytes] = set()

    async def apply(self) -> None:
        """Drop what is too old or too much. Raises redis exceptions."""
        shard, dropped = self._shard, Dropped(0)
        age = shard.worker.config.kept(shard.worker.config.invites.notification_retention.age)
        if not shard.is_empty(shard.keys.notifications):
            dropped = await retain(shard.commands, shard.keys.notifications, age, await self._limit())
        shard.worker.metrics.trimmed(shard.keys.notifications, dropped.count)
        if dropped.count and dropped.groups:
            shard.worker.metrics.notifications_dropped(dropped.count)
            self._dropped += dropped.count
            self._groups |= dropped.groups
        if self._dropped and time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_S
            self._say()

    async def _limit(self) -> int | None:
        """How many bytes the notifications may take; None for any number."""
        given = self._shard.worker.config.invites.notification_retention.bytes
        if given is None and time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + _ASK_S
            try:
                memory = await self._shard.commands.info("memory")
            except NoPermissionError:
                memory = {}
            share = int(memory.get("maxmemory", 0)) // _SHARE // self._shard.keys.shards
            self._size = share or None
        return self._size

    def _say(self) -> None:
        names = [name.decode(errors="backslashreplace")[:_LONGEST_NAME] for name in sorted(self._groups)]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        _log.error(
            "Dropped %s notifications of shard %s that a group had not acknowledged: they were older, or took more "
            "memory, than invites.notificationRetention allows. Behind: %s%s. Start the gateway, or remove its group "
            "with `invites gateways drop`.",
            self._dropped,
            self._shard.keys.shard,
            ", ".join(names[:_MOST_NAMES]),
            more,
        )
        self._dropped = 0
        self._groups.clear()


class DeadRetention:
    """Keeps the dead letters within `invites.deadRetention`."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._say_at = 0.0
        self._dropped = 0

    async def apply(self) -> None:
        """Drop what is too old or too much. Raises redis exceptions."""
        shard = self._shard
        allowed, metrics = shard.worker.config.invites.dead_retention, shard.worker.metrics
        age, dropped = shard.worker.config.kept(allowed.age), Dropped(0)
        if not shard.is_empty(shard.keys.dead):
            dropped = await retain(shard.commands, shard.keys.dead, age, allowed.bytes)
        metrics.dead_letters_dropped(dropped.count)
        self._dropped += dropped.count
        if self._dropped and time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_S
            _log.warning(
                "Dropped %s dead letters of shard %s: they were older, or took more memory, than invites.deadRetention "
                "allows. See the others with `invites dead list`.",
                self._dropped,
                shard.keys.shard,
            )
            self._dropped = 0


class PersonalRetention:
    """Drops entries that no worker has settled for longer than `invites.keepPersonal`, and logs it.

    Settled entries are trimmed at once, or after a minute (see `Janitor`).
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def apply(self) -> None:
        """Drop entries that are too old. Raises redis exceptions."""
        shard = self._shard
        age = shard.worker.config.invites.keep_personal
        if age is None:
            return
        for stream in Stream:
            key = stream.key(shard.keys)
            if shard.is_empty(key):
                continue
            dropped = await retain(shard.commands, key, age, None)
            shard.worker.metrics.trimmed(key, dropped.count)
            if dropped.groups:
                _log.error(
                    "Dropped %s entries of %s, some of which no worker had settled: they were older than "
                    "invites.keepPersonal allows.",
                    dropped.count,
                    key,
                )
