"""The consumer group of a reader on the notifications of one shard: created, recreated, and removed."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from invites.connection.errors import ErrorKind, classify
from invites.events.entry import order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invites.keys import Keys

TEMPORARY: Final = "temporary:"
"""The beginning of the name of a group that lives as long as its process."""

_DEAD_MS: Final = 300_000
"""A temporary group none of whose consumers has asked for entries for longer belongs to a process that is gone (ms)."""


def temporary_name(beginning: str = TEMPORARY) -> str:
    """A name that no other process uses."""
    host = re.sub(r"[^\w.-]", "", platform.node())
    return f"{beginning}{host}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Group:
    """The group on one shard. `last` is the last entry that was read, at which it is created again."""

    def __init__(self, client: Any, keys: Keys, name: str, consumer: str) -> None:  # noqa: ANN401 - see Clients
        self.keys = keys
        self.name = name
        self._consumer = consumer
        self.last = ""
        self._client = client
        self._stream = keys.notifications

    async def ensure(self) -> None:
        """Create the group unless it exists. Raises redis exceptions.

        The first time it begins at the end of the stream. If it was removed while this process read, reading continues
        where it was. If the stream ends before that, the server has lost its data, and everything in it is new.
        """
        end = await self._end()
        if not self.last:
            if await self._create("$"):
                # Without a consumer nobody could tell from outside whether the group's process has died.
                await self._client.xgroup_createconsumer(self._stream, self.name, self._consumer)
            self.last = end
        elif order(end) >= order(self.last):
            await self._create(self.last)
        else:
            await self._create("0")

    async def remove(self) -> None:
        """Remove the group. Raises redis exceptions."""
        with contextlib.suppress(ResponseError):  # the stream is gone, and its groups with it
            await self._client.xgroup_destroy(self._stream, self.name)

    async def drop_dead(self) -> list[str]:
        """Remove the temporary groups of processes that are gone. Returns their names. Raises redis exceptions."""
        dead = []
        for group in await self._client.xinfo_groups(self._stream):
            name = group["name"].decode(errors="replace")
            if name.startswith(TEMPORARY) and name != self.name:
                consumers = await self._client.xinfo_consumers(self._stream, group["name"])
                # A group without a consumer may belong to a process that is just starting.
                if consumers and min(one["idle"] for one in consumers) > _DEAD_MS:
                    await self._client.xgroup_destroy(self._stream, group["name"])
                    dead.append(name)
        return dead

    async def _create(self, start: str) -> bool:
        """Create the group if it is missing, and say whether it was.

        Looks first: a server that is out of memory refuses the command even if the group exists.
        """
        if await self._is_there():
            return False
        try:
            await self._client.xgroup_create(self._stream, self.name, start, mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        return True

    async def _is_there(self) -> bool:
        try:
            groups = await self._client.xinfo_groups(self._stream)
        except ResponseError as error:
            if classify(error) is ErrorKind.NO_GROUP:
                return False
            raise
        return any(one["name"] == self.name.encode() for one in groups)

    async def _end(self) -> str:
        try:
            found: Mapping[str, Any] = await self._client.xinfo_stream(self._stream)
        except ResponseError as error:
            if classify(error) is ErrorKind.NO_GROUP:
                return "0-0"
            raise
        return str(found["last-generated-id"].decode())


class ServerClock:
    """How far the server's clock is ahead of the local one. 0 if the user may not ask for the time."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - see Clients
        self._client = client
        self.ahead_ms = 0

    async def ask(self, local_ms: int) -> None:
        """Compare the clocks. Raises redis exceptions."""
        with contextlib.suppress(NoPermissionError):
            seconds, micros = await self._client.time()
            self.ahead_ms = seconds * 1000 + micros // 1000 - local_ms
