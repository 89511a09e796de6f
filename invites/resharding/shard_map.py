"""All shards as they were and as they will be, and many questions to them in few round trips."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from invites.keys import Keys, shard_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from redis.asyncio import Redis

Command = tuple[bytes | str | int, ...]

PAGE: Final = 500
"""So many keys, members or entries are looked at in one round trip."""

# What stands for itself in a pattern only when it is escaped.
_SPECIAL: Final = str.maketrans({letter: "\\" + letter for letter in "\\*?["})


class ShardMap:
    """Shards `0` to `before - 1` hold what shards `0` to `after - 1` shall hold; `client_of` leads to each."""

    def __init__(self, prefix: str, before: int, after: int, client_of: Callable[[Keys], Redis]) -> None:
        self.before = before
        self.after = after
        self.all = [Keys(prefix, shard, after) for shard in range(after)]
        self.old = self.all[:before]
        self._client_of = client_of

    def client(self, shard: int) -> Any:  # noqa: ANN401 - its own types leave open whether it answers text or bytes
        """The client for a shard."""
        return self._client_of(self.all[shard])

    def shard_after(self, name: str) -> int:
        """The shard that a name will belong to."""
        return shard_of(name, self.after)

    def shard_before(self, name: str) -> int:
        """The shard that a name belonged to."""
        return shard_of(name, self.before)

    async def read(self, commands: Iterable[tuple[int, Command]]) -> list[Any]:
        """As `execute`, with None for what was asked of a key of the wrong type: it is none of ours, and stays."""
        return [
            None if isinstance(reply, Exception) else reply
            for reply in await self.execute(commands, reads=True)
        ]

    async def execute(self, commands: Iterable[tuple[int, Command]], *, reads: bool = False) -> list[Any]:
        """The raw replies to commands, each to a shard, in their order. Raises the first error among them.

        An error that says that a key is of the wrong type is a reply, too, when nothing is written (`reads`).
        """
        asked = list(commands)
        by_shard: defaultdict[int, list[int]] = defaultdict(list)
        for index, (shard, _) in enumerate(asked):
            by_shard[shard].append(index)
        replies: list[Any] = [None] * len(asked)
        for shard, indexes in by_shard.items():
            async with self.client(shard).pipeline(transaction=False) as pipe:
                for index in indexes:
                    # As bytes, the name of a command has no callback in redis-py: the reply stays as it came.
                    name, *arguments = asked[index][1]
                    pipe.execute_command(name.encode() if isinstance(name, str) else name, *arguments)
                found = await pipe.execute(raise_on_error=False)
            for index, reply in zip(indexes, found, strict=True):
                if isinstance(reply, Exception) and not (reads and str(reply).startswith("WRONGTYPE")):
                    raise reply
                replies[index] = reply
        return replies

    async def scan(self, keys: Keys) -> AsyncIterator[Sequence[str]]:
        """Pages of all keys of a shard, without what they all begin with.

        A key that is there all the time comes at least once. What is no UTF-8 is nobody's id, and is left out.
        """
        pattern, cursor = keys.base.translate(_SPECIAL) + "*", b"0"
        skipped = len(keys.base)
        while True:
            cursor, found = (
                await self.execute([(keys.shard, ("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE))])
            )[0]
            texts = (name.decode(errors="ignore") for name in found)
            page = [text[skipped:] for text, name in zip(texts, found, strict=True) if text.encode() == name]
            if page:
                yield page
            if cursor == b"0":
                return
