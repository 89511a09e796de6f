"""The Node client against a real server and real workers: calls, deaths, losses, entries to drop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from invites.connection.clients import Clients
from invites.keys import Keys
from tests.deploy import installations, programs
from tests.support.proxy import Proxy
from tests.support.servers.node import LASTING, Node
from tests.support.waiting import wait_until
from workers.lab.child_process import ChildProcess
from workers.lab.worker_process import start_worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.programs import Program
    from tests.support.servers.cluster import Cluster

KEYS: Final = Keys()
SHARDS: Final = 2
ALICE: Final = {"id": "p-alice", "user": "alice"}
PHONE: Final = {"id": "p-phone", "user": "bob"}
DESK: Final = {"id": "p-desk", "user": "carol"}
GATEWAY: Final = {"reading": {"group": "gateway-1"}}


@pytest.fixture
def worker(valkey_url: str) -> Iterator[ChildProcess]:
    with start_worker(valkey_url, {"invites": {"redial": "ring"}}) as process:
        yield process


@pytest.fixture
def two_shards(valkey_url: str) -> Iterator[list[Keys]]:
    with start_worker(valkey_url, {"redis": {"shards": SHARDS}}):
        yield [Keys(shard=number, shards=SHARDS) for number in range(SHARDS)]


@pytest.fixture
async def publisher(project: Path, valkey_url: str) -> AsyncIterator[Program]:
    async with programs.running(project, {"url": valkey_url}) as program:
        yield program


async def call(publisher: Program, invite_id: str, callee: str = "bob") -> None:
    payload = {"peer": ALICE, "to": callee, "inviteId": invite_id, "room": "r1"}
    await publisher.say("publish", "invite", payload)
    await publisher.tells("published")


async def register(publisher: Program, peer: dict[str, str]) -> None:
    await publisher.say("publish", "registered", {"registry": peer})
    await publisher.tells("published")


async def pending(client: Redis, group: str = "gateway-1") -> int:
    summary: Any = await client.xpending(KEYS.notifications, group)
    return int(summary["pending"])


async def none_pending(client: Redis) -> bool:
    return await pending(client) == 0


async def test_two_programs_make_calls_in_two_shards(
    project: Path, client: Redis, valkey_url: str, two_shards: list[Keys]
) -> None:
    settings = {"url": valkey_url, "shards": SHARDS, "reading": {}}
    async with programs.running(project, settings) as gateway, programs.running(project, settings) as caller:
        for number, peer in enumerate((PHONE, DESK)):
            await register(gateway, peer)
            await call(caller, f"i{number}", peer["user"])
            invitation = await gateway.tells("heard", "invitation")
            assert invitation["peers"] == [peer["id"]]
            answer = {"peer": peer, "from": "alice", "inviteId": f"i{number}"}
            await gateway.say("ask", "accept", answer)
            accepted = await caller.tells("heard", "inviteAccepted")
            assert (accepted["payload"]["peer"], accepted["shard"]) == (peer["id"], invitation["shard"])
            told = await gateway.tells("answer")
            assert (told["answer"]["code"], told["answer"]["request"]) == (200, "accept")
        assert {line["shard"] for line in gateway.told if line.get("heard") == "invitation"} == {0, 1}
        assert all([len(await client.xinfo_groups(keys.notifications)) == SHARDS for keys in two_shards])
        await gateway.close()
        await caller.close()
    assert [await client.xinfo_groups(keys.notifications) for keys in two_shards] == [[], []]


async def test_replies_that_the_server_cuts_off_become_smaller(project: Path) -> None:
    """The server closes a connection whose replies take more memory than `client-output-buffer-limit` allows."""
    rooms = [f"r{number}" for number in range(40)]
    with Node({"client-output-buffer-limit": "normal 1mb 1mb 10"}) as node:
        async with Redis.from_url(node.url) as client:
            await client.xgroup_create(KEYS.notifications, "gateway-1", "0", mkstream=True)
            for number, room in enumerate(rooms):
                payload = {"userId": "bob", "roomId": room, "padding": "x" * 60_000}
                fields: dict[Any, Any] = {"id": f"1-{number}-0-1", "type": "userJoined", "peers": "[]"}
                fields |= {"users": "[]", "payload": json.dumps(payload)}
                await client.xadd(KEYS.notifications, fields)
        async with programs.running(project, {"url": node.url, **GATEWAY}) as gateway:
            for room in rooms:
                assert (await gateway.tells("heard", "userJoined"))["payload"]["roomId"] == room


async def test_an_answer_among_notifications_that_the_server_cuts_off_is_heard(project: Path) -> None:
    """All come at once: one commit may notify many devices, each with a large context."""
    with Node({"client-output-buffer-limit": "normal 1mb 1mb 10"}) as node:
        async with (
            Redis.from_url(node.url) as client,
            programs.running(project, {"url": node.url}) as publisher,
        ):
            await publisher.say("ask", "getInvitations", {"peer": PHONE, "transaction": 7})
            await wait_until(lambda: _has_asked(client), "it has asked")
            async with client.pipeline(transaction=True) as commit:
                for number in range(40):
                    context = {"userId": "bob", "roomId": "r", "padding": "x" * 60_000}
                    await _write(commit, f"1-{number}-0-1", "userJoined", context)
                answer = {"request": "getInvitations", "transaction": 7, "code": 200, "invitations": []}
                await _write(commit, "2-0-0-1", "answer", answer, peer=PHONE["id"])
                await commit.execute()
            assert (await publisher.tells("answer"))["answer"]["code"] == 200


async def _has_asked(client: Redis) -> bool:
    return bool(await client.xlen(KEYS.events))


@pytest.mark.usefixtures("worker")
async def test_a_killed_gateway_loses_and_doubles_no_ring(
    project: Path, client: Redis, valkey_url: str, publisher: Program
) -> None:
    """Its successor first gets the entries that it had not done, then those that came in between."""
    held = ["i2", "i3"]
    async with programs.running(project, {"url": valkey_url, **GATEWAY, "hold": held}) as gateway:
        await register(publisher, PHONE)
        for number in range(4):
            await call(publisher, f"i{number}")
        while len(gateway.heard("inviteProgress")) < 4:
            await gateway.line()
        assert gateway.heard("invitation") == ["i0", "i1", *held]
        await wait_until(lambda: _are_pending(client, 4, 4), "the done ones are acknowledged")
        await gateway.kill()
    for number in range(4, 6):
        await call(publisher, f"i{number}")
    async with programs.running(project, {"url": valkey_url, **GATEWAY}) as successor:
        while len(successor.heard("inviteProgress")) < 4:
            await successor.line()
        assert successor.heard("invitation") == [*held, "i4", "i5"]
        before = {line["id"] for line in gateway.told if line.get("payload", {}).get("inviteId") in held}
        assert before == {
            line["id"] for line in successor.told if line.get("payload", {}).get("inviteId") in held
        }
        await successor.close()
    assert await none_pending(client)
    assert [one["name"] for one in await client.xinfo_groups(KEYS.notifications)] == [b"gateway-1"]


async def _are_pending(client: Redis, least: int, most: int) -> bool:
    return least <= await pending(client) <= most


async def test_what_another_consumer_leaves_is_taken_over(
    project: Path, client: Redis, valkey_url: str
) -> None:
    await client.xgroup_create(KEYS.notifications, "gateway-1", mkstream=True)
    await _write(client, "1", "roomCleaned", {"roomId": "r1", "invites": 0})
    await client.xreadgroup("gateway-1", "dead", {KEYS.notifications: ">"})
    reading = {"group": "gateway-1", "consumer": "other", "claimAfterMs": 50}
    async with programs.running(project, {"url": valkey_url, "reading": reading}) as gateway:
        assert (await gateway.tells("heard", "roomCleaned"))["id"] == "1"
        await gateway.close()
    assert await none_pending(client)


@pytest.mark.usefixtures("two_shards")
async def test_a_loss_of_data(project: Path, client: Redis, valkey_url: str) -> None:
    settings = {"url": valkey_url, "shards": SHARDS, "reading": {"group": "gateway-1"}}
    async with programs.running(project, settings) as gateway:
        for _ in range(2):
            await register(gateway, PHONE)
            await call(gateway, "i1")
            await gateway.tells("heard", "invitation")
            await client.flushall()
            emptied = [
                (await gateway.tells("heard", "serverEmptied"))["payload"]["shard"] for _ in range(SHARDS)
            ]
            assert sorted(emptied) == [0, 1]
        await register(gateway, PHONE)
        await gateway.say("ask", "getInvitations", {"peer": PHONE})
        told = await gateway.tells("answer")
        assert told["answer"]["invitations"] == []
        await gateway.close()
        assert not [line for line in gateway.told if "error" in line]


async def test_a_lost_group_misses_nothing(project: Path, client: Redis, valkey_url: str) -> None:
    """It continues after the last entry that was read; in a new stream, from the beginning."""
    seconds, _ = await client.time()
    room = {"roomId": "r1", "invites": 0}
    await _write(client, "before", "roomCleaned", room, at=f"{(seconds - 20) * 1000}-0")
    async with programs.running(project, {"url": valkey_url, **GATEWAY}) as gateway:
        async with client.pipeline() as pipe:
            pipe.xgroup_destroy(KEYS.notifications, "gateway-1")
            await _write(pipe, "after", "roomCleaned", room, at=f"{(seconds - 10) * 1000}-0")
            await pipe.execute()
        assert (await gateway.tells("heard"))["id"] == "after"
        async with client.pipeline() as pipe:
            pipe.delete(KEYS.notifications)
            await _write(pipe, "first", "roomCleaned", room, at=f"{(seconds - 15) * 1000}-0")
            await pipe.execute()
        assert (await gateway.tells("heard"))["id"] == "first"
        await gateway.close()
        assert not [line for line in gateway.told if "error" in line]
    assert await none_pending(client)


async def test_what_a_reader_must_drop(project: Path, client: Redis, valkey_url: str) -> None:
    """A trimmed entry, nonsense, repeats, and an invitation whose time is over. All is acknowledged."""
    await client.xgroup_create(KEYS.notifications, "gateway-1", mkstream=True)
    seconds, _ = await client.time()
    room = {"roomId": "r1", "invites": 0}
    invitation = {"inviteId": "i1", "from": "alice", "to": "bob", "expiresIn": 60_000}
    trimmed = await _write(client, "0", "roomCleaned", room, at=f"{(seconds - 70) * 1000}-0")
    await client.xreadgroup("gateway-1", "gateway-1", {KEYS.notifications: ">"})
    await client.xdel(KEYS.notifications, trimmed)
    await _write(
        client, "1", "invitation", {**invitation, "inviteId": "stale"}, at=f"{(seconds - 61) * 1000}-0"
    )
    await _write(client, "2", "invitation", invitation, at=f"{(seconds - 30) * 1000}-0")
    await _write(client, "2", "invitation", invitation)
    await _write(client, "2", "roomCleaned", room)
    await client.xadd(
        KEYS.notifications, {"id": "3", "type": "answer", "peers": "[]", "users": "[]", "payload": "{"}
    )
    await client.xadd(KEYS.notifications, {"type": "answer"})
    await _write(client, "4", "ofALaterContract", {"some": "thing"})
    async with programs.running(project, {"url": valkey_url, **GATEWAY}) as gateway:
        await gateway.tells("heard", "ofALaterContract")
        told = [(line["id"], line["heard"]) for line in gateway.told if "heard" in line]
        assert told == [("2", "invitation"), ("2", "roomCleaned"), ("4", "ofALaterContract")]
        errors = [line["error"] for line in gateway.told if "error" in line]
        assert [error.rpartition(" has ")[2] for error in errors] == [
            "a payload that is no JSON object.",
            "no id.",
        ]
        await gateway.close()
    assert await none_pending(client)


async def _write(
    client: Redis, identity: str, kind: str, payload: dict[str, Any], at: str = "*", peer: str = "p"
) -> Any:
    fields: Any = {
        "id": identity,
        "type": kind,
        "peers": f'["{peer}"]',
        "users": "[]",
        "payload": json.dumps(payload),
    }
    entry: Any = await client.xadd(KEYS.notifications, fields, id=at)
    return entry


async def test_replies_that_are_lost_lose_and_double_nothing(
    project: Path, client: Redis, valkey_url: str
) -> None:
    """The entries of a lost reply are pending; a lost acknowledgement is sent again, as is an event."""
    port = urlsplit(valkey_url).port
    assert port is not None
    async with Proxy(port) as proxy, programs.running(project, {"url": proxy.url, **GATEWAY}) as gateway:
        for number in range(4):
            for command, containing in ((b"xreadgroup", b"roomCleaned"), (b"xack", b":")):
                room = f"r{number}-{command.decode()}"
                proxy.lose_reply(command, containing)
                await _write(client, room, "roomCleaned", {"roomId": room, "invites": 0})
                await proxy.lost.wait()
                assert (await gateway.tells("heard"))["id"] == room
        proxy.cut()
        proxy.lose_reply(b"xadd")
        await register(gateway, PHONE)
        assert await client.xlen(KEYS.events) == 2
        await gateway.close()
        assert len([line for line in gateway.told if "heard" in line]) == 8
    assert await none_pending(client)


async def test_a_slow_reader_takes_no_more_than_it_can_hold(
    project: Path, client: Redis, valkey_url: str
) -> None:
    """It keeps asking meanwhile, so that nobody takes it for dead."""
    reading = {"group": "gateway-1", "claimAfterMs": 50}
    async with programs.running(project, {"url": valkey_url, "reading": reading, "waits": True}) as gateway:
        rooms = [f"r{number}" for number in range(2_500)]
        async with client.pipeline(transaction=False) as pipe:
            for room in rooms:
                await _write(pipe, room, "roomCleaned", {"roomId": room, "invites": 0})
            await pipe.execute()
        await wait_until(lambda: _are_pending(client, 1_000, 1_100), "it holds what it can")
        idle: list[int] = []

        async def asks() -> bool:
            (consumer,) = await client.xinfo_consumers(KEYS.notifications, "gateway-1")
            idle.append(consumer["idle"])
            return idle[-1] < max(idle)

        await wait_until(asks, "it asks again")
        assert await _are_pending(client, 1_000, 1_100)
        await gateway.say("read")
        for room in rooms:
            assert (await gateway.tells("heard"))["id"] == room
        await gateway.close()
    assert await none_pending(client)


async def test_groups_of_dead_processes_are_destroyed(project: Path, client: Redis, valkey_url: str) -> None:
    """A durable group stays, a young one stays, and so does one without a consumer, until it is old."""
    reading = {"url": valkey_url, "reading": {}}
    async with programs.running(project, reading) as killed:
        await killed.kill()
    ((young, _),) = await _groups(client)
    for name in ("gateway-1", "temporary:old", "temporary:new"):
        await client.xgroup_create(KEYS.notifications, name)
    for name in ("gateway-1", "temporary:old"):
        await client.xgroup_createconsumer(KEYS.notifications, name, "reader")
    await _age(client, {b"gateway-1": b"reader", b"temporary:old": b"reader"})
    async with programs.running(project, reading) as gateway:
        await gateway.close()
    assert await _groups(client) == {(b"gateway-1", 1), (young, 1), (b"temporary:new", 1)}
    await _age(client, {young: b"reader", b"temporary:new": b"watched"})
    async with programs.running(project, reading) as gateway:
        await gateway.close()
    assert await _groups(client) == {(b"gateway-1", 1)}


async def _groups(client: Redis) -> set[tuple[bytes, int]]:
    found: Any = await client.xinfo_groups(KEYS.notifications)
    return {(one["name"], one["consumers"]) for one in found}


async def _age(client: Redis, consumers: dict[bytes, bytes], by_ms: int = 5 * 60_000 + 1_000) -> None:
    """Make a consumer of each of these groups look as if it had asked for nothing for a time.

    The server has no command for it. So this changes the moments in the stream's dump, and its checksum.
    """
    dumped: Any = await client.dump(KEYS.notifications)
    content, version = bytearray(dumped[:-10]), dumped[-10:-8]
    now = (await client.time())[0] * 1000
    for group, consumer in consumers.items():
        at = content.index(consumer, content.index(group)) + len(consumer)
        seen = int.from_bytes(content[at : at + 8], "little")
        assert now - 60_000 < seen < now + 60_000
        content[at : at + 8] = (seen - by_ms).to_bytes(8, "little")
    body = bytes(content) + version
    await client.restore(KEYS.notifications, 0, body + _crc64(body).to_bytes(8, "little"), replace=True)


def _crc64(data: bytes) -> int:
    """The CRC-64 of Redis (Jones)."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x95AC9329AC4BC9B5 if value & 1 else 0)
    return value


