"""Workers over several shards: calls go through all of them, and each effect happens once, whichever worker does it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import ClientSession
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from invites.config import Config, parse
from invites.events.protocol import decode_event
from invites.events.routing import routing_key
from invites.keys import RELAY_GROUP, Keys, shard_of
from tests.support import events as e
from tests.support import lookups
from tests.support.waiting import wait_until
from tests.support.worker import configured, is_settled, running
from workers.http.server import HttpServer
from workers.lab.fake_sippo import Directory, FakeSippo, GroupEntry
from workers.service import Service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from invites.store.answers import CommitResult
    from tests.support.commands import Commands

SHARDS = 7
KEYS = [Keys(shard=number, shards=SHARDS) for number in range(SHARDS)]
NUMBERS = {shard_of(f"+49{number}", SHARDS): f"+49{number}" for number in range(200)}


def several(config: Config) -> Config:
    return msgspec.structs.replace(config, redis=msgspec.structs.replace(config.redis, shards=SHARDS))


def worker(
    url: str, config: Config | None = None, **invites: int
) -> contextlib.AbstractAsyncContextManager[Service]:
    return running(config or several(configured(**invites)), url)


class Around:
    """The surroundings of the workers: publishes to any shard, and reads the notifications of all."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client  # typed, every reply of redis-py is a union of all its shapes
        self._chance = random.Random(SHARDS)

    async def publish(self, *events: e.Published, at_home: bool = False) -> None:
        for kind, payload in events:
            raw = json.dumps(payload).encode()
            home = shard_of(routing_key(decode_event(kind, raw)), SHARDS)
            keys = KEYS[home] if at_home else self._chance.choice(KEYS)
            await self.client.xadd(keys.events, {"type": kind, "payload": raw})

    async def told(self) -> list[tuple[str, list[str], Mapping[str, Any]]]:
        """Type, peers and payload of all notifications."""
        return [
            (fields[b"type"].decode(), json.loads(fields[b"peers"]), json.loads(fields[b"payload"]))
            for keys in KEYS
            for _, fields in await self.client.xrange(keys.notifications)
        ]

    async def of(self, kind: str) -> list[tuple[list[str], Mapping[str, Any]]]:
        return [(peers, payload) for told, peers, payload in await self.told() if told == kind]

    async def heard(self, kind: str, count: int) -> list[tuple[list[str], Mapping[str, Any]]]:
        """Wait until there are `count` notifications of a type."""

        async def there() -> bool:
            return len(await self.of(kind)) >= count

        await wait_until(there, f"{count} notifications are of type {kind}")
        return await self.of(kind)

    async def quiet(self) -> None:
        """Wait until all streams of all shards are settled."""
        streams = [stream for keys in KEYS for stream in (keys.events, keys.relay)]
        await wait_until(lambda: is_settled(self.client, *streams), "nothing is left in any shard")

    async def check(self) -> None:
        """No notification is repeated, there is no dead letter, and no mark of a taken entry stays."""
        identities = [
            fields[b"id"] for keys in KEYS for _, fields in await self.client.xrange(keys.notifications)
        ]
        assert len(identities) == len(set(identities))
        assert [await self.client.xlen(keys.dead) for keys in KEYS] == [0] * SHARDS


@pytest.fixture
def around(client: Redis) -> Around:
    return Around(client)


async def test_calls_through_all_shards_are_answered_once(around: Around, valkey_url: str) -> None:
    users = [f"u{number}" for number in range(30)]
    async with worker(valkey_url), worker(valkey_url):
        for user in users:
            await around.publish(e.registered(f"{user}-1", user), e.registered(f"{user}-2", user))
        await around.quiet()
        for user in users:
            await around.publish(e.invite(to=user))
        await around.heard("invitation", len(users))
        for user in users:
            await around.publish(e.accept(f"{user}-1", user), e.accept(f"{user}-2", user))
        await around.heard("answer", 2 * len(users))
        await around.quiet()
    told = Counter(kind for kind, _, _ in await around.told())
    assert (told["inviteAccepted"], told["INVITE_COMPLETED"], told["invitationCancel"]) == (30, 30, 30)
    answers = Counter(payload["code"] for _, payload in await around.of("answer"))
    assert answers == {200: 30, 410: 30}
    await around.check()


