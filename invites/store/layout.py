"""Over how many shards the calls are spread: what the key `layout` of each shard says.

`3` when they are in three shards, `1>3` while `invites reshard` moves them from one to three. The first worker writes
it down. The scripts compare it with the number that their worker was configured with, in the same step in which they
commit: so workers that count differently can never work side by side, and none while keys are moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio import Redis

    from invites.keys import Keys

ANSWER: Final = "LAYOUT "
"""How the scripts' error begins; the layout that they found follows."""

_TO: Final = ">"


class Layout(Struct, frozen=True):
    """So many `shards`; or, while `target` is not None, on the way from so many to that many."""

    shards: int
    target: int | None = None

    def __str__(self) -> str:
        """As it stands in the key."""
        return str(self.shards) if self.target is None else f"{self.shards}{_TO}{self.target}"


class LayoutError(Exception):
    """The calls are not in as many shards as the worker was configured with; the text says so, and what to do.

    `comes`: they are being moved to just as many.
    """

    def __init__(self, found: str, shards: int) -> None:
        layout = read(found)
        self.comes = layout is not None and layout.target == shards
        super().__init__(_sentence(found, layout, shards))


def read(text: str) -> Layout | None:
    """What the text of a key says; None when it is no layout."""
    shards, moving, target = text.partition(_TO)
    if not shards.isdecimal() or (moving and not target.isdecimal()):
        return None
    return Layout(int(shards), int(target) if moving else None)


async def claim(client_of: Callable[[Keys], Redis], shards: Sequence[Keys]) -> None:
    """Write down that there are these shards, unless something is written down already.

    Raises LayoutError when that is something else, and what redis-py raises. The first shard is asked first: whoever
    is refused there has left no trace in others.
    """
    wanted = str(Layout(len(shards)))
    for keys in shards:
        client: Any = client_of(keys)  # redis-py leaves open whether it answers text or bytes
        found = await client.set(keys.layout, wanted, nx=True, get=True)
        if found is not None and found.decode(errors="replace") != wanted:
            raise LayoutError(found.decode(errors="replace"), len(shards))


def _sentence(found: str, layout: Layout | None, shards: int) -> str:
    if layout is None:
        return (
            f"The key layout in Redis holds {found!r}, which is no number of shards: set it to the number "
            "that all workers had in redis.shards."
        )
    if layout.target is None:
        return (
            f"The calls in Redis are spread over {_so_many(layout.shards)}, and redis.shards is {shards}: set "
            f"redis.shards to {layout.shards}, or see `invites reshard --help` for how to change their number."
        )
    move = f"The calls in Redis are being moved from {_so_many(layout.shards)} to {layout.target}"
    if layout.target == shards:
        return f"{move}: work begins once `invites reshard {shards}` is done."
    return f"{move}, and redis.shards is {shards}: set redis.shards to {layout.target} and start again."


def _so_many(shards: int) -> str:
    return "1 shard" if shards == 1 else f"{shards} shards"
