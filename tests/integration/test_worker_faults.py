"""Servers that refuse, are full, slow or busy; events that fail; lookups that take long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from invites.connection.errors import RefusedError
from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.keys import WORKERS_GROUP, Keys
from invites.lookup.resolver import Resolver
from invites.store.answers import Outcome
from invites.store.minutes import read_minutes
from tests.support.held import TRUNK, hold_lookups
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, configured, is_renewed, settler_of, worker
from workers.lab.embedded import EmbeddedValkey
from workers.service import Service
from workers.telemetry.reports import Reports


@pytest.fixture
def own_server() -> Iterator[EmbeddedValkey]:
    """A server whose settings a test may change."""
    with EmbeddedValkey(options={"busy-reply-threshold": "50"}) as server:
        yield server


# --- refusals of the server that pass


async def test_a_replica_in_the_masters_place_is_waited_for(own_server: EmbeddedValkey) -> None:
    async with Redis.from_url(own_server.url) as client, worker(own_server.url) as service:
        streams = Streams(client)
        await streams.ask(0, 2)
        await streams.told(2)
        await client.replicaof("127.0.0.1", "1")
        await wait_until(lambda: "read only" in service.readiness.state()[1], "the worker says what is wrong")
        await client.replicaof("NO", "ONE")
        await streams.ask(2, 3)
        await streams.assert_answered(5)
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready")


async def test_a_busy_server_is_waited_for(
    own_server: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with Redis.from_url(own_server.url) as client, worker(own_server.url):
        streams = Streams(client)
        await streams.ask(0, 1)
        await streams.told(1)
        async with Redis.from_url(own_server.url, socket_timeout=30) as other:
            occupying = asyncio.create_task(_occupy(other))
            await wait_until(lambda: "BUSY" in caplog.text, "the worker is told BUSY")
            await client.script_kill()
            await occupying
        await streams.ask(1, 3)
        await streams.assert_answered(4)


async def _occupy(client: Redis) -> None:
    with pytest.raises(ResponseError, match="killed"):
        await client.execute_command("EVAL", "while true do end", 0)


async def test_a_slow_server_is_kept_up_with(streams: Streams, proxy: Proxy) -> None:
    """With 40 ms to the server, batches must not shrink to what a near server does in 10 ms."""
    proxy.delay_s = 0.04
    await streams.make_group()
    await streams.ask(0, 3_000)
    async with worker(proxy.url, claim_after=600_000) as service:
        await streams.assert_answered(3_000)
        await service.drain()
        assert commits(service) < 150  # of 47 full ones, or 188 of the fewest events


# --- memory full


async def test_a_full_server_still_ends_calls_and_takes_new_ones_later(
    own_server: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with Redis.from_url(own_server.url) as client, worker(own_server.url, max_deliveries=1) as service:
        streams = Streams(client)
        await streams.publish("registered", {"registry": {"id": "b1", "user": "bob"}})
        await streams.publish("invite", _invite("call-1"))
        await streams.heard("invitation")
        await client.config_set("maxmemory", 1)
        await streams.publish_when_full("invite", _invite("call-2"))
        await streams.publish_when_full("accept", _accept("call-1"))
        await streams.heard("inviteAccepted")
        assert await streams.pending() == 1
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
        # The server has told of the accept before the worker has the reply.
        await wait_until(lambda: "Redis is out of memory" in caplog.text, "the worker says that it is full")
        assert "Redis has room again" not in caplog.text
        await client.config_set("maxmemory", 0)
        await streams.heard("invitation", 2)
        await wait_until(lambda: "Redis has room again" in caplog.text, "the worker says so")
        assert await streams.pending() == 0
        assert await streams.dead() == []


async def test_a_worker_starts_and_reconnects_on_a_full_server(own_server: EmbeddedValkey) -> None:
    async with Redis.from_url(own_server.url) as client:
        streams = Streams(client)
        async with worker(own_server.url):
            await streams.publish("registered", {"registry": {"id": "b1", "user": "bob"}})
            for call in ("call-1", "call-2"):
                await streams.publish("invite", _invite(call))
            await streams.heard("invitation", 2)
        await client.config_set("maxmemory", 1)
        await client.config_resetstat()
        async with worker(own_server.url) as service:
            await streams.publish_when_full("accept", _accept("call-1"))
            await streams.heard("inviteAccepted")
            await client.client_kill_filter(_type="normal", skipme=True)
            await streams.publish_when_full("accept", _accept("call-2"))
            await streams.heard("inviteAccepted", 2)
            await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
        assert await _refused(client) == set()


async def test_what_is_counted_while_the_server_is_full_is_written_later(own_server: EmbeddedValkey) -> None:
    async with Redis.from_url(own_server.url) as client, worker(own_server.url) as service:
        streams = Streams(client)
        await streams.publish("registered", {"registry": {"id": "b1", "user": "bob"}})
        await streams.publish("invite", _invite("call-1"))
        await streams.heard("invitation")
        await client.config_set("maxmemory", 1)
        await streams.publish_when_full("accept", _accept("call-1"))
        await wait_until(lambda: _rejects(client, "hset"), "the counts are refused")
        assert service.readiness.state() == (True, "")
        assert await read_minutes(client, KEYS) == []
        await client.config_set("maxmemory", 0)
        await wait_until(lambda: _has_counts(client), "the counts are there")
        assert [sum(minute.answered) for minute in await read_minutes(client, KEYS)] == [1]


async def _has_counts(client: Redis) -> bool:
    return bool(await read_minutes(client, KEYS))


async def _rejects(client: Redis, command: str) -> bool:
    found = (await client.info("commandstats")).get(f"cmdstat_{command}")
    return bool(found and found["rejected_calls"])


async def test_a_worker_starts_on_a_full_server_that_no_worker_has_used(own_server: EmbeddedValkey) -> None:
    async with Redis.from_url(own_server.url) as client:
        streams = Streams(client)
        await client.config_set("maxmemory", 1)
        async with worker(own_server.url) as service:
            await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
            await streams.publish_when_full("getInvitations", {"peer": {"id": "b1", "user": "bob"}})
            await streams.heard("answer")


async def test_nothing_that_a_full_server_refuses_is_sent_at_the_start_and_in_recovery(
    own_server: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with Redis.from_url(own_server.url) as client:
        async with worker(own_server.url):
            await wait_until(lambda: _knows_functions(client), "the worker has loaded its functions")
        await client.config_resetstat()
        async with worker(own_server.url) as service:
            await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
            await client.client_kill_filter(_type="normal", skipme=True)
            await wait_until(lambda: "Redis cannot be used" in caplog.text, "its connections are cut")
            await wait_until(lambda: "Redis can be used again" in caplog.text, "the worker has recovered")
        sent = {name.removeprefix("cmdstat_") for name in await client.info("commandstats")}
        assert {"xreadgroup", "xautoclaim", "fcall"} <= sent
        # The announcement: HSET inside a function that a full server executes.
        assert await _flagged(client, sent, b"denyoom") == {"hset"}


async def _knows_functions(client: Any) -> bool:
    return bool(await client.function_list())


async def _flagged(client: Any, names: set[str], flag: bytes) -> set[str]:
    """The commands that the server flags so. A name is `xgroup|create` for a command with its subcommand."""
    return {
        name
        for name in names
        for info in await client.execute_command("COMMAND INFO", name)
        if flag in info[2]
    }


async def test_entries_trimmed_while_pending_are_logged_although_the_server_takes_no_dead_letters(
    own_server: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with Redis.from_url(own_server.url) as client:
        streams = Streams(client)
        async with worker(own_server.url):
            await streams.ask(0, 1)
            await streams.told(1)
        entries = await streams.ask(0, 3)
        await streams.strand(3)
        await client.xdel(KEYS.events, *entries)
        await client.config_set("maxmemory", 1)
        async with worker(own_server.url):
            await wait_until(lambda: "OutOfMemoryError" in caplog.text, "a dead letter is refused")
    logged = [entry for entry in entries if f"The entry {entry} was trimmed from events" in caplog.text]
    assert logged == entries


async def _refused(client: Redis) -> set[str]:
    """The commands that the server has refused to run since CONFIG RESETSTAT.

    Commits may be (FCALL), and the counts of a minute (HSET): both are repeated.
    """
    commands = await client.info("commandstats")
    refused = {name.removeprefix("cmdstat_") for name, found in commands.items() if found["rejected_calls"]}
    return refused - {"fcall", "hset"}


def _accept(invite_id: str) -> dict[str, object]:
    return {"peer": {"id": "b1", "user": "bob"}, "from": "alice", "inviteId": invite_id}


def _invite(invite_id: str, to: str = "bob") -> dict[str, object]:
    return {"peer": {"id": "a1", "user": "alice"}, "to": to, "inviteId": invite_id, "room": "r1"}


# --- events that fail


BROKEN = {"userId": "eve", "roomId": "broken"}


async def test_an_event_that_fails_comes_back_and_becomes_a_dead_letter(
    streams: Streams, client: Redis, valkey_url: str
) -> None:
    await client.set(KEYS.room_members("broken"), "not a hash")
    async with worker(valkey_url, max_deliveries=2, claim_after=200):
        await streams.ask(0, 10)
        await streams.publish("joined", BROKEN)
        await streams.ask(10, 10)
        await streams.told(20, pending=1)
        await wait_until(streams.has_dead_letter, "the event is a dead letter")
        await streams.assert_answered(20)
    dead = (await streams.dead())[0]
    assert (dead["type"], dead["deliveries"]) == ("joined", "3")


async def test_an_event_that_fails_for_a_while_is_settled_later(
    streams: Streams, client: Redis, valkey_url: str
) -> None:
    await client.set(KEYS.room_members("broken"), "not a hash")
    async with worker(valkey_url, claim_after=200, max_deliveries=1_000):
        entry = await streams.publish("joined", BROKEN)

        async def tried_again() -> bool:
            return (await streams.deliveries()).get(entry, ("", 0))[1] > 1

        await wait_until(tried_again, "it has been tried again")
        await client.delete(KEYS.room_members("broken"))
        await streams.told(0)
    assert await client.hkeys(KEYS.room_members("broken")) == [b"eve"]


async def test_a_batch_that_cannot_be_sent_is_tried_one_by_one(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is neither an outage nor an event's own: one operation breaks the packing."""
    await streams.make_group()
    await streams.ask(0, 5)
    (poisoned,) = await streams.ask(10, 1)
    await streams.ask(5, 5)
    unpackable: Any = object()

    def spoiled(entry: Entry, *, max_deliveries: int, keys: Keys) -> Operation:
        operation = decode_event_entry(entry, max_deliveries=max_deliveries, keys=keys)
        if entry.id == poisoned and entry.deliveries <= 2:
            return operation.having(user=unpackable)
        return operation

    monkeypatch.setattr("workers.shard_worker.decode_event_entry", spoiled)
    async with worker(valkey_url, claim_after=200):
        await streams.told(10, pending=1)
        await streams.assert_answered(11)