@pytest.mark.leaks
def test_a_reader_that_is_closed_while_it_opens_leaves_no_group(project: Path, valkey_url: str) -> None:
    assert programs.run(project, "closing.mjs", valkey_url) == 0


async def test_a_server_that_is_away_is_waited_for(project: Path) -> None:
    """Events are published when it is back, except those that were given up."""
    with Node(LASTING) as server:
        async with programs.running(project, {"url": server.url, **GATEWAY}) as program:
            await register(program, PHONE)
            server.kill()
            assert "The server is unreachable" in (await program.tells("error"))["error"]
            await program.say("publish", "joined", {"userId": "bob", "roomId": "given up"}, {"withinMs": 300})
            told = await program.tells("rejected")
            assert told["rejected"].startswith("The server did not confirm the event joined within 300 ms (")
            assert "ECONNREFUSED" in told["rejected"]
            await program.say("publish", "joined", {"userId": "bob", "roomId": "waits"}, {"withinMs": 60_000})
            server.start()
            await program.tells("published")
            fields = {"id": "1", "type": "roomCleaned", "peers": "[]", "users": "[]", "payload": "{}"}
            server.command(
                "XADD", KEYS.notifications, "*", *(text for pair in fields.items() for text in pair)
            )
            await program.tells("heard", "roomCleaned")
            await program.close()
        events = server.command("XRANGE", KEYS.events, "-", "+")
        assert [json.loads(fields["payload"]).get("roomId") for _, fields in events] == [None, "waits"]


