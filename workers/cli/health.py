"""`invites status --exit-code`: one line and one status for monitoring."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from invites.queries.health import Level, Problem, as_objects, problems_of
from invites.queries.overview import Overview, overview
from workers.cli.output import say, say_json
from workers.cli.session import trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.keys import Keys
    from workers.cli.session import Session


async def check(session: Session, *, as_json: bool) -> int:
    """Look at all shards in parallel, so that an unreachable one hides no other. Returns the status."""
    looking = asyncio.gather(*(_look(session, keys) for keys in session.shards()))
    wrong, looked = await asyncio.gather(_wrong_shards(session), looking)
    there = [one for one in looked if isinstance(one, Overview)]
    found = problems_of(session.shards(), looked)
    if wrong:
        found.insert(0, (0, Problem(Level.CRITICAL, wrong.rstrip("."))))
    level = max((problem.level for _, problem in found), default=Level.OK)
    if as_json:
        say_json({"status": int(level), "problems": as_objects(found), "shards": there})
    else:
        say(f"{level.name}: {_sentences(found) or _fine(there)}")
    return int(level)


async def _wrong_shards(session: Session) -> str | None:
    try:
        return await session.wrong_shards()
    except (RedisError, OSError):
        return None  # `_look` says it


async def _look(session: Session, keys: Keys) -> Overview | Problem:
    try:
        return await overview(session.client(keys), keys)
    except (RedisError, OSError) as error:
        return Problem(Level.CRITICAL, trouble(session.address, error).rstrip("."))


def _sentences(found: Sequence[tuple[int, Problem]]) -> str:
    """The worst first. A problem of several shards is named once."""
    shards: dict[Problem, list[int]] = {}
    for shard, problem in found:
        shards.setdefault(problem, []).append(shard)
    return "; ".join(
        f"shard {', '.join(map(str, shards[problem]))}: {problem.sentence}"
        for problem in sorted(shards, key=lambda one: -one.level)
    )


def _fine(there: Sequence[Overview]) -> str:
    workers = {consumer.name for one in there for consumer in one.consumers or () if consumer.alive}
    oldest = max(one.backlog.oldest_ms for one in there)
    return f"shards {len(there)}, workers {len(workers)}, oldest event {oldest} ms"
