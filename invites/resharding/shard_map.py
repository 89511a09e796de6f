"""The shards before and after a reshard, with batched commands to all of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from invites.keys import Keys, shard_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from redis.asyncio import Redis

Command = tuple[bytes | str | int, ...]

PAGE: Final = 500
"""The number of keys, members or entries in one round trip."""

# Characters with a meaning in a pattern.
_SPECIAL: Final = str.maketrans({letter: "\\" + letter for letter in "\\*?["})


class ShardMap:
    """The number of shards grows from `before` to `after`. `client_of` gives the client for a shard.

    `old` are the keys of the shards that exist before, `all` those of the shards after.
    """

    def __init__(self, prefix: str, before: int, after: int, client_of: Callable[[Keys], Redis]) -> None:
        self.before = before
        self.after = after
        self.all = [Keys(prefix, shard, after) for shard in range(after)]
        self.old = self.all[:before]
        self._client_of = client_of

    def client(self, shard: int) -> Any:  # noqa: ANN401 - redis-py's types leave text and bytes open
        """The client for a shard."""
        return self._client_of(self.all[shard])

    def shard_after(self, name: str) -> int:
        """The shard of a name after the reshard."""
        return shard_of(name, self.after)

    def shard_before(self, name: str) -> int:
        """The shard of a name before the reshard."""
        return shard_of(name, self.before)

    async def read(self, commands: Iterable[tuple[int, Command]]) -> list[Any]:
        """Like `execute`, with None for keys of the wrong type, which are foreign and stay."""
        return [
            None if isinstance(reply, Exception) else reply
            for reply in await self.execute(commands, reads=True)
        ]

    async def execute(self, commands: Iterable[tuple[int, Command]], *, reads: bool = False) -> list[Any]:
        """Send commands, each to a shard, and return the raw replies in order. Raises the first error among them.

        With `reads`, an error about a key of the wrong type is returned as a reply.
        """
        asked = list(commands)
        by_shard: defaultdict[int, list[int]] = defaultdict(list)
        for index, (shard, _) in enumerate(asked):
            by_shard[shard].append(index)
        replies: list[Any] = [None] * len(asked)
        for shard, indexes in by_shard.items():
            async with self.client(shard).pipeline(transaction=False) as pipe:
                for index in indexes:
                    # redis-py has no callback for a command name in bytes, so the reply stays raw.
                    name, *arguments = asked[index][1]
                    pipe.execute_command(name.encode() if isinstance(name, str) else name, *arguments)
                found = await pipe.execute(raise_on_error=False)
            for index, reply in zip(indexes, found, strict=True):
                if isinstance(reply, Exception) and not (reads and str(reply).startswith("WRONGTYPE")):
                    raise reply
                replies[index] = reply
        return replies

    async def scan(self, keys: Keys) -> AsyncIterator[Sequence[str]]:
        """Pages of all keys of a shard, without prefix and hash tag.

        A key that exists during the whole scan appears at least once. Names that are not UTF-8 are skipped.
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
