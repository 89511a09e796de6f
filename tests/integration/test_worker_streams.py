"""Faults of other stream workers, one test for each, on a real Valkey."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from invites.connection.clients import BLOCK_MS, connect
from invites.keys import WORKERS_GROUP
from invites.queries.overview import consumers
from tests.support.forgetting import forget_functions
from tests.support.proxy import Proxy
from tests.support.servers.node import free_port
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, settler_of, worker
from workers.consumer.reader import Reader
from workers.consumer.reclaimer import Reclaimer
from workers.lab.embedded import EmbeddedValkey

EVENTS_OF_SHARD_0 = {"shard": "0", "stream": "events"}


# --- alive but deaf after a restart of the server; or the process dies with the connection


async def test_reads_on_after_a_restart_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    server = EmbeddedValkey(port=port)
    server.start()
    try:
        async with worker(server.url) as service:
            async with Redis.from_url(server.url) as client:
                await Streams(client).ask(0, 2)
                await Streams(client).told(2)
            await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
            server.stop()
            await wait_until(lambda: not service.readiness.state()[0], "the worker is not ready")
            server.start()
            await wait_until(lambda: service.readiness.state()[0], "the worker is ready again")
            async with Redis.from_url(server.url) as client:
                streams = Streams(client)
                await streams.ask(0, 5)
                await streams.told(5)
            # It is over when every loop has left its pause.
            await wait_until(lambda: "can be used again" in caplog.text, "the end of the outage is said")
            await service.drain()
    finally:
        server.stop()
    said = [record.message for record in caplog.records if record.name == "workers.telemetry.outage"]
    assert len([line for line in said if "cannot be used" in line]) == 1, said
    assert len([line for line in said if "can be used again" in line]) == 1, said


async def test_starts_before_the_server_does(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    server = EmbeddedValkey(port=port)
    starting = asyncio.create_task(_settle_one(f"redis://127.0.0.1:{port}/0"))
    try:
        await wait_until(lambda: "cannot be used" in caplog.text, "the worker says that it waits")
        server.start()
        await starting
    finally:
        server.stop()
    assert caplog.text.count("cannot be used") == 1


async def _settle_one(url: str) -> None:
    async with worker(url) as service, Redis.from_url(url) as client:
        await Streams(client).ask(0, 1)
        await Streams(client).told(1)
        await service.drain()


async def test_a_cut_connection_is_made_again(streams: Streams, proxy: Proxy) -> None:
    async with worker(proxy.url) as service:
        for round_ in range(5):
            await streams.ask(round_ * 20, 20)
            proxy.cut()
        await streams.assert_answered(100)
        await service.drain()


async def test_ready_only_when_a_read_has_completed(streams: Streams, proxy: Proxy) -> None:
    async with worker(proxy.url) as service:
        await streams.ask(0, 1)
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
        await proxy.down()
        await wait_until(lambda: not service.readiness.state()[0], "the worker is not ready")
        await proxy.up()
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready again")
        await streams.told(1)


# --- NOGROUP forever after a flush or fail-over


async def test_the_group_is_made_again_after_a_flush(
    streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    async with worker(await _url(streams)) as service:
        await streams.ask(0, 3)
        await streams.told(3)
        await streams.client.flushall()
        await forget_functions(streams.client)
        await streams.ask(0, 4)
        await streams.told(4)
        recreated = service.metrics.registry.get_sample_value(
            "invites_groups_recreated_total", {"group": WORKERS_GROUP}
        )
    assert recreated == 1
    assert "has been created again" in caplog.text


async def test_what_was_published_while_the_group_was_gone_is_processed(streams: Streams) -> None:
    async with worker(await _url(streams)):
        await streams.ask(0, 1)
        await streams.told(1)
        await streams.client.xgroup_destroy(KEYS.events, WORKERS_GROUP)
        await streams.ask(1, 1)
        await streams.told(2)


async def _url(streams: Streams) -> str:
    settings = streams.client.get_connection_kwargs()
    return f"redis://{settings['host']}:{settings['port']}/0"


@pytest.mark.parametrize("idle", [Reclaimer, Reader])
async def test_reading_and_claiming_each_make_the_group_again(
    streams: Streams, monkeypatch: pytest.MonkeyPatch, idle: type
) -> None:
    async def wait(role: Any) -> None:
        await role._shard.stopping.wait()

    monkeypatch.setattr(idle, "run", wait)
    async with worker(await _url(streams)):
        await streams.client.flushall()

        async def made() -> bool:
            return bool(await streams.client.exists(KEYS.events))

        await wait_until(made, "the group is there again")


# --- a lost XREADGROUP reply strands entries in one's own pending list


async def test_entries_of_a_lost_read_reply_are_read_again(streams: Streams, proxy: Proxy) -> None:
    async with worker(proxy.url, claim_after=600_000):
        await streams.ask(0, 1)
        await streams.told(1)
        proxy.lose_reply(b"XREADGROUP", containing=b"u1")
        await streams.ask(1, 1)
        await proxy.lost.wait()
        await streams.ask(2, 1)
        await streams.assert_answered(3)


async def test_own_pending_entries_are_read_at_the_start(streams: Streams) -> None:
    await streams.make_group()
    await streams.ask(0, 250)
    assert len(await streams.strand(250, "itself")) == 250
    async with worker(await _url(streams), consumer="itself", claim_after=600_000):
        await streams.assert_answered(250)


# --- redis-py's defaults: time-outs that contradict, silent retries


async def test_connections_state_their_time_outs_and_repeat_nothing(valkey_url: str) -> None:
    async with connect(valkey_url, "reads", block_ms=BLOCK_MS) as reads:
        settings = reads.get_connection_kwargs()
        assert settings["socket_timeout"] * 1000 >= BLOCK_MS + 1000
        assert settings["socket_connect_timeout"] > 0
        assert settings["retry"].get_retries() == 0
        began = time.monotonic()
        assert await reads.xread({"nothing": "$"}, block=BLOCK_MS) == []
        assert time.monotonic() - began >= BLOCK_MS / 1000
        name = str(await reads.client_getname())
        assert name.startswith("SippoAS.qss.invites-rooms:reads:")


def test_a_read_that_may_wait_too_long_is_refused(valkey_server: str) -> None:
    with pytest.raises(ValueError, match="block_ms must be from 0 to 2000"):
        connect(valkey_server, "reads", block_ms=BLOCK_MS + 1)


async def test_a_lost_reply_is_reported_and_not_repeated(client: Redis, proxy: Proxy) -> None:
    async with connect(proxy.url, "test") as through:
        proxy.lose_reply(b"INCR")
        with pytest.raises(RedisConnectionError):
            await through.incr("counter")
        assert await client.get("counter") == b"1"


# --- a cancelled or lost commit was executed anyway


async def test_a_commit_whose_reply_is_lost_has_its_effects_once(streams: Streams, proxy: Proxy) -> None:
    async with worker(proxy.url) as service:
        await streams.ask(0, 1)
        await streams.told(1)
        proxy.lose_reply(b"FCALL", containing=b"")
        await streams.ask(1, 200)
        await proxy.lost.wait()
        await streams.assert_answered(201)
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready")


async def test_a_cancelled_commit_is_waited_for(streams: Streams, proxy: Proxy) -> None:
    """Cut short it might be executed or not; so it is let through, and nothing is left to hand back."""
    async with worker(proxy.url, claim_after=600_000) as service:
        await streams.ask(0, 1)
        await streams.told(1)
        settler = settler_of(service)
        proxy.request_delay_s = 0.3
        await streams.ask(1, 1)
        await wait_until(lambda: bool(settler._under_way), "a commit is under way")
        await service._shards[0]._consumers[0]._cancel(lose_commits=False)
        assert not settler._under_way
        assert await streams.pending() == 0
        await streams.assert_answered(2)


# --- streams grow until memory is full


async def test_settled_events_are_trimmed(streams: Streams) -> None:
    async with worker(await _url(streams)):
        await streams.ask(0, 500)
        await streams.told(500)

        async def trimmed() -> bool:
            return bool(await streams.client.xlen(KEYS.events) == 0)

        await wait_until(trimmed, "the stream is empty")


async def test_a_stream_that_cannot_be_trimmed_stops_neither_the_others_nor_the_metrics(
    streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    await streams.client.set(KEYS.notifications, "not a stream")
    async with worker(await _url(streams)) as service:
        await streams.publish("joined", {"userId": "eve", "roomId": "r"})

        async def trimmed() -> bool:
            return bool(await streams.client.xlen(KEYS.events) == 0)

        await wait_until(
            lambda: "A round of keeping house has failed" in caplog.text, "the janitor has failed"
        )
        await streams.client.xadd(KEYS.push, {"type": "x"}, id="1-0")

        async def push_trimmed() -> bool:
            return bool(await streams.client.xlen(KEYS.push) == 0)

        await wait_until(push_trimmed, "the push stream is trimmed")

        def measured() -> bool:
            return service.metrics.registry.get_sample_value("invites_backlog", EVENTS_OF_SHARD_0) is not None

        await wait_until(measured, "the backlog is measured")
        await streams.client.delete(KEYS.notifications)
        await wait_until(trimmed, "the events are trimmed")


async def test_a_stream_that_has_come_to_its_last_id_can_be_begun_again(streams: Streams) -> None:
    last = f"{2**64 - 1}-{2**64 - 1}"
    async with worker(await _url(streams)):
        await streams.ask(0, 2)
        await streams.told(2)
        fields = {"type": "joined", "payload": '{"userId": "eve", "roomId": "r"}'}
        await streams.client.xadd(KEYS.events, fields, id=last)
        with pytest.raises(ResponseError, match=r"exhausted|equal or smaller"):
            await streams.ask(2, 1)

        async def trimmed() -> bool:
            return await streams.client.xlen(KEYS.events) <= 1 and await streams.pending() == 0

        await wait_until(trimmed, "everything before it is settled")
        await streams.client.delete(KEYS.events)

        async def begun() -> bool:
            return bool(await streams.client.exists(KEYS.events))

        await wait_until(begun, "the group is made again")
        await streams.ask(2, 1)
        await streams.assert_answered(3)


@pytest.mark.leaks
async def test_what_is_pending_is_not_trimmed(streams: Streams) -> None:
    await streams.make_group()
    await streams.ask(0, 3)
    stranded = await streams.strand(1)
    async with worker(await _url(streams), claim_after=600_000):
        await streams.ask(3, 2)

        await streams.told(4, pending=1)
        assert await streams.client.xlen(KEYS.events) == 5
        assert (await streams.client.xrange(KEYS.events, count=1))[0][0].decode() == stranded[0]


# --- entries trimmed while pending come back with an empty body


@pytest.mark.parametrize("consumer", ["itself", "gone"])
async def test_entries_trimmed_while_pending_become_dead_letters(streams: Streams, consumer: str) -> None:
    await streams.make_group()
    entries = await streams.ask(0, 3)
    await streams.strand(3, consumer)
    await streams.client.xdel(KEYS.events, entries[1])
    async with worker(await _url(streams), consumer="itself"):

        async def settled() -> bool:
            return await streams.pending() == 0 and bool(await streams.dead())

        await wait_until(settled, "the trimmed entry is a dead letter")
        dead = await streams.dead()
    assert [letter["entry"] for letter in dead] == [entries[1]]
    assert "trimmed" in dead[0]["error"]
    assert sorted(await streams.answers()) == [0, 2]


# --- claim storms, locks left behind


async def test_what_a_dead_worker_left_is_taken_up_after_claim_after(streams: Streams) -> None:
    await streams.make_group()
    await streams.ask(0, 750)
    await streams.strand(750)
    async with worker(await _url(streams), claim_after=1_000), worker(await _url(streams), claim_after=1_000):
        await streams.assert_answered(750)


@pytest.mark.leaks
async def test_claims_are_small_and_keep_their_cursor(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest 2,000 entries are young, as work in progress is: one call does not get past them."""
    calls: list[tuple[object, ...]] = []
    original: Any = Redis.execute_command

    async def recording(client: Redis, *arguments: object, **options: object) -> object:
        if arguments[0] == b"XAUTOCLAIM":
            calls.append(arguments)
        return await original(client, *arguments, **options)

    await streams.make_group()
    entries = await streams.ask(0, 2_100)
    await streams.strand(2_000, "busy")
    await streams.strand(100, "gone")
    old = entries[2_000:]
    await streams.client.xclaim(KEYS.events, WORKERS_GROUP, "gone", 0, old, idle=60_000, justid=True)
    monkeypatch.setattr(Redis, "execute_command", recording)
    async with worker(await _url(streams), claim_after=20_000):

        async def claimed() -> bool:
            return await streams.pending() == 2_000

        await wait_until(claimed, "the 100 old entries are settled")
    assert all(1 <= call[-1] <= 100 for call in calls)  # type: ignore[operator] # COUNT
    assert len({call[-3] for call in calls}) >= 3, "the cursor moves on"


