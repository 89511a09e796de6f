"""How long the server runs each rule at all limits, by its slow log.

    python -m tests.script_times

The longest commit of each step, in ms and in commands. A step is an event with all the pages that follow from it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from redis.asyncio import Redis

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.servers.node import Node
from tests.support.shard import Shard, peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.events import Published

_SETTINGS: Final = Settings(
    look_up="groups",
    remove_after=5_000,
    only_one_device_with_invitations=True,
    devices_per_user=100,
    redial="ring",
)
_BATCH: Final = 50  # events in one commit of the preparation

OPTIONS: Final = {"slowlog-log-slower-than": "-1", "slowlog-max-len": "100000"}
"""The server's options. Its slow log keeps every command while a step is measured."""


class Step(NamedTuple):
    """A step; of its commits, the longest time (ms) and the largest number of commands."""

    name: str
    ms: float
    commands: int


class _Measured:
    """A shard that measures its commits."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard

    async def prepare(self, events: Sequence[Published]) -> None:
        """Settle many events, in batches."""
        for first in range(0, len(events), _BATCH):
            some = [await self.shard.publish(*event) for event in events[first : first + _BATCH]]
            await self.shard.settle(*some)
        await self.shard.fire()

    async def measure(self, name: str, event: Published | None = None) -> Step:
        """Settle an event alone, or fire due timers, with all pages."""
        operation = event and await self.shard.publish(*event)
        await self.shard.client.slowlog_reset()
        await self.shard.client.config_set("slowlog-log-slower-than", 0)
        if operation:
            await self.shard.settle(operation)
        await self.shard.fire()
        await self.shard.client.config_set("slowlog-log-slower-than", -1)
        found = await self.shard.client.slowlog_get(100_000)
        # The latest comes first, and the commands of a function come before its call.
        calls = [at for at, one in enumerate(found) if one["command"].startswith(b"FCALL")]
        commands = [end - at - 1 for at, end in zip(calls, [*calls[1:], len(found)], strict=True)]
        return Step(name, max(found[at]["duration"] / 1_000 for at in calls), max(commands))


async def steps(client: Redis, trunk_calls: int, members: int) -> AsyncIterator[Step]:
    """Prepare a server and take each step on it, with this many calls of a trunk and members of a room."""
    shard = await Shard.make(client, _SETTINGS)
    measured = _Measured(shard)
    devices = [e.registered(f"bob-{number}", device=f"device-{number}") for number in range(100)]
    await measured.prepare(devices)
    callers = [peer(f"c{number}", f"caller-{number}") for number in range(20)]
    await measured.prepare([e.invite(by=one, invite_id=str(at)) for one in callers for at in range(10)])
    yield await measured.measure("a device with 200 pending invites registers again", devices[0])
    yield await measured.measure(
        "the same, with a new session", e.registered("bob-0", device="device-0", session="2")
    )
    yield await measured.measure("it is lost", e.disconnected("bob-0"))
    yield await measured.measure("it is back", e.registered("bob-0", device="device-0", session="3"))
    yield await measured.measure("its user gets a 101st device", e.registered("bob-100"))
    yield await measured.measure("it asks for its invitations", e.invitations("bob-0"))
    yield await measured.measure(
        "a service stops one of them", ("stopInvite", {"inviteId": "9", "callee": "bob"})
    )
    yield await measured.measure("the user accepts one", e.accept("bob-0", from_="caller-1", invite_id="1"))
    yield await measured.measure("the room of all others closes", e.room_closed())

    callees = [f"callee-{number}" for number in range(100)]
    await measured.prepare([e.registered(f"of-{callee}", callee) for callee in callees])
    await measured.prepare([e.registered("a", "alice", device="laptop")])
    await measured.prepare([e.invite(to=callee, invite_id=str(at)) for callee in callees for at in range(10)])
    yield await measured.measure("a caller of 1,000 is lost", e.disconnected("a", "alice"))
    yield await measured.measure("the caller is back", e.registered("a2", "alice", device="laptop"))
    yield await measured.measure("the caller leaves the room", e.left("alice"))

    team = [f"member-{number}" for number in range(500)]
    await measured.prepare([e.registered(f"of-{member}", member) for member in team])
    groups.team(shard, *team)
    yield await measured.measure("a group of 500 is called", e.invite(to="team", invite_id="g"))
    yield await measured.measure(
        "a member accepts", e.accept("of-member-7", "member-7", to="team", invite_id="g")
    )

    await measured.prepare([e.trunk("t")])
    await measured.prepare([e.invite(to=f"+49{number}", invite_id="n") for number in range(trunk_calls)])
    yield await measured.measure(f"a trunk with {trunk_calls:,} calls registers again", e.trunk("t"))
    yield await measured.measure("it is lost", e.disconnected("t", "sip"))
    shard.now += _SETTINGS.remove_after
    yield await measured.measure("it stays away")

    await client.hset(shard.keys.room_members("hall"), mapping={f"m{at}": shard.now for at in range(members)})
    yield await measured.measure(f"a user joins a room of {members:,}", e.joined("bob", "hall"))
    yield await measured.measure("the room closes", e.room_closed("hall"))


async def _main() -> None:
    with Node(OPTIONS) as node:
        async with Redis.from_url(node.url) as client:
            async for step in steps(client, trunk_calls=10_000, members=50_000):
                sys.stdout.write(f"{step.ms:8.2f} ms  {step.commands:5} commands  {step.name}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main())