async def test_a_full_server_is_read_by_a_group_that_is_there(
    project: Path, client: Redis, valkey_url: str
) -> None:
    await client.xgroup_create(KEYS.notifications, "gateway-1", mkstream=True)
    await _write(client, "1", "roomCleaned", {"roomId": "r1", "invites": 0})
    await client.config_set("maxmemory", 1)
    try:
        async with programs.running(project, {"url": valkey_url, **GATEWAY}) as gateway:
            assert (await gateway.tells("heard"))["id"] == "1"
            await gateway.close()
    finally:
        await client.config_set("maxmemory", 0)
    assert await none_pending(client)


async def test_what_is_wrong_is_refused_at_once(publisher: Program, client: Redis) -> None:
    await client.set(KEYS.events, "no stream")
    for command, kind, says in (
        (("publish", "invitte", {}), "TypeError", "invitte is no type of event."),
        (
            ("publish", "joined", {"roomId": 7}),
            "TypeError",
            "joined needs a text in roomId, which decides its shard.",
        ),
        (("ask", "invite", {"peer": ALICE}), "TypeError", "invite gets no answer: publish it."),
        (
            ("ask", "stopInvite", {"callee": "bob"}),
            "TypeError",
            "stopInvite gets an answer only with a peer.",
        ),
        (("publish", "joined", {"roomId": "r1"}), "ReplyError", "WRONGTYPE"),
    ):
        await publisher.say(*command)
        told = await publisher.tells("rejected")
        assert told["kind"] == kind
        assert told["rejected"].startswith(says)
    await client.delete(KEYS.events)