async def test_redelivered_entries_count_their_deliveries(streams: Streams) -> None:
    await streams.make_group()
    await streams.publish("getInvitations", b"{")
    await streams.ask(0, 1)
    await streams.strand(2)
    async with worker(await _url(streams)):
        await streams.told(1)
        await wait_until(streams.has_dead_letter, "the bad event is a dead letter")
    dead = (await streams.dead())[0]
    assert (dead["deliveries"], dead["payload"]) == ("2", "{")


async def test_redelivered_entries_are_committed_alone(streams: Streams) -> None:
    await streams.make_group()
    await streams.ask(0, 30)
    await streams.strand(30)
    async with worker(await _url(streams)) as service:
        await streams.assert_answered(30)
        read = service.metrics.registry.get_sample_value
        assert read("invites_commit_events_count") == 30
        assert read("invites_commit_events_sum") == 30


# --- consumers pile up; deleting one drops its pending entries


@pytest.mark.leaks
async def test_only_idle_consumers_without_pending_entries_are_deleted(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.roles.janitor._RETIRED_MS", 200)
    for how_long in ("ALIVE_MS", "KEPT_MS"):  # the latter on Redis before 7.2
        monkeypatch.setattr(f"invites.queries.overview.{how_long}", 200)
    monkeypatch.setattr("workers.roles.janitor._RETIRE_S", 0.0)
    await streams.make_group()
    await streams.ask(0, 1)
    await streams.strand(1, "owes")
    await streams.client.xgroup_createconsumer(KEYS.events, WORKERS_GROUP, "owes-nothing")
    async with worker(await _url(streams), consumer="itself", claim_after=600_000):
        await wait_until(lambda: _consumers_are(streams, {"owes", "itself"}), "the idle consumer is gone")
    assert await streams.pending() == 1


async def test_healthy_workers_that_read_nothing_are_neither_gone_nor_deleted(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone_ms = 1_000
    monkeypatch.setattr("workers.roles.janitor._TICK_S", 0.05)
    monkeypatch.setattr("workers.roles.janitor._RETIRE_S", 0.0)
    monkeypatch.setattr("workers.roles.janitor._RETIRED_MS", gone_ms)
    monkeypatch.setattr("invites.queries.overview.ALIVE_MS", gone_ms)

    async def wait(role: Any) -> None:
        await role._shard.stopping.wait()

    url = await _url(streams)
    async with worker(url, consumer="a") as first, worker(url, consumer="b") as second:
        await wait_until(lambda: _consumers_are(streams, {"a", "b"}), "both have read")
        monkeypatch.setattr(Reader, "_read_new", wait)
        monkeypatch.setattr(Reclaimer, "_claim", wait)

        async def silent_or_deleted() -> bool:
            idle = [one["idle"] for one in await streams.client.xinfo_consumers(KEYS.events, WORKERS_GROUP)]
            return len(idle) < len("ab") or min(idle) > 1.3 * gone_ms

        await wait_until(silent_or_deleted, "neither has read for long")
        found = await consumers(streams.client, KEYS)
        assert {one.name for one in found or () if one.alive} == {"a", "b"}
        await first.drain()
        await second.drain()


async def _consumers_are(streams: Streams, names: set[str]) -> bool:
    found = await streams.client.xinfo_consumers(KEYS.events, WORKERS_GROUP)
    return {one["name"].decode() for one in found} == names


async def test_a_worker_that_stops_in_order_leaves_no_consumer(
    streams: Streams, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.consumer.reader.BLOCK_MS", 60_000)
    async with worker(await _url(streams), consumer="itself") as service:
        await streams.ask(0, 10)
        await streams.told(10)
        await service.drain()
    assert "cannot be used" not in caplog.text, (
        "the stop has waited until a read that waits for entries gave up"
    )
    assert await _consumers_are(streams, set())


# --- lag is nil or wrong


@pytest.mark.leaks
async def test_backlog_and_age_are_exported_when_lag_is_nil(streams: Streams) -> None:
    await streams.make_group()
    entries = await streams.ask(0, 5)
    await streams.strand(4)
    await streams.client.xdel(KEYS.events, entries[4])
    assert (await streams.client.xinfo_groups(KEYS.events))[0]["lag"] is None
    async with worker(await _url(streams), claim_after=600_000) as service:
        registry = service.metrics.registry

        def exported() -> bool:
            age = registry.get_sample_value("invites_oldest_unsettled_event_age_seconds", {"shard": "0"})
            backlog = registry.get_sample_value("invites_backlog", EVENTS_OF_SHARD_0)
            return backlog == 4 and (age or 0.0) > 0.5

        await wait_until(exported, "backlog and age are exported")


# --- the functions are gone


async def test_functions_are_loaded_again(streams: Streams) -> None:
    async with worker(await _url(streams)):
        for round_ in range(3):
            await streams.ask(round_, 1)
            await streams.told(round_ + 1)
            await forget_functions(streams.client)
