"""A user that may no longer write: nothing is lost, and all effects come once the permission is back."""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from invites.events.decoding import decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.keys import Keys, Stream, shard_of
from invites.store.announcement import WorkerState
from invites.store.answers import Outcome, Status
from invites.store.commit import TakeMode
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Json, Server, Shard, make_groups, peer
from tests.support.shards import messages_of

USER = "limited"
WRITES = ("DEL", "HDEL", "HSET", "PEXPIREAT", "SADD", "SET", "SREM", "XACK", "XADD", "ZADD", "ZREM")

pytestmark = pytest.mark.one_shard


class Limited:
    """One shard, settled by a user whose permissions a test takes and gives back."""

    def __init__(self, admin: Any, shard: Shard) -> None:
        self.admin = admin
        self.shard = shard

    async def take(self, *commands: str) -> None:
        """Take away the permission for these commands."""
        await self.admin.execute_command("ACL", "SETUSER", USER, *(f"-{one.lower()}" for one in commands))

    async def give_back(self) -> None:
        """Allow everything again."""
        await self.admin.execute_command("ACL", "SETUSER", USER, "+@all")


@pytest.fixture
async def limited(server: Server) -> AsyncIterator[Limited]:
    """A user that may still do everything."""
    if not server.flags:
        pytest.skip("fakeredis has no ACL")
    admin: Any = server.client
    await admin.execute_command("ACL", "SETUSER", USER, "reset", "on", ">x", "~*", "&*", "+@all")
    async with Redis.from_url(server.url, username=USER, password="x") as client:
        yield Limited(admin, await Shard.make(client))
    await admin.execute_command("ACL", "DELUSER", USER)


async def _state(limited: Limited) -> Json:
    """All keys with their contents, except the consumers' own."""
    keys = sorted(await limited.admin.keys("invites:*"))
    return {key: await limited.admin.dump(key) for key in keys}


async def _pending(limited: Limited) -> int:
    return int((await limited.admin.xpending(limited.shard.keys.events, "workers"))["pending"])


async def _attempt(limited: Limited, operation: Operation) -> Outcome | None:
    """The outcome of an operation; None when it was denied."""
    try:
        [outcome] = (await limited.shard.committer.commit([operation])).outcomes
    except NoPermissionError:
        return None
    return outcome


@pytest.mark.parametrize("command", WRITES)
async def test_nothing_is_settled_while_a_command_is_denied(limited: Limited, command: str) -> None:
    shard = limited.shard
    await shard.event(*e.registered("phone"))
    operations = [await shard.publish(*e.invite()), await shard.publish(*e.ringing("phone"))]
    shard.now += 2_000
    await limited.take(command)
    before = await _state(limited)
    for _ in range(2):
        with pytest.raises(NoPermissionError, match=rf"denies the Redis user {command}:"):
            await shard.committer.commit(operations)
        with pytest.raises(NoPermissionError, match=command):
            await shard.committer.fire()
    assert await _state(limited) == before
    assert await shard.committer.denied() == [command]

    await limited.give_back()
    assert await shard.committer.denied() == []
    outcomes = (await shard.committer.commit(operations)).outcomes
    assert [one.status for one in outcomes] == [Status.DONE] * 2
    assert e.types(await shard.told()) == ["invitation", "inviteProgress", "inviteProgress"]


@pytest.mark.parametrize("command", WRITES)
@pytest.mark.parametrize("step", range(5))
async def test_an_event_that_is_denied_half_way_is_completed_later(
    limited: Limited, command: str, step: int
) -> None:
    """The permission is taken right after a commit that had asked for it."""
    shard = limited.shard
    whole = [e.registered("phone"), e.joined("carol"), e.invite(), e.ringing("phone"), e.accept("phone")]
    for event in whole[:step]:
        await shard.event(*event)
    operation = await shard.publish(*whole[step])
    await shard.committer.fire()
    await limited.take(command)
    outcome = await _attempt(limited, operation)
    if outcome is None:
        with pytest.raises(NoPermissionError, match=command):
            await shard.committer.commit([operation])
    await limited.give_back()
    if outcome is None:
        await shard.committer.commit([operation])
    for event in whole[step + 1 :]:
        await shard.event(*event)

    assert await _pending(limited) == 0
    assert not await limited.admin.exists(shard.keys.owed)
    notifications = [
        (fields[b"type"].decode(), fields[b"id"].decode())
        for _, fields in await limited.admin.xrange(shard.keys.notifications)
    ]
    assert [kind for kind, _ in notifications] == [
        "invitation", "inviteProgress", "inviteProgress", "inviteAccepted", "INVITE_COMPLETED", "answer",
    ]  # fmt: skip
    assert len({id_ for _, id_ in notifications}) == len(notifications)
    assert await limited.admin.zcard(shard.keys.timers) == 0
    assert await limited.admin.scard(shard.keys.pending("bob")) == 0
    assert (await shard.invite(e.REF))["state"] == "ACCEPTED"


@pytest.mark.parametrize("command", WRITES)
async def test_a_time_out_that_is_denied_half_way_is_completed_later(limited: Limited, command: str) -> None:
    shard = limited.shard
    for event in (e.registered("phone"), e.invite()):
        await shard.event(*event)
    shard.now += e.RING
    await shard.event(*e.joined("carol"))
    await limited.take(command)
    denied = False
    try:
        await shard.committer.fire()
    except NoPermissionError:
        denied = True
    await limited.give_back()
    await shard.fire()
    records = [
        fields
        for _, fields in await limited.admin.xrange(shard.keys.notifications)
        if fields[b"type"] == b"INVITE_COMPLETED"
    ]
    assert len(records) == 1
    assert denied or command not in {"XADD", "HSET"}
    assert await limited.admin.zcard(shard.keys.timers) == 0


