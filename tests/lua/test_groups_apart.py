"""Groups over several shards whose messages are slow and overtake each other.

Random courses of events, and what must be true at the end of each.
"""

import asyncio
from random import Random

import pytest
from redis.asyncio import Redis

from invites.events.entry import Entry
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import Notification, Shard, make_groups, of_type
from tests.support.shards import Shards

MEMBERS = ("bob", "carol", "dave", "erin")
DEVICES = {f"{user}-{number}": user for user in MEMBERS for number in (1, 2)}
COURSES = 60
STEPS = 25


class Apart(Shards):
    """Shards of which each hears of the others late, in any order."""

    on_the_way: list[tuple[Shard, Entry]]

    async def _carry_all(self) -> None:
        """Nothing is carried until somebody says so."""

    async def carry(self, random: Random) -> bool:
        """Carry one message, any one; False when there is none."""
        self._sync()
        for part in self.parts:
            self.on_the_way += await self._relayed_by(part)
        if not self.on_the_way:
            return False
        part, entry = self.on_the_way.pop(random.randrange(len(self.on_the_way)))
        await self._carry(part, entry)
        await self._hear()
        return True


class Course:
    """One course of events, and what was told in it."""

    def __init__(self, shard: Apart, random: Random) -> None:
        self.shard = shard
        self.random = random
        self.accepts: list[str] = []
        self.ringing: set[str] = set()
        self.told: list[Notification] = []

    async def run(self) -> None:
        groups.team(self.shard, *MEMBERS, sequential=self.random.random() < 0.4)
        for device in DEVICES:
            if self.random.random() < 0.8:
                await self.registers(device)
        await self.does(*e.invite(to="team"))
        for _ in range(STEPS):
            if self.random.random() < 0.45:
                await self.shard.carry(self.random)
                self.hears(await self.shard.told())
            else:
                await self.anything()
        for ms in (0, 10_000, 10_000, 10_000, 60_000, 10_000):
            await self.all_arrive()
            await self.passes(ms)
        await self.all_arrive()

    async def anything(self) -> None:
        device = self.random.choice(list(DEVICES))
        user = DEVICES[device]
        kind = self.random.choice("aaaaaaddddbbrrgnnstuw")
        if kind == "a":
            self.accepts.append(f"t{len(self.accepts)}")
            named = self.random.choice(("team", user))
            await self.does(*e.accept(device, user, to=named, transaction=self.accepts[-1]))
        elif kind in "db":
            code = 603 if kind == "d" else 486
            await self.does(*e.decline(device, user, to=self.random.choice(("team", user)), errorCode=code))
        elif kind == "r":
            await self.does(*e.ringing(device, user))
        elif kind == "g":
            await self.does(*e.disconnected(device, user))
        elif kind == "n":
            await self.registers(device)
        elif kind in "st":
            await self.does(*e.stop(callee="team" if kind == "t" and self.random.random() < 0.3 else user))
        elif kind == "u":
            await self.does(*e.invite(to="team", context=self.random.random()))
        else:
            await self.passes(self.random.choice((3_000, 10_000)))

    async def registers(self, device: str) -> None:
        await self.does(*e.registered(device, DEVICES[device], device=device))

    async def does(self, *event: e.Published | object) -> None:
        kind, payload = event
        assert isinstance(kind, str)
        assert isinstance(payload, dict)
        self.hears(await self.shard.event(kind, payload))

    async def passes(self, ms: int) -> None:
        self.shard.now += ms
        self.hears(await self.shard.fire())

    async def all_arrive(self) -> None:
        while await self.shard.carry(self.random):
            self.hears(await self.shard.told())

    def hears(self, told: list[Notification]) -> None:
        self.told += told
        for each in told:
            said = each.type == "answer" and each.payload["code"] == 200
            if each.type == "invitation":
                self.ringing |= set(each.peers)
            elif each.type == "invitationCancel" or (
                said and each.payload["request"] in {"accept", "decline"}
            ):
                self.ringing -= set(each.peers)

    async def check(self) -> None:
        assert await self.shard.dead() == []
        [record] = of_type(self.told, "INVITE_COMPLETED")
        outcomes = {
            (each.type, each.payload.get("peer"), each.payload["code"])
            for each in self.told
            if each.type in {"inviteAccepted", "inviteRejected"}
        }
        assert len(outcomes) == 1, f"the caller heard {outcomes}"
        [(kind, peer, _)] = outcomes
        answers = [each for each in of_type(self.told, "answer") if each.payload["request"] == "accept"]
        assert sorted(each.payload["transaction"] for each in answers) == sorted(self.accepts)
        winners = {each.peers[0] for each in answers if each.payload["code"] == 200}
        assert winners == ({peer} if kind == "inviteAccepted" else set())
        assert (record.payload["state"] == "ACCEPTED") == (kind == "inviteAccepted")
        ends = [each["endReason"] for each in record.payload["candidates"]]
        assert ends.count(200) == len(winners)
        for device in self.ringing:
            # One that is gone cannot be told; it would be once it is back.
            there = await self.shard.client.hexists(self.shard.keys.registry(DEVICES[device]), device)
            assert not there, f"{device} still rings"
        for user in MEMBERS:
            leg = await self.shard.invite(f"alice|1|{user}")
            assert leg.get("state") != "PENDING", f"the leg of {user} is pending"
            assert not await self.shard.client.exists(self.shard.keys.pending(user))
        assert (await self.shard.invite(groups.TEAM))["state"] != "PENDING"


async def play(url: str, seed: int) -> None:
    async with Redis.from_url(url) as client:
        await client.flushall()
        shard = Apart(lambda _: client, Settings(look_up="groups"), SCRIPTS, 5)
        shard.on_the_way = []
        for part in shard.parts:
            await make_groups(part.client, part.keys)
        course = Course(shard, Random(seed))
        await course.run()
        await course.check()


SCRIPTS = Scripts()


@pytest.mark.timeout(300)
def test_each_course_has_one_outcome_and_leaves_nothing_ringing(valkey_server: str) -> None:
    for seed in range(COURSES):
        try:
            asyncio.run(play(valkey_server, seed))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
