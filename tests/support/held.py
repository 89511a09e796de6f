"""Holds back the lookups of a worker until the test releases them."""

from __future__ import annotations

import asyncio
from typing import Final

from invites.events.operation import Operation
from invites.lookup.resolver import Resolver
from invites.store.answers import Outcome
from tests.support.worker import settler_of
from workers.service import Service


class HeldResolver:
    """A resolver that waits for `answer` before it answers; `asked` is set once it is asked."""

    def __init__(self, resolver: Resolver) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self._resolver = resolver

    async def complete(self, operation: Operation, outcome: Outcome) -> Operation:
        self.asked.set()
        await self.answer.wait()
        return await self._resolver.complete(operation, outcome)


def hold_lookups(service: Service) -> HeldResolver:
    """Hold back all lookups of a worker's first shard."""
    set_aside = settler_of(service)._set_aside
    held = HeldResolver(set_aside._resolver)
    set_aside._resolver = held  # type: ignore[assignment] # in its place
    return held


TRUNK: Final = {"registry": {"id": "t1", "user": "trunk", "type": "PSTN", "trunk": True, "match": "[0-9]+"}}
"""The payload of `registered` for a trunk: an invite to a number then needs a lookup."""
