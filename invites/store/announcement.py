"""The announcement of a worker in each shard, once a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT_MS: Final = 86_400_000
"""How long the server keeps the last announcement of a worker (ms).

This is longer than any consumer of a dead worker stays. So a consumer without an announcement belongs to an older
release.
"""


class WorkerState(Struct, frozen=True):
    """What a worker knows of itself in a shard: its name, and `since` and `last_commit` as in `Announcement`."""

    name: str
    since: int
    last_commit: int | None = None


class Announcement(Struct, rename="camel", frozen=True):
    """A worker: its release, the number of shards that it is configured with, since when it works.

    `last_commit` is when it last committed entries of the shard's streams, None if it has not yet. `at` is when it last
    announced itself. Times are in ms since 1970; `at` and `last_commit` are the server's.
    """

    release: str
    shards: int
    since: int
    last_commit: int | None
    at: int


def read(found: Mapping[bytes, bytes]) -> Announcement | None:
    """The announcement in a hash; None if the key is missing."""
    if not found:
        return None
    return Announcement(
        release=found[b"release"].decode(errors="replace"),
        shards=int(found[b"shards"]),
        since=int(found[b"since"]),
        last_commit=int(found[b"lastCommit"] or 0) or None,
        at=int(found[b"at"]),
    )
