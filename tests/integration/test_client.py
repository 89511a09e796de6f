"""The client for publishers and gateways, on a real server, with workers in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from invites.client import (
    Accept,
    BadEvent,
    Decline,
    Disconnected,
    GetInvitations,
    Invite,
    LayoutError,
    Notification,
    Notifications,
    Peer,
    Publisher,
    Registered,
    Registry,
    RoomClosed,
    StopInvite,
    group,
    opaque,
)
from invites.client.shard_count import ShardCount
from invites.config import Config, Redis
from invites.connection.clients import Clients, connect
from invites.keys import Keys, shard_of
from invites.notifications import Invitation, InviteAccepted
from tests.support.proxy import Proxy
from tests.support.servers.node import Node
from tests.support.waiting import wait_until
from tests.support.worker import configured, running, worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEYS = Keys()
ALICE = Peer("a", "alice")
PHONE = Peer("phone", "bob")
CALL = Invite(peer=ALICE, to="bob", invite_id="1", room="r", context=opaque({"subject": "lunch"}))
REGISTERED = Registered(registry=Registry(id="phone", user="bob"))
RINGING: dict[str, Any] = {
    "inviteId": "1",
    "from": "alice",
    "to": "bob",
    "mediatypes": None,
    "fromDetails": None,
    "context": None,
    "inviteRequest": False,
    "expiresIn": 1_000,
    "resumed": False,
}
ACCEPT = Accept(peer=PHONE, from_="alice", invite_id="1")


async def heard(notifications: Notifications, kind: str) -> Notification:
    """The next notification of a type; all before it are done."""
    async with asyncio.timeout(15):
        async for one in notifications:
            notifications.done(one)
            if one.type == kind:
                return one
    raise AssertionError(kind)


async def told(client: Any, number: int, kind: str = "roomCleaned", **more: Any) -> None:
    """Write a notification as a worker does."""
    payload = {"roomId": f"r{number}", "invites": 0, **more}
    await client.xadd(KEYS.notifications, _fields(f"0-{number}-1", kind, payload))


def _fields(identity: str, kind: str, payload: dict[str, Any]) -> dict[Any, Any]:
    return {"id": identity, "type": kind, "peers": "[]", "users": "[]", "payload": json.dumps(payload)}


async def rooms(notifications: Notifications, count: int, *, done: bool = True) -> list[str]:
    """The rooms of the next `count` notifications."""
    found: list[str] = []
    async with asyncio.timeout(15):
        while len(found) < count:
            one = await anext(notifications)
            found.append(json.loads(one.raw)["roomId"])
            if done:
                notifications.done(one)
    return found


async def pending(client: Any, name: str) -> int:
    """How many notifications the group has not acknowledged."""
    return int((await client.xpending(KEYS.notifications, name))["pending"])


@pytest.mark.parametrize("shards", [1, 3])
async def test_a_call_from_the_invite_to_the_answer(valkey_url: str, shards: int) -> None:
    config = Config(invites=configured().invites, redis=Redis(shards=shards))
    async with (
        running(config, valkey_url),
        Publisher(valkey_url, shards=shards) as publisher,
        Notifications(valkey_url, shards=shards) as notifications,
    ):
        await publisher.publish(REGISTERED)
        await publisher.publish(CALL)
        rung = await heard(notifications, "invitation")
        assert isinstance(rung.payload, Invitation)
        assert (rung.peers, rung.payload.ref, rung.payload.context) == (
            ("phone",),
            "alice|1|bob",
            {"subject": "lunch"},
        )
        answer = await publisher.ask(ACCEPT)
        assert (answer.code, answer.reason, answer.who_accepted) == (200, "accepted", "bob")
        taken = await heard(notifications, "inviteAccepted")
        assert isinstance(taken.payload, InviteAccepted)
        assert (taken.peers, taken.payload.peer) == (("a",), "phone")


async def test_each_question_gets_its_own_answer(valkey_url: str) -> None:
    async with worker(valkey_url), Publisher(valkey_url) as publisher:
        asked = [
            publisher.ask(GetInvitations(peer=PHONE)),
            publisher.ask(GetInvitations(peer=ALICE, transaction=7)),
            publisher.ask(ACCEPT),
            publisher.ask(StopInvite(invite_id="2", callee="bob", peer=ALICE, transaction=7)),
        ]
        answers = await asyncio.gather(*asked)
    assert [(one.request, one.code) for one in answers] == [
        ("getInvitations", 200),
        ("getInvitations", 200),
        ("accept", 404),
        ("stopInvite", 200),
    ]
    assert answers[1].transaction == answers[3].transaction == 7


@pytest.mark.leaks
async def test_a_question_that_gets_no_answer_is_asked_again_and_says_so_in_the_end(
    valkey_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invites.client.publisher._AGAIN_S", 0.1)
    async with Publisher(valkey_url) as publisher:
        asking = asyncio.create_task(publisher.ask(ACCEPT))
        await wait_until(lambda: _are_published(client, 3), "it has been asked three times")
        sent = [json.loads(fields[b"payload"]) for _, fields in await client.xrange(KEYS.events)]
        assert len({one["transaction"] for one in sent}) == 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        with pytest.raises(
            TimeoutError, match=r"^accept of phone was not answered within 0\.3 s; `invites status`"
        ):
            await publisher.ask(ACCEPT, within_s=0.3)


async def _are_published(client: Any, count: int) -> bool:
    return int(await client.xlen(KEYS.events)) >= count


async def test_what_is_wrong_is_refused_before_it_is_published(valkey_url: str, client: Any) -> None:
    async with Publisher(valkey_url) as publisher:
        with pytest.raises(BadEvent, match=r"^field roomId must be a text of 1 to 255 characters"):
            await publisher.publish(RoomClosed(room_id="a b"))
        with pytest.raises(BadEvent, match=r"^field context has 4098 bytes"):
            await publisher.ask(Decline(peer=PHONE, from_="alice", invite_id="1", context=opaque("x" * 4096)))
        with pytest.raises(ValueError, match="a stopInvite without peer is not answered"):
            await publisher.ask(StopInvite(invite_id="1", callee="bob"))
        with pytest.raises(ValueError, match="shards must be 1 or more, not 0"):
            Publisher(valkey_url, shards=0)
    assert not await client.exists(KEYS.events)


async def test_what_was_not_done_comes_again_to_the_next_process_of_the_group(
    valkey_url: str, client: Any
) -> None:
    async with Notifications(valkey_url, group="records") as notifications:
        for number in range(3):
            await told(client, number)
        assert await rooms(notifications, 1) == ["r0"]
        assert await rooms(notifications, 2, done=False) == ["r1", "r2"]
    await told(client, 3)
    async with Notifications(valkey_url, group="records") as notifications:
        assert await rooms(notifications, 3) == ["r1", "r2", "r3"]
        await wait_until(lambda: _is_done(client, "records"), "all are acknowledged")


async def _is_done(client: Any, name: str) -> bool:
    return await pending(client, name) == 0


async def test_what_one_reader_of_a_group_leaves_another_one_gets(valkey_url: str, client: Any) -> None:
    first = Notifications(valkey_url, group="records", consumer="first")
    await first.start()
    await told(client, 0)
    assert await rooms(first, 1, done=False) == ["r0"]
    await first.aclose()
    second = Notifications(valkey_url, group="records", consumer="second", claim_after_ms=200)
    async with second:
        assert await rooms(second, 1) == ["r0"]


async def test_a_temporary_group_goes_with_its_reader_and_one_that_was_left_goes_too(
    valkey_url: str, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await told(client, 0)
    for name in ("temporary:gone", "temporary:starting", "kept"):
        await client.xgroup_create(KEYS.notifications, name, "0")
    for name in ("temporary:gone", "kept"):
        await client.xgroup_createconsumer(KEYS.notifications, name, "reader")
    monkeypatch.setattr(group, "_DEAD_MS", 20)
    await asyncio.sleep(0.05)
    caplog.set_level(logging.INFO)
    async with Notifications(valkey_url) as notifications:
        await told(client, 1)
        assert await rooms(notifications, 1) == ["r1"], "it begins with what is told after it"
        assert await _groups(client) > {"temporary:starting", "kept"}
    assert await _groups(client) == {"temporary:starting", "kept"}
    assert "Dropped temporary:gone, the group of a reader that is gone." in caplog.text
    with pytest.raises(ValueError, match="begins with temporary:"):
        Notifications(valkey_url, group="temporary:mine")


async def _groups(client: Any) -> set[str]:
    return {one["name"].decode() for one in await client.xinfo_groups(KEYS.notifications)}


async def test_a_reader_is_connected_before_its_first_notification(valkey_url: str, client: Any) -> None:
    async with Notifications(valkey_url) as notifications:

        async def waits() -> bool:
            return any("b" in one["flags"] for one in await client.client_list())

        await wait_until(waits, "the server keeps the read waiting")
        assert notifications.is_connected


async def test_a_quiet_reader_does_not_look_as_if_it_were_gone(
    redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 7.0 counts a consumer as idle whose reads find nothing."""
    monkeypatch.setattr("invites.client.reader._LONGEST_KEEP_S", 0.1)
    keys, falls, last = Keys("quiet"), 0, 0
    async with Notifications(redis_server, prefix="quiet") as quiet:
        client: Any = quiet._commands.of(keys)
        (own,) = await client.xinfo_groups(keys.notifications)

        async def not_idle() -> bool:
            nonlocal falls, last
            (consumer,) = await client.xinfo_consumers(keys.notifications, own["name"])
            before, last = last, int(consumer["idle"])
            falls += last < before
            return falls == 9  # in 15 s, in which eight reads give up

        await wait_until(not_idle, "its consumer has shown nine times that it is there")


