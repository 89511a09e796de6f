"""What is wrong with a shard, for monitoring."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from invites.keys import Keys
    from invites.queries.overview import Backlog, Overview

SLOW_MS: Final = 5_000
"""A worker has died, or cannot keep up: its entries are taken over after `claimAfter`, 3 s, plus up to a second."""
STUCK_MS: Final = 10_000
"""By then even the entries of a dead worker are settled."""
LATELY_MS: Final = 3_600_000
"""A dead letter is news for an hour. Those before it may stay for 30 days."""


class Level(enum.IntEnum):
    """The severity, which is also the exit status of a Nagios check."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


class Problem(Struct, frozen=True):
    """One thing that is wrong. The sentence has neither a capital nor a full stop."""

    level: Level
    sentence: str


def problems(shard: Overview) -> list[Problem]:
    """What is wrong with the shard, the worst first."""
    return sorted(_problems(shard), key=lambda one: -one.level)


def problems_of(shards: Sequence[Keys], looked: Sequence[Overview | Problem]) -> list[tuple[int, Problem]]:
    """What is wrong with each of `shards`, with its number. `looked` has a problem for a shard that cannot be read."""
    return [
        (keys.shard, problem)
        for keys, one in zip(shards, looked, strict=True)
        for problem in ([one] if isinstance(one, Problem) else problems(one))
    ]


def as_objects(found: Iterable[tuple[int, Problem]]) -> list[dict[str, Any]]:
    """The problems of shards for programs: `shard, level, problem`."""
    return [
        {"shard": shard, "level": problem.level.name, "problem": problem.sentence} for shard, problem in found
    ]


def _problems(shard: Overview) -> Iterator[Problem]:
    if not any(one.alive for one in shard.consumers or ()):
        yield Problem(Level.CRITICAL, "no worker is there")
    yield from _of_backlog(shard.backlog, "event")
    yield from _of_backlog(shard.relay_backlog, "entry of the relay stream")
    if shard.memory is not None and shard.memory.is_evicting:
        yield Problem(Level.CRITICAL, f"a full server deletes calls (maxmemory-policy {shard.memory.policy})")
    if shard.memory is not None and shard.memory.is_full:
        yield Problem(Level.CRITICAL, "the server is full, new calls wait")
    elif shard.memory is not None and shard.memory.is_nearly_full:
        yield Problem(Level.WARNING, "the server's memory is nearly full")
    for group in shard.groups:
        if group.is_late:
            waits = f"a notification for {group.name} has waited for {_seconds(group.oldest_ms)}"
            yield Problem(Level.WARNING, waits)
    newest = shard.newest_dead_letter_ms
    if newest is not None and newest <= LATELY_MS:
        yield Problem(
            Level.WARNING, f"dead letters: {shard.dead_letters}, the last one {_seconds(newest)} ago"
        )


def _of_backlog(backlog: Backlog, what: str) -> Iterator[Problem]:
    if backlog.oldest_ms > SLOW_MS:
        level = Level.CRITICAL if backlog.oldest_ms > STUCK_MS else Level.WARNING
        yield Problem(level, f"an {what} has waited for {_seconds(backlog.oldest_ms)}")


def _seconds(ms: int) -> str:
    return f"{ms / 1_000:.0f} s"