async def test_more_shards_than_the_workers_have_are_refused_to_a_publisher(
    project: Path, client: Redis, valkey_url: str
) -> None:
    """Nobody would read its events. With fewer shards they take a hop, but answers could be missed."""
    await client.set(KEYS.layout, "2")
    event = ("joined", {"userId": "bob", "roomId": "r1"})
    async with programs.running(project, {"url": valkey_url, "shards": 3}) as publisher:
        for command in (("publish", *event), ("ask", "getInvitations", {"peer": PHONE})):
            await publisher.say(*command)
            told = await publisher.tells("rejected")
            assert told["rejected"].startswith(
                "The calls in Redis are in 2 shards, but the client's shards is 3: set the client's shards to 2"
            )
        assert await client.keys() == [KEYS.layout.encode()]
        await client.set(KEYS.layout, "1>3")
        await publisher.say("skip", 6_000)
        await publisher.say("publish", *event)
        await publisher.tells("published")
        await client.set(KEYS.layout, "4")
        await publisher.say("skip", 6_000)
        await publisher.say("publish", *event)
        await publisher.tells("published")
        await publisher.say("ask", "getInvitations", {"peer": PHONE})
        assert "in 4 shards, but" in (await publisher.tells("rejected"))["rejected"]


async def test_a_question_whose_answer_may_be_in_a_new_shard_is_given_up(
    publisher: Program, client: Redis
) -> None:
    """It waits until a reshard is over."""
    await client.set(KEYS.layout, "1>3")
    await publisher.say("ask", "getInvitations", {"peer": PHONE}, {"withinMs": 60_000})

    async def has_asked() -> bool:
        return bool(await client.xlen(KEYS.events))

    await wait_until(has_asked, "it has asked")
    await client.set(KEYS.layout, "3")
    await publisher.say("skip", 6_000)
    assert (await publisher.tells("rejected"))["rejected"].startswith(
        "The calls in Redis are in 3 shards, but the client's shards is 1"
    )