TWO = [Keys(shard=number, shards=2) for number in range(2)]
HERE, THERE = (
    [name for name in map("n{}".format, range(20)) if shard_of(name, 2) == number] for number in range(2)
)


@pytest.mark.parametrize("command", ["XADD", "HSET", "PEXPIREAT"])
async def test_messages_for_another_shard_come_once_although_their_commit_is_denied_half_way(
    limited: Limited, command: str
) -> None:
    first = Shard(limited.shard.client, Settings(), Scripts(), TWO[0])
    await make_groups(first.client, first.keys)
    callee, other, phone = HERE[:3]
    caller, room = THERE[:2]
    await first.event(*e.registered(phone, callee))
    events = (e.room_closed(other), e.invite(peer("c", caller), callee, room=room), e.room_closed(HERE[3]))
    operations = [await first.publish(*event) for event in events]
    await first.client.delete(first.keys.relay)
    await first.committer.fire()
    await limited.take(command)
    for _ in range(2):
        with pytest.raises(NoPermissionError, match=command):
            await first.committer.commit(operations)
    await limited.give_back()
    await first.committer.commit(operations)
    sent = [
        message["kind"]
        for entry, fields in await limited.admin.xrange(first.keys.relay)
        for message in messages_of(Entry(entry.decode(), fields))
    ]
    assert sorted(sent) == ["call_started", "room_entered"]
    assert not await limited.admin.exists(first.keys.owed)


def _started(user: str) -> list[str]:
    return ["call_started", user, "1600000000000-0", f"{user}|1|bob", f"{user}-0", "", "1600000000000-0"]


def _bundle(entry: str, *messages: list[str]) -> Operation:
    fields = {b"shard": b"0", b"messages": json.dumps(messages).encode()}
    return decode_relay_entry(Entry(entry, fields), max_deliveries=5, keys=TWO[1])


@pytest.fixture
async def bundle(limited: Limited) -> Operation:
    """Messages of another shard, of which an earlier one has been taken."""
    await limited.shard.committer.commit([_bundle("1699999999999-0", _started("dave"))], TakeMode(1, "0-0"))
    freed = ["room_freed", "r", "1600000000000-0", e.REF, "1"]
    return _bundle("1700000000000-0", freed, _started("alice"), _started("carol"))


@pytest.mark.parametrize("command", WRITES)
async def test_a_bundle_that_is_denied_half_way_is_completed_later(
    limited: Limited, bundle: Operation, command: str
) -> None:
    shard, mode = limited.shard, TakeMode(1, "0-0")
    await limited.take(command)
    with contextlib.suppress(NoPermissionError):
        await shard.committer.commit([bundle], mode)
    await limited.give_back()
    await shard.committer.commit([bundle], mode)
    await shard.relay()
    assert [await limited.admin.hlen(shard.keys.calls(user)) for user in ("alice", "carol")] == [1, 1]
    assert await limited.admin.exists(f"{shard.keys.base}over:{e.REF}")
    assert not await limited.admin.exists(shard.keys.owed)


@pytest.mark.parametrize("commands", [("SET",), ("SET", "HSET"), ("SET", "HSET", "XADD", "ZADD")])
async def test_a_bundle_is_not_taken_while_nothing_can_be_owed(
    limited: Limited, bundle: Operation, commands: tuple[str, ...]
) -> None:
    shard, mode = limited.shard, TakeMode(1, "0-0")
    before = await _state(limited)
    await limited.take(*commands)
    with pytest.raises(NoPermissionError, match="SET"):
        await shard.committer.commit([bundle], mode)
    assert await _state(limited) == before
    await limited.give_back()
    [outcome] = (await shard.committer.commit([bundle], mode)).outcomes
    assert outcome.status is Status.DONE
    assert [await limited.admin.hlen(shard.keys.calls(user)) for user in ("alice", "carol")] == [1, 1]


async def test_an_event_is_not_settled_while_nothing_can_be_owed(limited: Limited) -> None:
    shard = limited.shard
    operation = await shard.publish(*e.registered("phone"))
    await shard.committer.fire()
    before = await _state(limited)
    await limited.take("SET", "HSET")
    with pytest.raises(NoPermissionError, match="SET"):
        await shard.committer.commit([operation])
    assert await _state(limited) == before
    await limited.give_back()
    await shard.committer.commit([operation])
    assert await shard.hash(shard.keys.registry("bob"))


def _beside_commits(shard: Shard) -> dict[str, Callable[[], Awaitable[object]]]:
    """The calls of a worker to a shard besides commits, by a command that each needs."""
    committer, keys = shard.committer, shard.keys
    state = WorkerState("worker", 0, None)
    return {
        "PEXPIREAT": lambda: committer.ensure([Stream.EVENTS], state, "", "origin"),
        "XTRIM": lambda: committer.trim(keys.events),
        "XGROUP|DELCONSUMER": lambda: committer.retire_consumer("gone", 0),
    }


@pytest.mark.parametrize("command", ["PEXPIREAT", "XTRIM", "XGROUP|DELCONSUMER"])
async def test_what_is_denied_beside_commits_is_no_bug(limited: Limited, command: str) -> None:
    shard = limited.shard
    await shard.event(*e.registered("phone"))
    await limited.admin.xgroup_createconsumer(shard.keys.events, "workers", "gone")
    await limited.take(command)
    named = rf"denies the Redis user ({re.escape(command)}|a command of a function):"  # Redis 7.0 names none
    with pytest.raises(NoPermissionError, match=named):
        await _beside_commits(shard)[command]()
    await limited.give_back()
    await _beside_commits(shard)[command]()
