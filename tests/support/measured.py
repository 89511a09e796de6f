"""A committer that keeps the measures of its commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from invites.events.operation import Operation
from invites.store.answers import CommitResult, FireResult
from invites.store.commit import Committer, SettleMode, TakeMode
from invites.store.measures import Measure


class MeasuringCommitter(Committer):
    """Keeps all measures in `measured`, in order."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.measured: list[Measure] = []

    async def commit(
        self, operations: Sequence[Operation], mode: SettleMode | TakeMode | None = None
    ) -> CommitResult:
        """Commit, and keep the measures."""
        result = await super().commit(operations, mode)
        self.measured += result.measures
        return result

    async def fire(self, limit: int = 100, patience: int = 6_000) -> FireResult:
        """Fire, and keep the measures."""
        result = await super().fire(limit, patience)
        self.measured += result.measures
        return result