async def test_a_reader_of_fewer_shards_than_the_workers_have_ends_with_a_sentence(
    project: Path, client: Redis, valkey_url: str
) -> None:
    """Once a reshard is over. Before that both numbers are right."""
    await client.set(KEYS.layout, "1>3")
    async with programs.running(project, {"url": valkey_url, "reading": {}}) as gateway:
        await _write(client, "1", "roomCleaned", {"roomId": "r1", "invites": 0})
        await gateway.tells("heard", "roomCleaned")
        await client.set(KEYS.layout, "3")
        await gateway.say("skip", 6_000)

        async def is_refused() -> bool:
            await _write(client, str(len(gateway.told)), "roomCleaned", {"roomId": "r1", "invites": 0})
            await gateway.line()
            return "rejected" in gateway.told[-1]

        await wait_until(is_refused, "the iteration has ended")
        assert gateway.told[-1]["rejected"].startswith(
            "The calls in Redis are in 3 shards, but the client's shards is 1: set the client's shards to 3"
        )
        await gateway.close()


async def test_a_question_is_repeated_until_it_is_answered(
    publisher: Program, client: Redis, valkey_url: str
) -> None:
    """Nobody answers at first; another transaction and another peer's answer are not the answer."""
    await publisher.say("ask", "getInvitations", {"peer": PHONE, "transaction": 7}, {"withinMs": 60_000})

    async def asked(times: int) -> bool:
        events: Any = await client.xrange(KEYS.events)
        return [json.loads(fields[b"payload"])["transaction"] for _, fields in events].count(7) == times

    await wait_until(lambda: asked(1), "it has asked")
    await publisher.say("ask", "getInvitations", {"peer": PHONE, "transaction": 8}, {"withinMs": 500})
    told = await publisher.tells("rejected")
    assert told["rejected"] == "The peer p-phone got no answer to getInvitations within 500 ms."
    for peer, transaction in (("p-desk", 7), ("p-phone", "7")):
        payload = {"request": "getInvitations", "transaction": transaction, "code": 404}
        await _write(client, "1", "answer", payload, peer=peer)
    await wait_until(lambda: asked(2), "it asks again")
    await client.delete(KEYS.events)
    with start_worker(valkey_url, {}):
        told = await publisher.tells("answer")
    assert (told["answer"]["code"], told["answer"]["transaction"]) == (200, 7)


