"""Groups over several shards whose messages are slow and overtake each other.

Random courses of events, and what must be true at the end of each.
"""

import asyncio
from random import Random

import pytest
from redis.asyncio import Redis

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import Notification, of_type
from tests.support.shards import Apart

MEMBERS = ("bob", "carol", "dave", "erin")
DEVICES = {f"{user}-{number}": user for user in MEMBERS for number in (1, 2)}
COURSES = 60
LOSING = 20
STEPS = 25


class Course:
    """One course of events, and its notifications."""

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
        for number in range(STEPS + 1):
            await self.step(number)
        for ms in (0, 10_000, 10_000, 10_000, 60_000, 10_000):
            await self.all_arrive()
            await self.passes(ms)
        await self.all_arrive()

    async def step(self, number: int) -> None:
        if number == 0:
            await self.does(*e.invite(to="team"))
        elif self.random.random() < 0.45:
            await self.shard.carry_any(self.random)
            self.hears(await self.shard.told())
        else:
            await self.anything()

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
        while await self.shard.carry_any(self.random):
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
        for peer in winners:
            codes = [each.payload["code"] for each in answers if each.peers == [peer]]
            assert 410 not in codes[codes.index(200) :], f"{peer} heard {codes}"
        assert winners == ({peer} if kind == "inviteAccepted" else set())
        assert (record.payload["state"] == "ACCEPTED") == (kind == "inviteAccepted")
        ends = [each["endReason"] for each in record.payload["candidates"]]
        assert ends.count(200) == len(winners)
        for device in self.ringing:
            # A device that is gone cannot be told; it would be once it is back.
            there = await self.shard.client.hexists(self.shard.keys.registry(DEVICES[device]), device)
            assert not there, f"{device} still rings"
        await self.check_that_all_is_over()

    async def check_that_all_is_over(self) -> None:
        for user in MEMBERS:
            leg = await self.shard.invite(f"alice|1|{user}")
            assert leg.get("state") != "PENDING", f"the leg of {user} is pending"
            assert not await self.shard.client.exists(self.shard.keys.pending(user))
        assert (await self.shard.invite(groups.TEAM)).get("state") != "PENDING"


class LosingCourse(Course):
    """One in which a shard loses its last commits alone: others have taken its messages, and it asks again."""

    async def run(self) -> None:
        self.copies_at = self.random.choice((0, 0, 0, 3))
        self.loses_at = self.copies_at + self.random.randrange(1, 6)
        await super().run()

    async def step(self, number: int) -> None:
        if number == self.copies_at:
            self.lost = self.shard.home_of(self.random.choice(("team", "team", *MEMBERS)))
            self.copy = await self.shard.copy_of(self.lost)
        elif number == self.loses_at:
            await self.all_arrive()
            device = self.random.choice(list(DEVICES))
            self.hears(await self.shard.at_home(*e.accept(device, DEVICES[device])))
            for _ in range(self.random.choice((0, 1, 1, 2))):
                await self.shard.carry_any(self.random)
            await self.shard.fail_over(self.lost, self.copy)
        await super().step(number)

    async def check(self) -> None:
        assert await self.shard.dead() == []
        await self.check_that_all_is_over()


async def play(url: str, seed: int, course_type: type[Course]) -> None:
    async with Redis.from_url(url) as client:
        await client.flushall()
        shard = await Apart.make_several(lambda _: client, Settings(look_up="groups"), 5)
        course = course_type(shard, Random(seed))
        await course.run()
        await course.check()


def play_all(url: str, courses: int, course_type: type[Course]) -> None:
    for seed in range(courses):
        try:
            asyncio.run(play(url, seed, course_type))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.timeout(300)
def test_each_course_has_one_outcome_and_leaves_nothing_ringing(valkey_server: str) -> None:
    play_all(valkey_server, COURSES, Course)


@pytest.mark.timeout(300)
def test_all_legs_end_although_a_shard_has_lost_its_last_commits(valkey_server: str) -> None:
    play_all(valkey_server, LOSING, LosingCourse)