async def test_a_rooms_end_and_a_lost_caller_reach_calls_in_all_shards(
    around: Around, valkey_url: str
) -> None:
    users = [f"u{number}" for number in range(20)]
    async with worker(valkey_url, caller_grace=0), worker(valkey_url, caller_grace=0):
        await around.publish(*(e.registered(f"{user}-1", user) for user in users))
        await around.publish(e.registered("a", "alice"))
        await around.quiet()
        await around.publish(*(e.invite(to=user, inviteId="1", room="r1") for user in users))
        await around.publish(*(e.invite(to=user, inviteId="2", room="r2") for user in users))
        await around.heard("invitation", 40)
        await around.publish(e.room_closed("r1"))
        rejected = await around.heard("inviteRejected", 20)
        assert {(payload["inviteId"], payload["reason"]) for _, payload in rejected} == {("1", "room_closed")}
        await around.publish(e.disconnected("a", "alice"))
        rejected = await around.heard("inviteRejected", 40)
        assert Counter(payload["reason"] for _, payload in rejected) == {"room_closed": 20, "caller_gone": 20}
        await around.heard("invitationCancel", 40)
        await around.quiet()
    await around.check()


async def test_a_trunk_that_is_published_once_leads_out_of_every_shard(
    around: Around, valkey_url: str
) -> None:
    assert sorted(NUMBERS) == list(range(SHARDS))
    async with worker(valkey_url), worker(valkey_url):
        await around.publish(e.trunk("t"))

        async def known() -> bool:
            return all([await around.client.hexists(keys.trunks, "sip|t") for keys in KEYS])

        await wait_until(known, "all shards know the trunk")
        await around.publish(*(e.invite(to=number) for number in NUMBERS.values()))
        rung = await around.heard("invitation", SHARDS)
        assert {tuple(peers) for peers, _ in rung} == {("t",)}
        await around.publish(e.disconnected("t", "sip"))
        rejected = await around.heard("inviteRejected", SHARDS)
        assert {payload["reason"] for _, payload in rejected} == {"unreachable"}
        await around.quiet()
        assert [await around.client.exists(keys.trunks) for keys in KEYS] == [0] * SHARDS
    await around.check()


async def test_a_group_with_members_in_all_shards_has_one_winner(around: Around, valkey_url: str) -> None:
    members = [f"m{number}" for number in range(20)]
    assert {shard_of(member, SHARDS) for member in members} == set(range(SHARDS))
    known = Directory(groups={"sales": GroupEntry(members)})
    async with FakeSippo(known, password=lookups.PASSWORD) as fake_sippo:
        config = several(lookups.configured(fake_sippo.address, {"resolveGroups": True}))
        async with worker(valkey_url, config), worker(valkey_url, config):
            await around.publish(*(e.registered(f"{member}-1", member) for member in members))
            await around.quiet()
            await around.publish(e.invite(to="sales"))
            await around.heard("invitation", 20)
            await around.publish(*(e.accept(f"{member}-1", member, to=member) for member in members[5:15]))
            await around.heard("answer", 10)
            await around.heard("invitationCancel", 19)
            await around.quiet()
    answers = Counter(payload["code"] for _, payload in await around.of("answer"))
    assert answers == {200: 1, 410: 9}
    ((_, accepted),) = await around.of("inviteAccepted")
    stopped = Counter(peer for peers, _ in await around.of("invitationCancel") for peer in peers)
    assert stopped == Counter(f"{member}-1" for member in members) - Counter([accepted["peer"]])
    ((_, record),) = await around.of("INVITE_COMPLETED")
    assert (record["group"], f"{record['whoAccepted']}-1") == (True, accepted["peer"])
    await around.check()


