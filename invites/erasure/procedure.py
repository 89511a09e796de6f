"""The erasure of a user: refused while a call of the user runs, then all shards, page by page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from invites.erasure.keys import KeyEraser
from invites.erasure.person import Person
from invites.erasure.report import Report, Tally
from invites.erasure.streams import erase_entries
from invites.resharding.shard_map import ShardMap
from invites.store.layout import LayoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio import Redis

    from invites.keys import Keys

_STREAMS: Final = ("events", "push", "relay", "notifications", "dead")
TELL_S: Final = 2.0
_MOST_NAMED: Final = 5  # calls in a sentence


class ErasureError(Exception):
    """The user cannot be erased now. The text says why, and what to do."""


class Erasure:
    """Erases a user from `shards`, the keys of all shards. `client_of` gives the client for a shard.

    May be interrupted and repeated at any point. Others keep working: a second erasure finds what they write about the
    user meanwhile.
    """

    def __init__(
        self,
        shards: Sequence[Keys],
        client_of: Callable[[Keys], Redis],
        user: str,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`tell` receives a progress message for people every few seconds."""
        self._tell = tell
        self._tells_at = time.monotonic() + TELL_S
        self._shards = shards
        self._client_of = client_of
        self._person = Person(user)

    async def run(self, *, dry_run: bool = False) -> Report:
        """Erase, or with `dry_run` count. Raises ErasureError, and redis exceptions."""
        await self._check()
        tally, prefix, count = Tally(), self._shards[0].prefix, len(self._shards)
        shard_map = ShardMap(prefix, count, count, self._client_of)
        for keys in self._shards:
            client = self._client_of(keys)
            eraser = KeyEraser(shard_map, keys, self._person, tally, dry_run=dry_run)
            looked = 0
            async for names in shard_map.scan(keys):
                await eraser.page(names)
                looked += len(names)
                self._progress(f"Shard {keys.shard} of {count}: {looked} keys looked at.")
            self._progress(f"Shard {keys.shard} of {count}: looking at its streams.")
            for name in _STREAMS:
                await erase_entries(
                    client, keys.base + name, f"stream {name}", self._person, tally, dry_run=dry_run
                )
        return Report(self._person.user, dry_run, tally.lines())

    def _progress(self, words: str) -> None:
        if time.monotonic() >= self._tells_at:
            self._tell(words)
            self._tells_at = time.monotonic() + TELL_S

    async def _check(self) -> None:
        user, running = self._person.user, []
        first, count = self._shards[0], len(self._shards)
        client: Any = self._client_of(first)
        layout = await client.get(first.layout)
        if layout is not None and layout != str(count).encode():
            raise ErasureError(str(LayoutError(layout.decode(errors="replace"), count)))
        for keys in self._shards:
            client = self._client_of(keys)
            fields = await client.hgetall(keys.trunks)
            if any(name.partition(b"|")[0] == user.encode() for name in fields):
                raise ErasureError(f"{user} has a trunk: publish `unregistered` for it, and try again.")
            # Its own calls are in its shard, and live in those of their callees.
            refs = {
                *await client.smembers(keys.pending(user)),
                *await client.smembers(keys.parallel(user)),
                *await client.hgetall(keys.calls(user)),
            }
            running += [ref.decode(errors="replace") for ref in refs if await self._is_pending(ref.decode())]
        if running:
            named = ", ".join(sorted(set(running))[:_MOST_NAMED])
            raise ErasureError(
                f"{user} has {len(set(running))} calls that ring, such as {named}: wait for their end, or publish "
                "`stopInvite` for them, and try again."
            )

    async def _is_pending(self, ref: str) -> bool:
        for keys in self._shards:
            client: Any = self._client_of(keys)
            if await client.hget(keys.invite(ref), "state") == b"PENDING":
                return True
        return False
