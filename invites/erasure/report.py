"""What an erasure has done."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct


class Line(Struct, frozen=True):
    """The result for one kind of key, or for the entries of one stream. `left` cannot be erased yet."""

    what: str
    deleted: int = 0
    rewritten: int = 0
    left: int = 0


class Report(Struct, frozen=True):
    """Everything that names the user. With `dry_run` nothing was touched."""

    user: str
    dry_run: bool
    lines: list[Line]

    @property
    def left(self) -> int:
        """How many things still name the user."""
        return sum(line.left for line in self.lines)


class Tally:
    """Counts during the erasure."""

    def __init__(self) -> None:
        self.deleted: Counter[str] = Counter()
        self.rewritten: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def lines(self) -> list[Line]:
        """A line for each kind."""
        kinds = sorted({*+self.deleted, *+self.rewritten, *+self.left})
        return [Line(kind, self.deleted[kind], self.rewritten[kind], self.left[kind]) for kind in kinds]
