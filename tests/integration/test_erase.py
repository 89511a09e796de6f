"""`invites erase`: nothing on the server names the user any more, and everything about others stays."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from invites.erasure import Erasure, ErasureError, Report
from invites.erasure.keys import CALLS
from invites.erasure.person import Person
from invites.keys import Keys
from invites.resharding.shard_map import Command, ShardMap
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.commands import Commands
from tests.support.shard import Shard, peer
from tests.support.shards import Shards

pytestmark = pytest.mark.leaks  # a user is erased in the middle of everything

KEPT = Settings(look_up="all", keep_history=9, keep_history_for=86400000, redial="ring", remove_after=5_000)
MESSAGE: dict[str, Any] = {"context": {"to": "x"}, "fromDetails": {"name": "Bob"}}


@pytest.fixture
async def client(valkey_server: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey_server) as client:
        await client.flushall()
        yield client


async def _calls(client: Redis, shards: int) -> Shards:
    """Calls that are over, between Bob and others, and between others; others know Bob."""
    shard = await Shards.make_several(lambda _: client, KEPT, shards)
    groups.team(shard, "bob", "carol")
    for event in (
        e.registered("p1", "alice", device="d1"),
        e.registered("p2", "bob", device="d2"),
        e.registered("p3", "carol"),
        e.user_state("carol", block=["mallory", "bob", "eve"]),
        e.user_state("bob", block=["eve"]),
        e.joined("bob", "r1", peer=peer("p2", "bob")),
        e.invite(peer("p1", "alice"), "bob", "1", **MESSAGE),
        e.accept("p2", from_="alice", invite_id="1"),
        e.invite(peer("p2", "bob"), "alice", "2", **MESSAGE),
        e.stop(peer("p2", "bob"), callee="alice", invite_id="2"),
        e.invite(peer("p1", "alice"), "team", "3", "r3"),
        e.accept("p2", from_="alice", invite_id="3"),
        e.invite(peer("p1", "alice"), "carol", "4"),
        e.decline("p3", "carol", from_="alice", invite_id="4"),
        e.stop(peer("p2", "bob"), callee="alice", invite_id="5"),
        e.disconnected("p2", "bob"),
        ("invite", {"peer": peer("p2", "bob"), "to": "a b", "inviteId": "6", "room": "r"}),
    ):
        await shard.event(*event)
    return shard


async def _names(client: Any, user: str) -> list[str]:
    """The keys that name the user, in their name or content."""
    reads: dict[str, Callable[[Any], Any]] = {
        "string": client.get, "hash": client.hgetall, "set": client.smembers, "stream": client.xrange,
        "zset": lambda name: client.zrange(name, 0, -1), "list": lambda name: client.lrange(name, 0, -1),
    }  # fmt: skip
    found = []
    async for key in client.scan_iter():
        value = await reads[(await client.type(key)).decode()](key)
        if user in f"{key!r} {value!r}":
            found.append(key.decode())
    return sorted(found)


async def _dump(client: Any) -> dict[bytes, bytes]:
    return {key: await client.dump(key) async for key in client.scan_iter()}


def _erasure(shard: Shard, user: str = "bob") -> Erasure:
    return Erasure(shard.all_keys, shard.client_of, user)


def _of(report: Report) -> dict[str, tuple[int, int, int]]:
    return {line.what: (line.deleted, line.rewritten, line.left) for line in report.lines}


@pytest.mark.parametrize("shards", [1, 7])
async def test_nothing_names_the_user_any_more(client: Redis, shards: int) -> None:
    shard = await _calls(client, shards)
    before = await _names(client, "bob")
    assert len(before) > 15, before
    others = await _names(client, "carol")
    report = await _erasure(shard).run()
    assert await _names(client, "bob") == []
    done = _of(report)
    assert report.left == 0
    assert done["user-state"] == (1, 1, 0)
    assert done["stream dead"][0] == 1
    assert all(sum(counts) for counts in done.values())
    gone = {"invite:alice|3|carol"} | {f"{kind}:alice|3|team" for kind in CALLS}  # Bob has accepted it
    left = await _names(client, "carol")
    assert {name.partition("}:")[2] for name in others} - {name.partition("}:")[2] for name in left} <= gone
    state: Any = await client.get(shard.routed.user_state("carol"))
    assert state.endswith(b"|mallory|eve|")
    assert (await _erasure(shard).run()).lines == []


async def test_a_dry_run_touches_nothing_and_says_the_same(client: Redis) -> None:
    shard = await _calls(client, 1)
    before = await _dump(client)
    planned = await _erasure(shard).run(dry_run=True)
    assert await _dump(client) == before
    assert planned.lines == (await _erasure(shard).run()).lines


@pytest.mark.parametrize("user", ["alice", "bob", "team"])
async def test_a_call_that_rings_refuses_it(client: Redis, user: str) -> None:
    shard = await Shards.make_several(lambda _: client, KEPT, 7)
    groups.team(shard, "bob")
    await e.in_order(shard, e.registered("p2", "bob"), e.invite(to="team"))
    before = await _dump(client)
    with pytest.raises(ErasureError, match=rf"^{user} has [12] calls that ring, such as alice\|1\|"):
        await _erasure(shard, user).run()
    assert await _dump(client) == before
    await e.in_order(shard, e.stop(callee="team"))
    assert (await _erasure(shard, user).run()).left == 0


async def test_a_trunk_refuses_it(client: Redis) -> None:
    shard = await Shards.make_several(lambda _: client, KEPT, 1)
    await shard.event(*e.trunk("gw"))
    with pytest.raises(ErasureError, match="sip has a trunk: publish `unregistered`"):
        await _erasure(shard, "sip").run()


async def test_on_a_full_server_what_can_only_be_rewritten_is_left(client: Any) -> None:
    shard = await _calls(client, 1)
    await client.config_set("maxmemory", 1)
    try:
        report = await _erasure(shard).run()
    finally:
        await client.config_set("maxmemory", 0)
    assert _of(report)["user-state"] == (1, 0, 1)
    assert await _names(client, "bob") == [shard.routed.user_state("carol")]
    assert _of(await _erasure(shard).run()) == {"user-state": (0, 1, 0)}


async def test_an_erasure_that_is_cut_off_is_completed_by_the_next_one(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost between any two writes, also in the middle of a round trip."""
    shard = await _calls(client, 1)
    execute, xdel, writes, cuts = ShardMap.execute, client.xdel, 0, 0

    def may_write(command: str) -> bool:
        nonlocal writes
        writes -= command in {"UNLINK", "HDEL", "SREM", "ZREM", "XDEL"}
        return writes >= 0

    async def execute_until_cut(
        self: ShardMap, commands: Iterable[tuple[int, Command]], *, reads: bool = False
    ) -> list[Any]:
        asked = list(commands)
        sent = [one for one in asked if may_write(str(one[1][0]))]
        replies = await execute(self, sent, reads=reads)
        if len(sent) < len(asked):
            raise RedisConnectionError("for the test")
        return replies

    async def xdel_until_cut(*command: Any) -> Any:
        if not may_write("XDEL"):
            raise RedisConnectionError("for the test")
        return await xdel(*command)

    while await _names(client, "bob"):
        writes = cuts = cuts + 1
        with monkeypatch.context() as patched, contextlib.suppress(RedisConnectionError):
            patched.setattr(ShardMap, "execute", execute_until_cut)
            patched.setattr(client, "xdel", xdel_until_cut)
            await _erasure(shard).run()
    assert cuts > 2