async def test_repeats_stale_invitations_and_what_is_no_notification_are_left_out(
    valkey_url: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    now = int(time.time() * 1000)
    async with Notifications(valkey_url, group="records") as notifications:
        await client.xadd(KEYS.notifications, _fields("0-1-1", "invitation", RINGING), id=f"{now - 1_001}-0")
        await told(client, 2)
        await told(client, 2)
        await client.xadd(KEYS.notifications, {"id": "0-3-1", "type": "roomCleaned"})
        await told(client, 4, "roomPainted")
        assert await rooms(notifications, 2) == ["r2", "r4"]
        await wait_until(lambda: _is_done(client, "records"), "all are acknowledged")
    assert "of shard 0 cannot be read: field peers is missing" in caplog.text


async def test_an_invitation_whose_time_ends_while_its_owner_is_slow_is_left_out(
    valkey_url: str, client: Any
) -> None:
    async with Notifications(valkey_url, group="records") as notifications:
        ringing = _fields("0-1-1", "invitation", {**RINGING, "expiresIn": 60_000})
        await client.xadd(KEYS.notifications, ringing)
        await told(client, 2)
        await wait_until(lambda: len(notifications._came) == 2, "both have arrived")
        (reader,) = notifications._readers
        reader._clock.ahead_ms += 60_000
        assert await rooms(notifications, 1) == ["r2"]
        await wait_until(lambda: _is_done(client, "records"), "both are acknowledged")


async def test_a_reader_takes_over_no_more_than_it_may_hold(valkey_url: str, client: Any) -> None:
    await client.xgroup_create(KEYS.notifications, "records", "0", mkstream=True)
    async with client.pipeline(transaction=False) as pipe:
        for number in range(1_500):
            fields = _fields(f"0-{number}-1", "roomCleaned", {"roomId": f"r{number}", "invites": 0})
            pipe.xadd(KEYS.notifications, fields)
        await pipe.execute()
    await client.xreadgroup("records", "gone", {KEYS.notifications: ">"})
    async with Notifications(valkey_url, group="records", claim_after_ms=20) as notifications:
        (reader,) = notifications._readers
        await wait_until(lambda: len(notifications._came) >= 1_000, "it has taken over what it may hold")
        await reader._keep()
        assert len(notifications._came) <= 1_100
        assert len(await rooms(notifications, 1_500)) == 1_500


async def test_after_a_loss_of_data_the_reader_goes_on(valkey_url: str, client: Any) -> None:
    async with Notifications(valkey_url, group="records") as notifications:
        await told(client, 0)
        assert await rooms(notifications, 1) == ["r0"]
        await client.flushall()
        await told(client, 1)
        assert await rooms(notifications, 1) == ["r1"]


async def test_a_group_that_was_dropped_goes_on_where_it_was(valkey_url: str, client: Any) -> None:
    async with Notifications(valkey_url, group="records") as notifications:
        for number in range(3):
            await told(client, number)
        assert await rooms(notifications, 3) == ["r0", "r1", "r2"]
        await client.xgroup_destroy(KEYS.notifications, "records")
        await told(client, 3)
        assert await rooms(notifications, 1) == ["r3"]


async def test_on_a_full_server_a_reader_connects_again_and_a_group_that_is_there_is_read(
    valkey_url: str, client: Any
) -> None:
    try:
        async with Notifications(valkey_url, group="records") as records, Notifications(valkey_url) as own:
            await told(client, 0)
            assert await rooms(records, 1) == await rooms(own, 1) == ["r0"]
            await client.config_set("maxmemory", 1)
            await client.client_kill_filter(_type="normal", skipme=True)
            await _told_when_full(client, 1)
            assert await rooms(records, 1) == await rooms(own, 1) == ["r1"]
        async with Notifications(valkey_url, group="records") as records:
            await _told_when_full(client, 2)
            assert await rooms(records, 1) == ["r2"]
    finally:
        await client.config_set("maxmemory", 0)


async def _told_when_full(client: Any, number: int) -> None:
    """Write a notification as a worker's function does on a server that is out of memory."""
    fields = _fields(f"0-{number}-1", "roomCleaned", {"roomId": f"r{number}", "invites": 0})
    script = "#!lua flags=allow-oom\nreturn redis.call('XADD', KEYS[1], '*', unpack(ARGV))"
    await client.eval(script, 1, KEYS.notifications, *(text for pair in fields.items() for text in pair))


async def test_a_reader_that_finishes_nothing_reads_no_more(valkey_url: str, client: Any) -> None:
    async with Notifications(valkey_url, group="records") as notifications:
        async with client.pipeline(transaction=False) as pipe:
            for number in range(1_500):
                fields = _fields(f"0-{number}-1", "roomCleaned", {"roomId": f"r{number}", "invites": 0})
                pipe.xadd(KEYS.notifications, fields)
            await pipe.execute()
        first = [await anext(notifications) for _ in range(1_000)]
        more = asyncio.create_task(rooms(notifications, 101, done=False))
        await asyncio.sleep(0.3)
        assert not more.done()
        assert await pending(client, "records") <= 1_100
        for one in first:
            notifications.done(one)
        assert len(await more) == 101


@contextlib.asynccontextmanager
async def _through_a_proxy(url: str) -> AsyncIterator[Proxy]:
    async with Proxy(int(url.rpartition(":")[2].partition("/")[0])) as proxy:
        yield proxy


@pytest.mark.leaks
async def test_connections_that_are_cut_lose_and_double_nothing(valkey_url: str, client: Any) -> None:
    async with (
        _through_a_proxy(valkey_url) as proxy,
        Notifications(proxy.url, group="records") as notifications,
        Publisher(proxy.url) as publisher,
    ):
        found: list[str] = []
        for number in range(20):
            await told(client, number)
            if number % 5 == 0:
                proxy.cut()
            await publisher.publish(RoomClosed(room_id=f"r{number}"))
            found += await rooms(notifications, 1)
        assert found == [f"r{number}" for number in range(20)]
        await wait_until(lambda: _is_done(client, "records"), "all are acknowledged")
        published = [
            json.loads(fields[b"payload"])["roomId"] for _, fields in await client.xrange(KEYS.events)
        ]
        assert list(dict.fromkeys(published)) == found


async def test_a_lost_reply_of_a_read_loses_nothing(valkey_url: str, client: Any) -> None:
    async with (
        _through_a_proxy(valkey_url) as proxy,
        Notifications(proxy.url, group="records") as notifications,
    ):
        proxy.lose_reply(b"XREADGROUP", b"r0")
        await told(client, 0)
        assert await rooms(notifications, 1) == ["r0"]
        assert proxy.lost.is_set()


async def test_replies_that_the_server_cuts_off_become_smaller() -> None:
    """The server closes a connection whose replies take more memory than `client-output-buffer-limit` allows."""
    with Node({"client-output-buffer-limit": "normal 1mb 1mb 10"}) as node:
        async with connect(node.url, "test") as client:
            await client.xgroup_create(KEYS.notifications, "records", "0", mkstream=True)
            for number in range(40):
                await told(client, number, context="x" * 60_000)
        async with Notifications(node.url, group="records") as notifications:
            assert await rooms(notifications, 40) == [f"r{number}" for number in range(40)]


async def test_an_answer_among_notifications_that_the_server_cuts_off_is_heard() -> None:
    """All come at once: one commit may notify many devices, each with a large context."""
    answer = {
        "inviteId": "1",
        "from": "alice",
        "to": "bob",
        "request": "accept",
        "transaction": 7,
        "code": 410,
    }
    fields = _fields("1-0-1", "answer", {**answer, "reason": "gone"}) | {"peers": '["phone"]'}
    with Node({"client-output-buffer-limit": "normal 1mb 1mb 10"}) as node:
        async with connect(node.url, "test") as client, Publisher(node.url) as publisher:
            asking = asyncio.create_task(publisher.ask(msgspec.structs.replace(ACCEPT, transaction=7)))
            await wait_until(lambda: _are_published(client, 1), "it has been asked")
            async with client.pipeline(transaction=True) as commit:
                for number in range(40):
                    await told(commit, number, context="x" * 60_000)
                await commit.xadd(KEYS.notifications, fields)
                await commit.execute()
            assert (await asking).code == 410


@pytest.mark.leaks
async def test_a_publisher_waits_for_a_server_that_is_away_but_not_for_ever(valkey_url: str) -> None:
    async with _through_a_proxy(valkey_url) as proxy, Publisher(proxy.url) as publisher:
        await proxy.down()
        with pytest.raises(RedisConnectionError):
            await publisher.publish(REGISTERED, within_s=0.2)
        publishing = asyncio.create_task(publisher.publish(REGISTERED))
        await asyncio.sleep(0.2)
        assert not publishing.done()
        await proxy.up()
        await publishing


@pytest.mark.leaks
async def test_events_for_a_server_that_hangs_hold_up_none_for_another_one(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _through_a_proxy(valkey_url) as proxy, Clients(proxy.url, "publisher") as hanging:
        proxy.request_delay_s = 60
        async with Publisher(valkey_url, shards=2) as publisher:
            publisher.checks_shards = False
            served, clients = publisher._clients.of, publisher._clients
            monkeypatch.setattr(clients, "of", lambda keys: (hanging.of if keys.shard else served)(keys))
            rooms = [f"r{number}" for number in range(1_000)]
            hung = [RoomClosed(room_id=room) for room in rooms if shard_of(room, 2) == 1][:100]
            other = next(RoomClosed(room_id=room) for room in rooms if shard_of(room, 2) == 0)
            waiting = [asyncio.create_task(publisher.publish(event, within_s=0.1)) for event in hung]
            publishing = asyncio.create_task(publisher.publish(other))
            first, _ = await asyncio.wait([publishing, *waiting], return_when=asyncio.FIRST_COMPLETED)
            assert first == {publishing}
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_event_does_not_overtake_one_whose_task_was_cancelled(valkey_url: str, client: Any) -> None:
    """Otherwise a device that has gone as it registered would stay registered."""
    async with _through_a_proxy(valkey_url) as proxy, Publisher(proxy.url) as publisher:
        await publisher.publish(CALL)
        proxy.hold(b"registry")
        registering = asyncio.create_task(publisher.publish(REGISTERED))
        await proxy.held.wait()
        registering.cancel()
        await asyncio.wait([registering])
        leaving = asyncio.create_task(publisher.publish(Disconnected(peer=PHONE)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(leaving)
        proxy.released.set()
        await leaving
        await wait_until(lambda: _has_published(client, 3), "all is published")
        published = [fields[b"type"] for _, fields in await client.xrange(KEYS.events)]
        assert published == [b"invite", b"registered", b"disconnected"]
        await client.delete(KEYS.events)


async def _has_published(client: Any, count: int) -> bool:
    return int(await client.xlen(KEYS.events)) == count


async def test_a_wait_that_is_given_up_loses_nothing(valkey_url: str, client: Any) -> None:
    async with Notifications(valkey_url, group="records") as notifications:
        for number in range(20):
            waiting = asyncio.create_task(anext(notifications))
            await told(client, number)
            await asyncio.sleep(0.002 * (number % 5))
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                notifications.done(await waiting)
        await wait_until(lambda: _nothing_waits(client, notifications), "each has been taken")


async def _nothing_waits(client: Any, notifications: Notifications) -> bool:
    while notifications._came:
        notifications.done(await anext(notifications))
    return await pending(client, "records") == 0 and not await _lag(client)


async def _lag(client: Any) -> int:
    (group_,) = await client.xinfo_groups(KEYS.notifications)
    return int(group_["lag"] or 0)


async def test_a_number_beyond_any_float_leaves_the_notification_readable(
    valkey_url: str, client: Any
) -> None:
    fields = _fields(
        "0-1-1", "inviteRejected", {"inviteId": "i", "from": "a", "to": "b", "code": 603, "reason": "x"}
    )
    fields["payload"] = fields["payload"][:-1] + ',"context":1e999}'
    async with Notifications(valkey_url) as notifications:
        await client.xadd(KEYS.notifications, fields)
        one = await anext(notifications)
        assert (one.type, one.payload, one.raw) == ("inviteRejected", None, fields["payload"].encode())


async def test_a_question_while_the_server_is_away_ends_in_time(valkey_url: str) -> None:
    async with _through_a_proxy(valkey_url) as proxy, Publisher(proxy.url) as publisher:
        await proxy.down()
        with pytest.raises(TimeoutError, match=r"was not answered within 0\.5 s"):
            await publisher.ask(ACCEPT, within_s=0.5)


async def test_a_reader_that_was_not_started_says_so(valkey_url: str) -> None:
    notifications = Notifications(valkey_url)
    with pytest.raises(RuntimeError, match="the notifications are not being read"):
        await anext(notifications)
    await notifications.aclose()


# --- the number of shards


async def _calls_are_in(client: Any, shards: str) -> None:
    await client.set(KEYS.layout, shards)


@pytest.mark.leaks  # the layout is written by hand
async def test_a_publisher_with_more_shards_than_the_workers_is_refused(
    valkey_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would read its events. With fewer shards they take a hop, but answers could be missed."""
    monkeypatch.setattr("invites.client.shard_count.EVERY_S", 0.0)
    await _calls_are_in(client, "2")
    async with Publisher(valkey_url, shards=3) as publisher:
        with pytest.raises(
            LayoutError, match=r"in 2 shards, but the client's shards is 3: set the client's shards to 2"
        ):
            await publisher.publish(CALL)
        with pytest.raises(LayoutError):
            await publisher.ask(ACCEPT)
        assert await client.keys("*events") == []
        await _calls_are_in(client, "2>3")
        await publisher.publish(CALL)
    async with Publisher(valkey_url) as publisher:
        await publisher.publish(CALL)
        with pytest.raises(LayoutError, match=r"moved from 2 shards to 3, but the client's shards is 1"):
            await publisher.ask(ACCEPT)


@pytest.mark.leaks
async def test_a_question_whose_answer_may_be_in_a_new_shard_is_given_up(
    valkey_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits until a reshard is over."""
    monkeypatch.setattr("invites.client.shard_count.EVERY_S", 0.01)
    monkeypatch.setattr("invites.client.publisher._AGAIN_S", 0.01)
    await _calls_are_in(client, "1>3")
    async with Publisher(valkey_url) as publisher:
        asking = asyncio.create_task(publisher.ask(ACCEPT, within_s=10.0))

        async def asked_twice() -> bool:
            return bool(await client.xlen(KEYS.events) > 1)

        await wait_until(asked_twice, "the question is repeated")
        await _calls_are_in(client, "3")
        with pytest.raises(LayoutError, match=r"in 3 shards, but the client's shards is 1"):
            await asking


@pytest.mark.leaks
async def test_a_reader_of_fewer_shards_than_the_workers_have_is_refused(
    valkey_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, and once a reshard is over."""
    monkeypatch.setattr("invites.client.shard_count.EVERY_S", 0.01)
    monkeypatch.setattr("invites.client.notifications.EVERY_S", 0.01)
    await _calls_are_in(client, "3")
    with pytest.raises(LayoutError, match=r"in 3 shards, but the client's shards is 1"):
        async with Notifications(valkey_url):
            pass
    assert await client.keys() == [KEYS.layout.encode()]
    await _calls_are_in(client, "1>3")
    async with Notifications(valkey_url) as former, Notifications(valkey_url, shards=3) as latter:
        await told(client, 1)
        assert await rooms(former, 1) == await rooms(latter, 1) == ["r1"]
        await _calls_are_in(client, "3")
        with pytest.raises(LayoutError, match=r"set the client's shards to 3"):
            await rooms(former, 1)
        await told(client, 2)
        assert await rooms(latter, 1) == ["r2"]
        await _calls_are_in(client, "1")  # a reader may be ahead of a reshard
        await told(client, 3)
        assert await rooms(latter, 1) == ["r3"]


@pytest.mark.leaks
async def test_the_number_of_shards_costs_no_round_trip_for_each_event(valkey_url: str, client: Any) -> None:
    async with Publisher(valkey_url) as publisher:
        for _ in range(20):
            await publisher.publish(CALL)
    calls = (await client.info("commandstats"))["cmdstat_get"]["calls"]
    async with Publisher(valkey_url) as publisher:
        for _ in range(20):
            await publisher.publish(CALL)
    assert (await client.info("commandstats"))["cmdstat_get"]["calls"] == calls + 1


@pytest.mark.leaks
async def test_a_publisher_that_may_not_read_the_number_of_shards_goes_on_with_a_warning(
    valkey_url: str, client: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it may: an operator completes the ACL."""
    monkeypatch.setattr("invites.client.shard_count.DENIED_S", 0.0)
    await _calls_are_in(client, "3")
    rules = ("reset", "on", ">x", "~*", "+@all", "-get")
    await client.execute_command("ACL", "SETUSER", "shards", *rules)
    try:
        async with Publisher(valkey_url.replace("redis://", "redis://shards:x@"), shards=7) as publisher:
            for _ in range(2):
                await publisher.publish(CALL)
            await client.execute_command("ACL", "SETUSER", "shards", "+get")

            async def is_refused() -> bool:
                try:
                    await publisher.publish(CALL)
                except LayoutError:
                    return True
                return False

            await wait_until(is_refused, "the number of shards is compared")
    finally:
        await client.execute_command("ACL", "DELUSER", "shards")
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert warning.startswith(f"The server's user may not GET {KEYS.layout}")


@pytest.mark.leaks
async def test_a_shard_is_published_to_while_the_number_of_shards_cannot_be_read(
    valkey_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster the number may be on another server, which hangs."""
    monkeypatch.setattr("invites.client.shard_count._WAIT_S", 0.05)
    async with (
        Proxy(int(valkey_url.rpartition(":")[2].partition("/")[0])) as proxy,
        Publisher(valkey_url) as publisher,
        Clients(proxy.url, "elsewhere") as elsewhere,
    ):
        proxy.delay_s = 60.0
        monkeypatch.setattr(publisher, "_count", ShardCount(elsewhere.of(KEYS), KEYS))
        await publisher.publish(CALL)
        await publisher._count.aclose()
    assert await client.xlen(KEYS.events) == 1