async def test_an_entry_that_cannot_be_decoded_takes_no_others_with_it(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Decoding never raises; if it did, the entry would come back like one that failed."""
    await streams.make_group()
    await streams.ask(0, 5)
    (poisoned,) = await streams.ask(10, 1)
    await streams.ask(5, 5)

    def failing(entry: Entry, *, max_deliveries: int, keys: Keys) -> Operation:
        if entry.id == poisoned and entry.deliveries <= 2:
            raise RuntimeError("not this one")
        return decode_event_entry(entry, max_deliveries=max_deliveries, keys=keys)

    monkeypatch.setattr("workers.shard_worker.decode_event_entry", failing)
    async with worker(valkey_url, claim_after=200):
        await streams.assert_answered(11)
    assert f"The entry {poisoned} cannot be decoded" in caplog.text


async def test_outcomes_that_cannot_be_reported_stop_nothing(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures, settled = [RuntimeError("no report")], Reports.settled

    def failing(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        settled(*arguments)

    monkeypatch.setattr(Reports, "settled", failing)
    async with worker(valkey_url):
        await streams.ask(0, 10)
        await streams.told(10)
        await wait_until(lambda: "could not be reported" in caplog.text, "the failure is logged")
        await streams.ask(10, 10)
        await streams.assert_answered(20)


# --- lookups


@pytest.mark.parametrize("error", [RedisConnectionError("it is away"), RuntimeError("not this one")])
async def test_a_look_up_that_fails_is_made_again(
    streams: Streams,
    client: Redis,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    failures, complete = [error, error], Resolver.complete

    async def failing(resolver: Resolver, operation: Operation, outcome: Outcome) -> Operation:
        if failures:
            raise failures.pop()
        return await complete(resolver, operation, outcome)

    monkeypatch.setattr(Resolver, "complete", failing)
    async with worker(valkey_url, claim_after=200):
        await streams.publish("registered", TRUNK)
        await wait_until(lambda: _exists(client, KEYS.trunks), "the trunk is registered")
        entry = await streams.publish("invite", _invite("call-1", to="600"))
        await streams.heard("invitation")
        await streams.told(0)
    assert len(await streams.payloads("invitation")) == 1
    assert (f"The event {entry} needs a lookup that fails" in caplog.text) == isinstance(error, RuntimeError)


async def test_a_long_look_up_holds_up_nobody_and_is_kept_from_others(
    streams: Streams, client: Redis, valkey_url: str
) -> None:
    first, second = worker(valkey_url, claim_after=3_000), worker(valkey_url, claim_after=3_000)
    async with first as one, second as other:
        held, also_held = hold_lookups(one), hold_lookups(other)
        await streams.publish("registered", TRUNK)
        await wait_until(lambda: _exists(client, KEYS.trunks), "the trunk is registered")
        entry = await streams.publish("invite", _invite("call-1", to="600"))
        await wait_until(lambda: held.asked.is_set() or also_held.asked.is_set(), "the trunks are looked up")
        (owner, _) = (await streams.deliveries())[entry]
        await streams.ask(0, 50)
        await streams.told(50, pending=1)
        await is_renewed(client, KEYS.events, WORKERS_GROUP)
        assert await streams.deliveries() == {entry: (owner, 1)}
        assert held.asked.is_set() != also_held.asked.is_set()
        held.answer.set()
        also_held.answer.set()
        await streams.heard("invitation")
        await streams.told(50)


async def test_a_worker_that_dies_in_a_look_up_loses_nothing(streams: Streams, valkey_url: str) -> None:
    async with worker(valkey_url) as first:
        held = hold_lookups(first)
        await streams.publish("registered", TRUNK)
        await streams.publish("invite", _invite("call-1", to="600"))
        await held.asked.wait()
    assert await streams.pending() == 1
    async with worker(valkey_url):
        await streams.heard("invitation")
        await streams.told(0)


async def test_many_lookups_are_settled_together(streams: Streams, valkey_url: str) -> None:
    async with worker(valkey_url) as service:
        held = hold_lookups(service)
        await streams.publish("registered", TRUNK)
        for number in range(300):
            await streams.publish("invite", _invite(f"call-{number}", to="600"))
        await wait_until(lambda: len(settler_of(service)._set_aside) == 300, "all calls are set aside")
        before = commits(service)
        held.answer.set()
        await streams.heard("invitation", 300)
        assert commits(service) - before < 100


def commits(service: Service) -> float:
    return service.metrics.registry.get_sample_value("invites_commit_events_count") or 0.0


async def _exists(client: Redis, key: str) -> bool:
    return bool(await client.exists(key))


# --- eviction deletes state


async def test_a_server_that_evicts_is_refused(valkey_url: str) -> None:
    async with Redis.from_url(valkey_url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        await client.config_set("maxmemory", "100mb")
        service = Service(configured(), valkey_url)
        try:
            with pytest.raises(RefusedError, match="Set `maxmemory-policy noeviction`"):
                await service.start()
        finally:
            await service.aclose()
            await client.config_set("maxmemory", 0)
            await client.config_set("maxmemory-policy", "noeviction")


async def test_a_server_that_cannot_be_used_as_configured_is_refused_in_a_sentence(valkey_url: str) -> None:
    service = Service(configured(), f"{valkey_url.removesuffix('/0')}/99")
    try:
        with pytest.raises(RefusedError, match=r"^Redis cannot be used: DB index is out of range: see"):
            await service.start()
    finally:
        await service.aclose()


async def test_a_server_that_would_evict_is_warned_of(
    valkey_url: str, client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await client.config_set("maxmemory-policy", "volatile-ttl")
    try:
        async with worker(valkey_url):
            await Streams(client).ask(0, 1)
            await Streams(client).told(1)
    finally:
        await client.config_set("maxmemory-policy", "noeviction")
    assert "its policy is volatile-ttl" in caplog.text