async def test_many_keys_share_a_round_trip_and_progress_is_told(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invites.erasure.procedure.TELL_S", 0.0)
    keys, execute, trips, told = Keys(), ShardMap.execute, 0, list[str]()

    async def count(self: ShardMap, *arguments: Any, **options: Any) -> Any:
        nonlocal trips
        trips += 1
        return await execute(self, *arguments, **options)

    monkeypatch.setattr(ShardMap, "execute", count)
    async with client.pipeline(transaction=False) as pipe:
        for number in range(500):
            ref = f"a{number}|1|b{number}"
            pipe.hset(keys.invite(ref), "state", "ACCEPTED")
            pipe.rpush(keys.story(ref), "0 accepted 200 bob 0 0")
            pipe.set(f"{keys.base}holder:p{number}", f"{'bob' if number % 2 else 'eve'}|0-1")
            pipe.hset(keys.calls(f"a{number}"), mapping={f"a{number}|1|bob": "p", ref: "p"})
            pipe.set(keys.user_state(f"a{number}"), "0-1|||eve|")
        await pipe.execute()
    report = await Erasure([keys], lambda _: client, "bob", told.append).run()
    assert _of(report) == {
        "calls (members)": (500, 0, 0), "holder": (250, 0, 0), "story": (500, 0, 0),
    }  # fmt: skip
    assert trips < 200, "2,500 keys"
    assert await client.dbsize() == 5 * 500 - 750
    assert told[-2:] == ["Shard 0 of 1: 2500 keys looked at.", "Shard 0 of 1: looking at its streams."]


async def test_what_a_group_has_not_settled_is_left(client: Any) -> None:
    shard = await _calls(client, 1)
    keys = shard.all_keys[0]
    await client.xgroup_create(keys.notifications, "gateway", "0")
    await client.xreadgroup("gateway", "g", {keys.notifications: ">"}, count=1)
    total = sum("bob" in repr(entry) for entry in await client.xrange(keys.notifications))
    done = _of(await _erasure(shard).run())
    assert done["stream notifications"] == (0, 0, total)
    await client.xreadgroup("gateway", "g", {keys.notifications: ">"})
    for entry, _ in await client.xrange(keys.notifications):
        await client.xack(keys.notifications, "gateway", entry)
    assert _of(await _erasure(shard).run()) == {"stream notifications": (total, 0, 0)}


async def test_the_command(client: Redis, valkey_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    await _calls(client, 1)
    commands = Commands(capsys, valkey_server)

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(commands.on_server, "erase", "bob", *arguments)

    planned = await run("--dry-run")
    assert planned.status == 0
    assert "user-state                1 to be deleted, 1 to be rewritten" in planned.out
    done = json.loads((await run("--json")).out)
    assert (done["user"], done["dry_run"]) == ("bob", False)
    assert (await run()).out == "Nothing names this user.\n"


@pytest.mark.parametrize("user", ["0", "200", "room", "inviteProgress", "-", "*", "PEER", "CANCELLED"])
async def test_words_of_the_contract_name_nobody(client: Redis, user: str) -> None:
    shard = await _calls(client, 1)
    ended = {"state": "DECLINED_BY_TIMEOUT", "story": "5 timer.ring 408 - - - invitationCancel 408 *"}
    await cast("Any", client).hset(Keys().invite("eve|1|dave"), mapping=ended)
    assert (await _erasure(shard, user).run(dry_run=True)).lines == []


async def test_a_name_in_a_story_is_found_whatever_its_characters(client: Any) -> None:
    keys = Keys()
    names = [f"p{number}" for number in range(9)]
    told = json.dumps([*names, 'a"b'], separators=(",", ":"))
    await client.hset(keys.invite("eve|1|team"), "story", f"0 invite - eve - - legStarted - {told}+3")
    await client.hset(keys.invite("eve|2|team"), "story", '0 accept - "a - -')
    for user in ('a"b', '"a'):
        assert _of(await Erasure([keys], lambda _: client, user).run()) == {"invite": (1, 0, 0)}


@pytest.mark.parametrize("user", ["", "a b", "alice|1|bob"])
def test_what_is_no_id_is_refused(commands: Commands, user: str) -> None:
    ended = commands.on_server("erase", user)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("invites: USER must be a text of 1 to 255 characters without white space")


@pytest.mark.parametrize(
    ("raw", "is_named"),
    [
        (b'{"to":"bob"}', True),
        (b'["alice","bob"]', True),
        (b'"alice|1|bob"', True),
        (rb'{"to":"b\u006fb"}', True),
        (b'{"bob":"x"}', False),
        (b'{"to":"bobby"}', False),
        (b'{"text":"call bob"}', False),
        (b"bob", True),
        (b"alice|1|bob", True),
        (b'field to must be a text, not "bob"', True),
        (b"bobby", False),
    ],
)
def test_what_names_a_user(raw: bytes, is_named: bool) -> None:
    assert Person("bob").is_in_value(raw) == is_named


def test_a_number_is_named_by_itself() -> None:
    assert Person("123").is_in_value(b"123")
    assert not Person("12").is_in_value(b"123")
