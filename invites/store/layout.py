"""The number of shards that the calls are in, as the key `layout` of each shard records it.

The key is `3` for three shards, and `1>3` while `invites reshard` moves the calls from one shard to three. The first
worker writes it, and workers write it again after the server has lost its data (`lua/ensure.lua`). Every commit
compares it with the worker's own shard count, in the same atomic step: a worker configured with another shard count
cannot commit, and no worker can commit during a reshard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from invites.connection.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from invites.keys import Keys

ANSWER: Final = "LAYOUT "
"""The prefix of the functions' error; the layout that they found follows."""

_TO: Final = ">"


class Layout(Struct, frozen=True):
    """The number of shards; during a reshard also the target."""

    shards: int
    target: int | None = None

    def __str__(self) -> str:
        """The value of the key."""
        return str(self.shards) if self.target is None else f"{self.shards}{_TO}{self.target}"

    def counts(self, shards: int) -> bool:
        """Whether it is the number of shards, or will be after the reshard."""
        return shards in {self.shards, self.target}

    def takes_from(self, shards: int) -> bool:
        """Whether workers read all streams of a publisher with this number. With fewer streams it reaches them, too."""
        return shards <= (self.target or self.shards)

    def reaches(self, shards: int) -> bool:
        """Whether a reader of this number of shards misses nothing."""
        return shards == self.shards or shards >= (self.target or self.shards)


class LayoutError(RefusedError):
    """The calls are in another number of shards than a process is configured with. The text says what to do.

    `setting` is where the process has its number. `comes`: a reshard to that number is under way.
    """

    def __init__(self, found: str, shards: int, setting: str = "redis.shards") -> None:
        layout = read(found)
        self.comes = layout is not None and layout.target == shards
        super().__init__(_sentence(found, layout, shards, setting))


def read(text: str) -> Layout | None:
    """The layout in the text of a key; None when it is not one."""
    shards, moving, target = text.partition(_TO)
    if not shards.isdecimal() or (moving and not target.isdecimal()):
        return None
    return Layout(int(shards), int(target) if moving else None)


async def mismatch(
    client: Any,  # noqa: ANN401 - see Clients
    first: Keys,
    shards: int,
    suits: Callable[[Layout, int], bool] = Layout.counts,
) -> LayoutError | None:
    """The error of a process whose number of shards does not suit; None if it does, or if no worker has run yet.

    `first` names the keys of shard 0. Raises redis exceptions.
    """
    found = await client.get(first.layout)
    text = str(shards) if found is None else found.decode(errors="replace")
    layout = read(text)
    if layout is not None and suits(layout, shards):
        return None
    return LayoutError(text, shards)


def unreadable(first: Keys) -> str:
    """What to say if the user may not read the number of shards."""
    return (
        f"The server's user may not GET {first.layout}, so a wrong redis.shards goes unnoticed: extend its ACL as in "
        "deploy/users.acl.template."
    )


def _sentence(found: str, layout: Layout | None, shards: int, setting: str) -> str:
    if layout is None:
        return (
            f"The key layout in Redis is {found!r}, which is not a number of shards: set it to the number "
            "that all workers had in redis.shards."
        )
    if layout.target is None:
        return (
            f"The calls in Redis are in {_counted(layout.shards)}, but {setting} is {shards}: set {setting} to "
            f"{layout.shards}, or change the number of shards with `invites reshard` (see its --help)."
        )
    move = f"The calls in Redis are being moved from {_counted(layout.shards)} to {layout.target}"
    if layout.target == shards:
        return f"{move}: the worker starts when `invites reshard {shards}` is done."
    return f"{move}, but {setting} is {shards}: set {setting} to {layout.target} and start again."


def _counted(shards: int) -> str:
    return "1 shard" if shards == 1 else f"{shards} shards"
