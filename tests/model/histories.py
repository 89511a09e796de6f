"""The steps of a history."""

from __future__ import annotations

from dataclasses import dataclass

from invites.lookup.result import LookupResult
from invites.store.settings import Settings

from .state import Payload


@dataclass(frozen=True)
class Publish:
    """An event appears; `settle`: a worker commits it at once, else it stays in some worker's hands.

    `ahead`: how far (ms) its entry id is ahead of the server's time. Later ids of the stream are at least as large.
    """

    kind: str
    payload: Payload
    settle: bool = True
    ahead: int = 0


@dataclass(frozen=True)
class Settle:
    """Workers commit what they hold, in this order (indexes modulo what is held), in one batch.

    `look_up_only`: operations that need a lookup get it now and are committed later, with perhaps outdated data.
    `doubled`: two workers hold all of it (one has claimed it from the other) and both commit.
    """

    picks: tuple[int, ...]
    look_up_only: bool = False
    doubled: bool = False


@dataclass(frozen=True)
class Repeat:
    """A second worker commits an entry that was committed before."""

    pick: int


@dataclass(frozen=True)
class Advance:
    """Time passes; that alone fires nothing."""

    ms: int


@dataclass(frozen=True)
class AdvanceToDue:
    """Time passes until the next deadline, or 1 ms before or after it."""

    offset: int


@dataclass(frozen=True)
class Fire:
    """Some worker fires the due timers."""


@dataclass(frozen=True)
class Knows:
    """From now on sippo-server answers this about somebody."""

    callee: str
    found: LookupResult


@dataclass(frozen=True)
class Pushed:
    """The result of one of the push jobs that workers hold (index modulo their number)."""

    pick: int
    became: str


@dataclass(frozen=True)
class Carry:
    """With several shards: one of the messages on their way arrives (index modulo how many there are)."""

    pick: int


Step = Publish | Settle | Repeat | Advance | AdvanceToDue | Fire | Knows | Pushed | Carry


@dataclass(frozen=True)
class History:
    """The steps, and the settings."""

    settings: Settings
    steps: tuple[Step, ...]
