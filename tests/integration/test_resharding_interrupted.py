"""A move that is interrupted between any two commands, and begun again, ends like an uninterrupted one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from invites.connection.clients import connect
from invites.keys import Keys, Stream, shard_of
from invites.resharding.key_ownership import WHOLE
from invites.resharding.procedure import move_all
from invites.resharding.shard_map import PAGE, ShardMap
from invites.resharding.streams import delivered, unread
from invites.values.ref import callee_of
from tests.support.shard import make_groups
from tests.support.shards import Failing

BEFORE, AFTER = 3, 7
USERS = [f"user-{number}" for number in range(6)]
SOON = int(time.time() * 1000) + 7_200_000  # counted from the import: after the longest suite
TRUNK = '{"id":"t","user":"sip","trunk":true,"at":"5-0"}'
STEP = 13  # commands between one interruption and the next one that is tried
READ: dict[bytes, Callable[[Any, str], object]] = {
    b"stream": lambda pipe, name: pipe.xrange(name),
    b"hash": lambda pipe, name: pipe.hgetall(name),
    b"set": lambda pipe, name: pipe.smembers(name),
    b"zset": lambda pipe, name: pipe.zrange(name, 0, -1, withscores=True),
    b"string": lambda pipe, name: pipe.get(name),
}


def at(name: str) -> Keys:
    return Keys(shard=shard_of(name, BEFORE), shards=BEFORE)


async def fill(client: Any) -> None:
    """Some of everything."""
    await client.flushdb()
    await make_groups(client, *(Keys(shard=number) for number in range(AFTER)))
    async with client.pipeline(transaction=False) as pipe:
        write(pipe)
        await pipe.execute()


def write(pipe: Any) -> None:
    for number, user in enumerate(USERS, 1):
        keys, ref = at(user), f"alice|1|{user}"
        for kind, belongs in WHOLE.items():
            if kind != "room-invites":
                name = ref if belongs is callee_of else f"{user}|1|bob"
                pipe.hset(f"{keys.base}{kind}:{name}", mapping={"entry": "7-3"})
                pipe.pexpireat(f"{keys.base}{kind}:{name}", SOON)
        for owner in (user, "sip"):
            pipe.sadd(keys.pending(owner), ref)
            pipe.zadd(f"{keys.base}ended:{owner}", {ref: 5})
            pipe.pexpireat(keys.pending(owner), SOON)
            pipe.pexpireat(f"{keys.base}ended:{owner}", SOON)
        pipe.zadd(keys.room_invites(user), {ref: 7, f"bob|2|{USERS[0]}": 7})
        pipe.pexpireat(keys.room_invites(user), SOON)
        pipe.set(keys.grace(f"{user}-p"), user, pxat=SOON)
        timers = (f"ring|{ref}", f"grace|{user}|p", f"lapse|{user}|p")
        pipe.zadd(keys.timers, dict.fromkeys(timers, SOON))
        pipe.xadd(keys.push, {"type": "invitation", "ref": ref})
        decode_relay_entry = {"kind": "call_ended", "name": user, "entry": "7-3", "arguments": f'["{ref}"]'}
        pipe.xadd(at(USERS[0]).relay, decode_relay_entry, f"1-{number}")
        pipe.zadd(f"{keys.base}taken:{at(USERS[0]).shard}", {f"1-{number}": 1})
    home = at("sip")
    for keys in (Keys(shard=number) for number in range(BEFORE)):
        pipe.zadd(keys.timers, {"grace|sip|t": SOON + keys.shard})
    pipe.hset(home.trunks, "t", TRUNK)
    pipe.zadd(home.timers, {"lapse|sip|t": SOON})
    news = {"kind": "trunk_registered", "name": "sip", "entry": "5-0"}
    arguments = json.dumps(["sip", "t", TRUNK, "", "", ""])
    pipe.xadd(home.relay, {**news, "arguments": arguments, "shard": (home.shard + 1) % BEFORE})
    pipe.set(f"{at(USERS[1]).base}over:alice|9|bob", "7-3", pxat=SOON)
    for number in range(BEFORE):
        for source in Stream:
            pipe.xreadgroup(source.group, "w", {source.key(Keys(shard=number)): ">"}, count=2)


async def contents(shard_map: ShardMap) -> dict[str, Any]:
    """The content of all keys, in a fixed order. Of push jobs only the unsettled ones: they may exist twice."""
    client = shard_map.client(0)
    names = [raw.decode() async for raw in client.scan_iter(count=PAGE)]
    async with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(name)
        kinds = await pipe.execute()
        for name, kind in zip(names, kinds, strict=True):
            READ[kind](pipe, name)
            pipe.pexpiretime(name)
        replies = await pipe.execute()
    found: dict[str, Any] = {}
    for name, kind, value, expires in zip(names, kinds, replies[::2], replies[1::2], strict=True):
        if name.endswith("push"):
            keys = Keys(shard=int(name[name.index("{") + 1 : name.index("}")]))
            jobs = [job async for page in delivered(shard_map, keys, Stream.PUSH) for job in page]
            jobs += [job async for job in unread(shard_map, keys, Stream.PUSH)]
            found[name] = {job.text(b"ref") for job in jobs}, expires
        elif kind == b"stream":
            found[name] = sorted(str(sorted(fields.items())) for _, fields in value), expires
        else:
            found[name] = value, expires
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
