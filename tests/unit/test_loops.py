"""The loop of every role: its reaction to each kind of error, none of which ends it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from redis import exceptions

from invites.keys import Keys
from invites.store.layout import LayoutError
from workers.loops import Role, run_forever
from workers.telemetry.metrics import Metrics
from workers.telemetry.outage import Outage

if TYPE_CHECKING:
    from workers.consumer.shard import Shard


class _Shard:
    """The part of a shard that a loop needs."""

    def __init__(self, keys: Keys | None = None) -> None:
        self.keys = keys or Keys()
        self.ensured = 0
        self.refusals: list[Exception] = []
        metrics = Metrics()
        self.worker = SimpleNamespace(metrics=metrics, outage=Outage(metrics), refused=self.refusals.append)

    async def ensure(self) -> None:
        self.ensured += 1


@pytest.mark.parametrize(
    ("error", "logged", "ensured", "refused"),
    [
        (exceptions.ConnectionError("away"), "Redis cannot be used (a role): ConnectionError: away", 0, 0),
        (exceptions.OutOfMemoryError("full"), "Redis cannot be used (a role): OutOfMemoryError: full", 0, 0),
        (exceptions.TryAgainError("moving"), "Redis cannot be used (a role): TryAgainError: moving", 0, 0),
        (exceptions.ResponseError("NOGROUP none"), "", 2, 0),
        (LayoutError("3", 1), "", 0, 2),
        (RuntimeError("a bug"), "A round of a role has failed; the loop continues.", 0, 0),
    ],
    ids=["away", "full", "moved", "no group", "refused", "bug"],
)
async def test_no_error_ends_a_loop(
    caplog: pytest.LogCaptureFixture, error: Exception, logged: str, ensured: int, refused: int
) -> None:
    shard, ended = _Shard(), asyncio.Event()
    role = Role("a role", cast("Shard", shard))
    errors = [error, error]

    async def step() -> None:
        if errors:
            raise errors.pop()
        role.works()
        ended.set()

    await run_forever(role, step, ended)
    assert (shard.ensured, len(shard.refusals)) == (ensured, refused)
    warnings = [record.message for record in caplog.records if "again" not in record.message]
    assert len(warnings) == bool(logged), "an error that repeats is logged once"
    assert not logged or warnings[0].startswith(logged)


def test_shards_that_work_do_not_end_the_outage_of_another(caplog: pytest.LogCaptureFixture) -> None:
    first, second = (_Shard(Keys(shard=number, shards=2)) for number in (0, 1))
    second.worker = first.worker
    own, other = (cast("Shard", shard) for shard in (first, second))
    away, works = Role("settling relay", own, other), Role("settling relay", own)
    away.waits(exceptions.ConnectionError("gone"))
    works.works()
    Role("settling relay", other).works()
    assert [record.message for record in caplog.records] == [
        "Redis cannot be used (settling relay of shard 0 for shard 1): ConnectionError: gone; waiting for it."
    ]
    away.works()
    assert caplog.records[-1].message.startswith("Redis can be used again")
