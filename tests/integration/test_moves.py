"""A worker and its clients while the shard moves to another server, step by step."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
from redis import exceptions

from invites.connection.clients import BLOCK_MS, connect
from invites.connection.errors import passes
from invites.keys import WORKERS_GROUP
from invites.queries.dead_letters import DeadLetters
from tests.support.servers.cluster import Cluster
from tests.support.servers.node import HOST, Node, wait_for
from tests.support.servers.replicated import SERVICE, Replicated
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

_CALLS: Final = 20


@pytest.fixture
def emptied(cluster: Cluster) -> Cluster:
    """The cluster, emptied."""
    cluster.settle(KEYS.events)
    for node in cluster.nodes:
        node.command("FLUSHALL")
    return cluster


@pytest.fixture
async def cluster_client(emptied: Cluster) -> AsyncIterator[Redis]:
    """A client of the shard."""
    async with connect(emptied.url, "test", keys=KEYS) as found:
        yield found


async def make_streams(client: Any) -> None:
    """Make all keys that a script names beforehand, and which a call may not make."""
    for stream in (KEYS.push, KEYS.relay, KEYS.dead):
        await client.xdel(stream, await client.xadd(stream, {"type": "none"}))


async def begin_calls(streams: Streams) -> None:
    for number in range(_CALLS):
        peer = {"id": f"caller-{number}", "user": f"caller-{number}"}
        call = {"peer": peer, "to": f"u{number}", "inviteId": f"i{number}", "room": f"r{number}"}
        await streams.publish("invite", call)


async def register(streams: Streams) -> None:
    for number in range(_CALLS):
        await streams.publish("registered", {"registry": {"id": f"p{number}", "user": f"u{number}"}})


async def assert_all_rang_once(streams: Streams) -> None:
    await streams.heard("invitation", _CALLS)
    await wait_until(lambda: _nothing_pending(streams), "nothing is pending")
    kinds = Counter(kind for _, kind, _ in await streams.notifications())
    assert (kinds["invitation"], kinds["inviteProgress"]) == (_CALLS, _CALLS)
    assert await streams.dead() == []


async def _all_there(client: Any) -> bool:
    named = (KEYS.events, KEYS.notifications, KEYS.timers, KEYS.dead, KEYS.push, KEYS.relay)
    return bool(await client.exists(*named) == len(named))


async def _nothing_pending(streams: Streams) -> bool:
    return await streams.pending() == 0


async def test_events_that_come_while_a_slot_moves_by_its_keys_wait_for_the_end(
    emptied: Cluster, cluster_client: Any
) -> None:
    streams = Streams(cluster_client)
    await make_streams(cluster_client)
    async with worker(emptied.url) as service:

        def refused() -> bool:
            exposed = service.metrics.exposition("")[0]
            return re.search(rb'redis_errors_total{role="settling events"} [^0]', exposed) is not None

        await register(streams)
        # A notification and a timer, the last of the named keys.
        for user in ("x", "y"):
            await streams.publish("joined", {"userId": user, "roomId": "r"})
        await streams.publish("registered", {"registry": {"id": "x", "user": "x", "expires": 600_000}})
        await wait_until(lambda: _all_there(cluster_client), "all named keys are there")
        assert not refused()
        source, target = emptied.begin_move(KEYS.events)
        await begin_calls(streams)
        # The named keys are all here, and the acknowledgement would succeed; new keys belong there.
        await wait_until(refused, "a commit is refused")
        assert emptied.finish_move(KEYS.events, source, target) > 0
        await wait_until(lambda: _reaches(cluster_client), "the client has found the shard")
        await assert_all_rang_once(streams)


async def test_a_read_that_waits_goes_on_where_the_shard_has_moved(
    emptied: Cluster, cluster_client: Redis
) -> None:
    streams = Streams(cluster_client)
    async with worker(emptied.url):
        await register(streams)
        await wait_until(lambda: _nothing_pending(streams), "the worker waits for more")
        before = emptied.owner(KEYS.events)
        emptied.move_atomically(KEYS.events)
        assert emptied.owner(KEYS.events) is not before
        await wait_until(lambda: _reaches(cluster_client), "the client has found the shard")
        await begin_calls(streams)
        await assert_all_rang_once(streams)


async def _reaches(client: Redis) -> bool:
    try:
        await client.exists(KEYS.events)
    except exceptions.MovedError:
        return False
    return True


async def test_moved_is_told_once_and_the_next_command_goes_to_the_new_node(
    emptied: Cluster, cluster_client: Any
) -> None:
    await cluster_client.xadd(KEYS.events, {"type": "x", "payload": "{}"})
    emptied.move_atomically(KEYS.events)
    with pytest.raises(exceptions.MovedError) as caught:
        await cluster_client.xadd(KEYS.events, {"type": "x", "payload": "{}"})
    assert passes(caught.value)
    assert await cluster_client.xlen(KEYS.events) == 1
    async with cluster_client.pipeline(transaction=True) as pipe:
        pipe.xlen(KEYS.events)
        pipe.xlen(KEYS.dead)
        assert await pipe.execute() == [1, 0]


async def test_no_redirection_to_a_slot_that_is_half_there_is_followed(
    emptied: Cluster, cluster_client: Any
) -> None:
    await cluster_client.set(KEYS.timers, "here")
    source, target = emptied.begin_move(KEYS.events)
    for command in (("GET", KEYS.events), ("EVAL", "return 1", 1, KEYS.events)):
        with pytest.raises(exceptions.AskError) as caught:
            await cluster_client.execute_command(*command)
        assert passes(caught.value)
    with pytest.raises(exceptions.TryAgainError) as again:
        await cluster_client.execute_command("MGET", KEYS.events, KEYS.timers)
    assert passes(again.value)
    assert await cluster_client.get(KEYS.timers) == b"here"
    emptied.finish_move(KEYS.events, source, target)


async def test_a_dead_letter_is_retried_in_one_step_where_the_shard_has_moved(
    emptied: Cluster, cluster_client: Any
) -> None:
    letter = (await cluster_client.xadd(KEYS.dead, {"type": "joined", "payload": "{}"})).decode()
    emptied.move_atomically(KEYS.events)
    with pytest.raises(exceptions.MovedError):
        await DeadLetters(cluster_client, KEYS).retry(letter)
    assert await DeadLetters(cluster_client, KEYS).retry(letter) is not None
    assert (await cluster_client.xlen(KEYS.dead), await cluster_client.xlen(KEYS.events)) == (0, 1)


async def test_a_waiting_read_is_ended_by_the_move_and_takes_nothing(
    emptied: Cluster, cluster_client: Any
) -> None:
    await cluster_client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    source = emptied.owner(KEYS.events)
    async with connect(emptied.url, "reads", keys=KEYS, block_ms=BLOCK_MS) as reads:
        waiting = reads.execute_command(
            *(b"XREADGROUP", "GROUP", WORKERS_GROUP, "me", "BLOCK", BLOCK_MS, "STREAMS", KEYS.events, ">")
        )

        async def move() -> None:
            await wait_until(lambda: _blocked(source) == 1, "the read waits")
            emptied.move_atomically(KEYS.events)

        moving = asyncio.create_task(move())
        with pytest.raises(exceptions.MovedError):
            await waiting
        await moving


def _blocked(node: Node) -> int:
    return int(node.command("INFO", "clients")["blocked_clients"])


@pytest.mark.slow
async def test_a_planned_switch_over_to_the_replica_is_followed() -> None:
    with Replicated() as cluster:
        async with connect(cluster.url, "test") as cluster_client, worker(cluster.url):
            streams = Streams(cluster_client)
            await register(streams)
            await wait_until(lambda: _nothing_pending(streams), "the devices are registered")
            former = cluster.primary
            wait_for(lambda: former.replicated("mark"), "the replica has all")
            cluster.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE)
            cluster.wait_until_served(former)
            # The sentinels would do that too, some ten seconds later.
            former.command("REPLICAOF", HOST, cluster.primary.port)
            wait_for(former.follows, "the former primary is a replica")
            await wait_until(lambda: _writes(cluster_client), "the client has found the primary")
            await begin_calls(streams)
            await assert_all_rang_once(streams)


async def _writes(client: Any) -> bool:
    try:
        await client.set("mark", "")
    except (exceptions.ReadOnlyError, exceptions.ConnectionError):
        return False
    return True
