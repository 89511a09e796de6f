"""Messages between shards, when the server of one shard fails over to a replica that lacks them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from invites.connection.clients import Clients
from invites.keys import Keys, shard_of
from tests.support import events as e
from tests.support.servers.cluster import Cluster
from tests.support.servers.node import Node, wait_for
from tests.support.waiting import wait_until
from tests.support.worker import configured, is_settled, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from invites.config import Config

SHARDS: Final = 4  # {0} and {3} are on different nodes
KEYS: Final = [Keys(shard=number, shards=SHARDS) for number in range(SHARDS)]
ROOM_SHARD, CALLEE_SHARD = KEYS[0], KEYS[3]


def _name(prefix: str, keys: Keys) -> str:
    names = (f"{prefix}{number}" for number in range(1_000))
    return next(name for name in names if shard_of(name, SHARDS) == keys.shard)


ROOM, CALLEE = _name("room", ROOM_SHARD), _name("bob", CALLEE_SHARD)


@pytest.fixture(scope="module")
def replicated() -> Iterator[Cluster]:
    """A cluster whose primaries have a replica each."""
    with Cluster() as found:
        assert found.owner(ROOM_SHARD.base) is not found.owner(CALLEE_SHARD.base)
        yield found


@pytest.fixture
async def clients(replicated: Cluster) -> AsyncIterator[Clients]:
    async with Clients(replicated.url, "test") as found:
        yield found


def _config() -> Config:
    config = configured()
    return msgspec.structs.replace(config, redis=msgspec.structs.replace(config.redis, shards=SHARDS))


async def _publish(clients: Clients, keys: Keys, *events: e.Published) -> None:
    for kind, payload in events:
        fields: Any = {"type": kind, "payload": json.dumps(payload)}
        await clients.of(keys).xadd(keys.events, fields)


async def _heard(clients: Clients, keys: Keys, kind: str) -> None:
    """Wait until a notification of a type is in a shard."""

    async def there() -> bool:
        told: Any = await clients.of(keys).xrange(keys.notifications)
        return any(fields[b"type"] == kind.encode() for _, fields in told)

    await wait_until(there, f"{kind} is among the notifications", 30.0)


async def _settled(clients: Clients, keys: Keys) -> None:
    await wait_until(lambda: is_settled(clients.of(keys), keys.events, keys.relay), "all is settled")


def _stop_replication(cluster: Cluster, primary: Node) -> Node:
    """Cut off the replica of a primary; returns the replica, which is frozen."""
    replica = cluster.replica_of(primary)
    wait_for(lambda: primary.replicated(CALLEE_SHARD.base + "mark"), "the replica has all until here")
    replica.freeze()
    # Otherwise it would later read from its socket what has already been sent.
    primary.command("CLIENT", "KILL", "TYPE", "replica")
    return replica


async def test_a_message_that_the_target_loses_in_a_fail_over_is_carried_again(
    replicated: Cluster, clients: Clients
) -> None:
    async with running(_config(), replicated.url):
        await _publish(clients, CALLEE_SHARD, e.registered("phone", CALLEE), e.invite(to=CALLEE, room=ROOM))
        await _heard(clients, CALLEE_SHARD, "invitation")

        async def known() -> bool:
            return bool(await clients.of(ROOM_SHARD).exists(ROOM_SHARD.room_invites(ROOM)))

        await wait_until(known, "the room's shard knows the invite")
        await _settled(clients, CALLEE_SHARD)
        primary = replicated.owner(CALLEE_SHARD.base)
        replica = _stop_replication(replicated, primary)
        try:
            await _publish(clients, ROOM_SHARD, e.room_closed(ROOM))
            await _heard(clients, CALLEE_SHARD, "invitationCancel")
            await _settled(clients, ROOM_SHARD)
            primary.kill()
        finally:
            replica.thaw()
        await asyncio.to_thread(replicated.wait_until_served, CALLEE_SHARD.base, primary)
        await _heard(clients, CALLEE_SHARD, "invitationCancel")


async def test_what_is_settled_stays_for_a_while(
    replicated: Cluster, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def length(stream: str) -> int:
        return int(await clients.of(ROOM_SHARD).xlen(stream))

    async def all_events_trimmed() -> bool:
        return await length(ROOM_SHARD.events) == 0

    async def relay_trimmed() -> bool:
        return await length(ROOM_SHARD.relay) <= 1

    misrouted = [e.registered(f"phone-{number}", CALLEE) for number in range(5)]
    async with running(_config(), replicated.url):
        await _publish(clients, ROOM_SHARD, *misrouted)
        await _settled(clients, ROOM_SHARD)
        await wait_until(all_events_trimmed, "what is settled is trimmed from the events")
        assert await length(ROOM_SHARD.relay) >= len(misrouted)
    monkeypatch.setattr("workers.roles.carry_again.KEPT_S", 0.0)
    async with running(_config(), replicated.url):
        await _publish(clients, ROOM_SHARD, *misrouted)
        await wait_until(relay_trimmed, "what was settled before is trimmed from the relay stream")
