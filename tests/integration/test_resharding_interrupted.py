"""A move that is interrupted between any two commands, and begun again, ends like an uninterrupted one."""

from __future__ import annotations

import json
import time
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from invites.connection.clients import connect
from invites.keys import Keys, Stream, shard_of
from invites.resharding.key_ownership import WHOLE
from invites.resharding.procedure import move_all
from invites.resharding.shard_map import ShardMap
from invites.resharding.streams import delivered, unread
from invites.values.ref import callee_of
from tests.support.shard import make_groups
from tests.support.shards import Failing

BEFORE, AFTER = 3, 7
USERS = [f"user-{number}" for number in range(6)]
SOON = int(time.time() * 1000) + 7_200_000  # counted from the import: after the longest suite
TRUNK = '{"id":"t","user":"sip","trunk":true,"at":"5-0"}'
STEP = 13  # commands between one interruption and the next one that is tried


def at(name: str) -> Keys:
    return Keys(shard=shard_of(name, BEFORE), shards=BEFORE)


async def fill(client: Any) -> None:
    """Some of everything."""
    await client.flushdb()
    for number in range(AFTER):
        await make_groups(client, Keys(shard=number))
    for number, user in enumerate(USERS, 1):
        keys, ref = at(user), f"alice|1|{user}"
        for kind, belongs in WHOLE.items():
            if kind != "room-invites":
                name = ref if belongs is callee_of else f"{user}|1|bob"
                await client.hset(f"{keys.base}{kind}:{name}", mapping={"entry": "7-3"})
                await client.pexpireat(f"{keys.base}{kind}:{name}", SOON)
        for owner in (user, "sip"):
            await client.sadd(keys.pending(owner), ref)
            await client.zadd(f"{keys.base}ended:{owner}", {ref: 5})
            await client.pexpireat(keys.pending(owner), SOON)
            await client.pexpireat(f"{keys.base}ended:{owner}", SOON)
        await client.zadd(keys.room_invites(user), {ref: 7, f"bob|2|{USERS[0]}": 7})
        await client.pexpireat(keys.room_invites(user), SOON)
        await client.set(keys.grace(f"{user}-p"), user, pxat=SOON)
        timers = (f"ring|{ref}", f"grace|{user}|p", f"lapse|{user}|p")
        await client.zadd(keys.timers, dict.fromkeys(timers, SOON))
        await client.xadd(keys.push, {"type": "invitation", "ref": ref})
        decode_relay_entry = {"kind": "call_ended", "name": user, "entry": "7-3", "arguments": f'["{ref}"]'}
        entry = await client.xadd(at(USERS[0]).relay, decode_relay_entry, f"1-{number}")
        await client.zadd(f"{keys.base}taken:{at(USERS[0]).shard}", {entry: 1})
    home = at("sip")
    for keys in (Keys(shard=number) for number in range(BEFORE)):
        await client.zadd(keys.timers, {"grace|sip|t": SOON + keys.shard})
    await client.hset(home.trunks, "t", TRUNK)
    await client.zadd(home.timers, {"lapse|sip|t": SOON})
    news = {"kind": "trunk_registered", "name": "sip", "entry": "5-0"}
    arguments = json.dumps(["sip", "t", TRUNK, "", "", ""])
    await client.xadd(home.relay, {**news, "arguments": arguments, "shard": (home.shard + 1) % BEFORE})
    await client.set(f"{at(USERS[1]).base}over:alice|9|bob", "7-3", pxat=SOON)
    for number in range(BEFORE):
        for source in Stream:
            await client.xreadgroup(source.group, "w", {source.key(Keys(shard=number)): ">"}, count=2)


async def contents(shard_map: ShardMap) -> dict[str, Any]:
    """The content of all keys, in a fixed order. Of push jobs only the unsettled ones: they may exist twice."""
    client = shard_map.client(0)
    found: dict[str, Any] = {}
    async for raw in client.scan_iter():
        name, kind = raw.decode(), (await client.type(raw)).decode()
        value: Any
        if name.endswith("push"):
            keys = Keys(shard=int(name[name.index("{") + 1 : name.index("}")]))
            jobs = [job async for page in delivered(shard_map, keys, Stream.PUSH) for job in page]
            jobs += [job async for job in unread(shard_map, keys, Stream.PUSH)]
            value = sorted({job.text(b"ref") for job in jobs})
        elif kind == "stream":
            value = sorted(str(sorted(fields.items())) for _, fields in await client.xrange(raw))
        elif kind == "hash":
            value = await client.hgetall(raw)
        elif kind == "set":
            value = sorted(await client.smembers(raw))
        elif kind == "zset":
            value = await client.zrange(raw, 0, -1, withscores=True)
        else:
            value = await client.get(raw)
        found[name] = value, await client.pexpiretime(raw)
    for number in range(BEFORE):
        pending = await client.xpending(Keys(shard=number).relay, Stream.RELAY.group)
        found[f"pending of {number}"] = pending["pending"]
    return found


async def interrupted(shard_map: Failing, after: int) -> bool:
    shard_map.left = after
    try:
        await move_all(shard_map, lambda _what, _more: None)
    except RedisConnectionError:
        return True
    return False


async def test_a_move_that_is_begun_again_ends_like_one_that_is_not_interrupted(valkey_url: str) -> None:
    async with connect(valkey_url, "tests") as client:
        shard_map = Failing("invites", BEFORE, AFTER, lambda _: client)
        await fill(client)
        assert not await interrupted(shard_map, 1_000_000)
        taken = 1_000_000 - shard_map.left
        wanted = await contents(shard_map)
        for after in range(0, taken, STEP):
            await fill(client)
            assert await interrupted(shard_map, after)
            await interrupted(shard_map, after // 2)
            assert not await interrupted(shard_map, 1_000_000)
            assert await contents(shard_map) == wanted, f"interrupted after {after} commands"