async def test_a_call_in_a_cluster(project: Path, three_nodes: Cluster) -> None:
    for node in three_nodes.nodes:
        node.command("FLUSHALL")
    nodes = [{"host": "127.0.0.1", "port": node.port} for node in three_nodes.nodes[:2]]
    all_keys = [Keys(shard=number, shards=SHARDS) for number in range(SHARDS)]
    with start_worker(three_nodes.url, {"redis": {"shards": SHARDS}}):
        settings = {"nodes": nodes, "shards": SHARDS, "reading": {}}
        async with programs.running(project, settings) as gateway:
            for number, peer in enumerate((PHONE, DESK)):
                await register(gateway, peer)
                await call(gateway, f"i{number}", peer["user"])
                await gateway.tells("heard", "invitation")
                answer = {"peer": peer, "from": "alice", "inviteId": f"i{number}"}
                await gateway.say("ask", "accept", answer)
                told = await gateway.tells("answer")
                assert told["answer"]["code"] == 200
            await gateway.close()
            assert not [line for line in gateway.told if "error" in line]
    async with Clients(three_nodes.url, "tests") as clients:
        assert [await clients.of(keys).xinfo_groups(keys.notifications) for keys in all_keys] == [[], []]


async def test_the_user_gateway_may_do_it(project: Path, installation: installations.Installation) -> None:
    """The server's log of refusals names nothing."""
    async with Redis.from_url(installation.admin_url) as admin:
        await admin.flushall()
        await admin.acl_log_reset()
        config = json.loads((installations.DEPLOY / "config.json").read_text())
        del config["http"]
        with start_worker(installation.url("worker"), config):
            settings = {
                "url": installation.url("gateway"),
                "redis": {"enableReadyCheck": False, "disableClientInfo": True},
                "reading": {},
            }
            async with programs.running(project, settings) as gateway:
                await register(gateway, PHONE)
                await call(gateway, "i1")
                await gateway.tells("heard", "invitation")
                await gateway.say("ask", "decline", {"peer": PHONE, "from": "alice", "inviteId": "i1"})
                assert (await gateway.tells("answer"))["answer"]["code"] == 200
                await gateway.close()
        refused = {(entry["username"], entry["object"], entry["count"]) for entry in await admin.acl_log()}
        assert refused == set()