async def test_what_is_for_a_shard_that_is_away_waits_while_others_go_on(
    around: Around, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rooms are in all shards; the room of one of them cannot be told."""
    rooms = {shard_of(f"r{number}", SHARDS): f"r{number}" for number in range(200)}
    home = shard_of("bob", SHARDS)
    away = next(
        shard
        for shard in rooms
        if shard not in {home, *(shard_of(name, SHARDS) for name in ("alice", "phone"))}
    )
    async with worker(valkey_url, claim_after=600_000) as service:
        target = service._shards[away].shard.committer

        async def refuse(*_: object) -> CommitResult:
            raise RedisConnectionError("it is away")

        with monkeypatch.context() as patch:
            patch.setattr(target, "commit", refuse)
            await around.publish(e.registered("phone"), at_home=True)
            await around.publish(
                *(e.invite(inviteId=room, room=room) for room in rooms.values()), at_home=True
            )

            async def others_know() -> bool:
                return [
                    await around.client.exists(KEYS[shard].room_invites(room))
                    for shard, room in rooms.items()
                ] == [shard != away for shard in rooms]

            await wait_until(others_know, "the rooms of all other shards know of the invites")
            left = await around.client.xpending(KEYS[home].relay, RELAY_GROUP)
            assert left["pending"] == 1
            await service.drain(within_s=0.5)
        left = await around.client.xpending(KEYS[home].relay, RELAY_GROUP)
        assert left["pending"] == 1
    # It was handed back, so nobody waits ten minutes for it.
    async with worker(valkey_url, claim_after=600_000):

        async def known() -> bool:
            return bool(await around.client.exists(KEYS[away].room_invites(rooms[away])))

        await wait_until(known, "what was handed back has arrived")
        await around.quiet()
    await around.check()


async def test_so_many_and_no_more_are_taken_while_a_shard_is_away(
    around: Around, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.shard_worker.MOST_RELAYED", 10)
    home, target = KEYS[shard_of("bob", SHARDS)], shard_of("alice", SHARDS)
    assert target != home.shard
    async with worker(valkey_url) as service:
        source = service._shards[home.shard]._relay_role.source

        async def refuse(*_: object) -> CommitResult:
            raise RedisConnectionError("it is away")

        with monkeypatch.context() as patch:
            patch.setattr(service._shards[target].shard.committer, "commit", refuse)
            await around.publish(e.registered("phone"), at_home=True)
            await around.publish(*(e.invite(inviteId=str(number)) for number in range(40)), at_home=True)
            await around.heard("invitation", 40)
            await wait_until(lambda: source.room == 0, "as many are on their way as may be")
            assert len(source.in_flight) == 10
            await wait_until(lambda: service.readiness.state()[0], "the worker is ready all the same")

        async def all_known() -> bool:
            return bool(await around.client.hlen(f"{KEYS[target].base}calls:alice") == 40)

        await wait_until(all_known, "all has arrived")
        await around.quiet()
    await around.check()


async def test_what_was_taken_is_not_remembered_for_ever(
    around: Around, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.roles.commits._LOW_WATERMARK_S", 0.0)
    home, target = KEYS[shard_of("bob", SHARDS)], KEYS[shard_of("alice", SHARDS)]
    async with worker(valkey_url):
        await around.publish(e.registered("phone"), at_home=True)
        for number in range(20):
            await around.publish(e.invite(inviteId=str(number)), at_home=True)
            await around.heard("invitation", number + 1)
            await around.quiet()
        assert await around.client.zcard(target.taken(home.shard)) <= 2
        assert await around.client.hexists(f"{target.base}taken:floors", str(home.shard))
    await around.check()


async def test_operators_see_all_shards(
    around: Around, valkey_url: str, commands: Commands, tmp_path: Path
) -> None:
    """Commands and pages find a call wherever it is, and an event that is published by hand goes to its own shard."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"redis": {"shards": SHARDS}}))
    users = [f"u{number}" for number in range(12)]

    async def command(*arguments: str) -> str:
        ended = await asyncio.to_thread(commands.on_server, *arguments, "--config", str(file))
        assert ended.status == 0, ended.err
        return ended.out

    config = several(parse({"http": {"port": 0}}))
    async with contextlib.AsyncExitStack() as stack:
        server = HttpServer(config, await stack.enter_async_context(worker(valkey_url, config)), valkey_url)
        stack.push_async_callback(server.aclose)
        await server.start()
        http = await stack.enter_async_context(ClientSession(f"http://127.0.0.1:{server.port}"))
        await around.publish(*(e.registered(f"{user}-1", user) for user in users))
        await around.quiet()
        for user in users:
            home = KEYS[shard_of(user, SHARDS)]
            before = (await around.client.xinfo_stream(home.events))["entries-added"]
            kind, payload = e.invite(to=user)
            await command("publish", kind, json.dumps(payload))
            assert (await around.client.xinfo_stream(home.events))["entries-added"] == before + 1
        await around.heard("invitation", len(users))
        await around.quiet()
        for user in users:
            assert "PENDING" in await command("show", f"alice|1|{user}")
            async with http.get(f"/v1/users/{user}/invitations") as reply:
                assert [one["to"] for one in (await reply.json())["invitations"]] == [user]
            async with http.get(f"/v1/invites/alice/1/{user}") as reply:
                assert [one["address"] for one in (await reply.json())["candidates"]] == [user]
        shards = json.loads(await command("status", "--json"))["shards"]
        assert [one["shard"] for one in shards] == list(range(SHARDS))
        assert sum(one["pendingInvites"] for one in shards) == len(users)
        assert all(len(one["consumers"]) == 1 for one in shards)
        assert "FAIL" not in await command("check")


@pytest.mark.parametrize("target", [str(SHARDS), "-1"])
async def test_a_relay_entry_for_a_shard_that_does_not_exist_becomes_a_dead_letter(
    around: Around, valkey_url: str, target: str
) -> None:
    entry = {"kind": "x", "name": "bob", "entry": "1-0", "arguments": "[]", "shard": target}
    await around.client.xadd(KEYS[0].relay, entry)
    async with worker(valkey_url) as service:
        await around.quiet()
        assert not [task for task in service._tasks if task.done()]
    [(_, letter)] = await around.client.xrange(KEYS[0].dead)
    assert (
        letter[b"error"]
        == f"field shard is {target}, but there are only the shards 0 to {SHARDS - 1}".encode()
    )
