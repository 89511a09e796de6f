"""What the server's functions answer: the outcome of each operation, fired timers, and what there is to do."""

import enum
import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from invites.store.measures import Measure, read_measures

Fact = tuple[str, ...]
"""The name of a log message, and its values."""


class Status(enum.Enum):
    """The outcome of one operation."""

    DONE = "done"
    STALE = "stale"
    """Another worker has settled the entry."""
    NEEDS = "needs"
    """Nothing was touched: the worker must look something up first; `detail` says what."""
    FAILED = "failed"
    """Nothing was touched: the rule failed; `detail` says why. The entry stays pending."""
    NO_GROUP = "no group"
    """Nothing was touched: the consumer group is gone."""
    LOST = "lost"
    """Settled, but a write failed: effects are missing, and nobody settles the entry again. `detail` says why."""
    FULL = "full"
    """Nothing was touched: the server is out of memory. The entry stays pending and has not failed."""


class Outcome(msgspec.Struct):
    """The outcome of one operation, and its facts for the log."""

    status: Status
    detail: str = ""
    facts: list[Fact] = []


class CommitResult(msgspec.Struct):
    """The answer to a commit: an outcome for each operation, the next deadline and the server's time in ms.

    `server_s` is how long the server has worked for it (s), 0 if it cannot tell (see lua/core/commit.lua).
    """

    outcomes: list[Outcome]
    next_due: int | None
    now: int
    measures: list[Measure]
    server_s: float = 0.0


class FireResult(msgspec.Struct):
    """The answer to firing: how many timers were applied, when to fire again and the server's time in ms.

    That is the next deadline, or soon when a timer waits for an event. The facts name the timers that failed: these
    come back.
    """

    count: int
    facts: list[Fact]
    next_due: int | None
    now: int
    measures: list[Measure]


class Ensured(msgspec.Struct):
    """The answer to ensuring a shard: the origin of its data, and the streams whose group was created.

    `emptied`: this call has notified services that older data are lost.

    The other fields say what there was to do at the time `now`. `next_due` is when the next timer is due (both ms since
    1970, None without timers). `empty` are streams without entries, of which none is pending; `settled` are streams
    whose group has no pending entries. `groups` are those on the notifications.
    """

    origin: str
    emptied: bool
    made: list[str]
    now: int
    next_due: int | None
    empty: frozenset[str]
    settled: frozenset[str]
    groups: list[bytes]


FULL: Final = Outcome(Status.FULL)
_DONE: Final = Outcome(Status.DONE)
_STALE: Final = Outcome(Status.STALE)
_PLAIN: Final = {ord("1"): _DONE, ord("0"): _STALE}
_WORDS: Final = {1: Status.DONE, 2: Status.NEEDS, 3: Status.FAILED, 4: Status.NO_GROUP, 5: Status.LOST}
_WITH_DETAIL: Final = frozenset({Status.NEEDS, Status.FAILED, Status.LOST})


def read_commit(answer: bytes | list[Any]) -> CommitResult:
    """The server's answer to a commit (see lua/main.lua)."""
    if isinstance(answer, list):
        time, due, took, measures, *others = answer
        outcomes = [_outcome(other) for other in others]
    else:
        head, _, measures = answer.partition(b"\n")
        time, due, took, digits = head.split(b" ")
        outcomes = [_PLAIN[digit] for digit in digits]
    now = int(time)
    return CommitResult(outcomes, _due(due), now, read_measures(measures.decode(), now), int(took) / 1e6)


def read_fire(answer: list[Any]) -> FireResult:
    """The server's answer to firing (see lua/main.lua)."""
    time, due, measures, count, *facts = answer
    now = int(time)
    return FireResult(
        int(count), [_fact(fact) for fact in facts], _due(due), now, read_measures(measures.decode(), now)
    )


def read_ensured(answer: list[Any]) -> Ensured:
    """The server's answer to ensuring a shard (see lua/ensure.lua)."""
    origin, emptied, now, due, made, empty, settled, groups = answer
    return Ensured(
        origin=origin.decode(),
        emptied=bool(emptied),
        made=[stream.decode() for stream in made],
        now=int(now),
        next_due=_due(due),
        empty=frozenset(stream.decode() for stream in empty),
        settled=frozenset(stream.decode() for stream in settled),
        groups=groups,
    )


def _due(value: bytes | int) -> int | None:
    due = float(value or "inf")
    return int(due) if math.isfinite(due) else None


def _fact(parts: Sequence[bytes | int]) -> Fact:
    # The member of an unknown timer may be any bytes.
    return tuple(part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in parts)


def _outcome(answer: Any) -> Outcome:  # noqa: ANN401
    if answer == 1:
        return _DONE
    if answer == 0:
        return _STALE
    word, *rest = answer
    status = _WORDS[word]
    detail = ""
    if status in _WITH_DETAIL:
        detail = rest.pop(0).decode(errors="replace")
    return Outcome(status, detail, [_fact(fact) for fact in rest])
