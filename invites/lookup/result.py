"""The result of a lookup, as the scripts take it: JSON, read by `lua/reach/resolve.lua`.

Fields that have their defaults are left out.
"""

from typing import Final

import msgspec

Ids = tuple[str, ...]


class Member(msgspec.Struct, omit_defaults=True):
    """A member of a group: `push` devices, `peers` that are connected elsewhere, and the `trunks` that lead to it.

    A `phone` is always called over a trunk, others only if nothing else was found; `failed`: other devices are unknown;
    `present`: the member is already in the room, as another shard knows.
    """

    user: str
    push: Ids = ()
    peers: Ids = ()
    trunks: str = ""
    phone: bool = False
    failed: bool = False
    present: bool = False


class Resource(msgspec.Struct):
    """The answer of the Reachability service, for the log: `candidates` are JSON."""

    type: str
    candidates: str


class LookupResult(msgspec.Struct, omit_defaults=True):
    """What is `known` of a callee, or that it `failed` to be asked for.

    A user has `push` devices, `peers` that are connected elsewhere, and a `phone` (its number); a group has `members`
    (none are an empty list), which are called one after the other if it is `sequential`. A group that is too large has
    only its `size`.
    """

    known: bool = False
    failed: bool = False
    push: Ids = ()
    peers: Ids = ()
    phone: str = ""
    members: list[Member] | None = None
    sequential: bool = False
    size: int = 0
    resource: Resource | None = None

    @staticmethod
    def decode(answer: bytes) -> "LookupResult":
        """From the argument of a script."""
        return _DECODER.decode(answer)

    def encode(self) -> bytes:
        """As the argument of a script."""
        return msgspec.json.encode(self)


_DECODER: Final = msgspec.json.Decoder(LookupResult)
