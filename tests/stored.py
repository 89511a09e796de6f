"""Writes what pending calls leave in the server, as this release stores it, for `tests/lua/test_stored.py`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from invites import __version__
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import push_jobs
from tests.support.groups import team
from tests.support.shard import Shard, peer
from workers.lab.embedded import EmbeddedValkey

FOLDER: Final = Path(__file__).parent / "lua" / "stored"
LOOKING_UP: Final = Settings(look_up="all")
_MADE_ANYWAY: Final = ("layout", "origin")
"""What each shard has before its first call."""


async def pending(shard: Shard) -> None:
    """Let three calls of Alice into one room ring: Bob's devices, a group, and Carol's phone in her pocket."""
    team(shard, "m0", "m1", "m2", push={"m2": ["m2-phone"]})
    push_jobs.sleeps(shard, "carol", "carol-phone")
    for device, user in (
        ("phone", "bob"), ("tablet", "bob"), ("desk0", "m0"), ("desk1", "m1"), ("laptop", "alice"),
    ):  # fmt: skip
        await shard.event(*e.registered(device, user, device=f"{device}-hw"))
    for invite_id, callee in (("1", "bob"), ("2", "team"), ("3", "carol")):
        await shard.event(*e.invite(peer("laptop", "alice"), callee, invite_id, "r", expires=e.RING))
    await shard.relay()
    for job in await push_jobs.jobs(shard):
        await push_jobs.becomes(shard, job, "pushTaken")
    await shard.event(*e.ringing("phone"))
    await shard.event(*e.ringing("desk0", "m0", invite_id="2"))


async def contents(shard: Shard) -> dict[str, Any]:
    """All keys but streams: each with its type, its time to live (ms, -1 for none) and its value."""
    client, found = shard.client, {}
    for name in sorted(await client.keys("*")):
        short, kind = name.decode().removeprefix(shard.keys.base), (await client.type(name)).decode()
        if kind == "stream" or short in _MADE_ANYWAY:
            continue
        value = await _value(client, name, kind)
        found[short] = [kind, await client.pttl(name), value]
    return found


async def _value(client: Any, name: bytes, kind: str) -> Any:
    if kind == "string":
        return (await client.get(name)).decode()
    if kind == "hash":
        return {field.decode(): raw.decode() for field, raw in (await client.hgetall(name)).items()}
    if kind == "set":
        return sorted(member.decode() for member in await client.smembers(name))
    if kind == "list":
        return [item.decode() for item in await client.lrange(name, 0, -1)]
    return [(member.decode(), score) for member, score in await client.zrange(name, 0, -1, withscores=True)]


async def main() -> None:
    """Play, and write the file of this version."""
    with EmbeddedValkey() as server:
        async with Redis.from_url(server.unix_url) as client:
            shard = await Shard.make(client, LOOKING_UP)
            await pending(shard)
            stored = {"now": shard.now, "keys": await contents(shard)}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{__version__}.json").write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
