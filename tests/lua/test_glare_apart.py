"""Two users call each other, and the messages between their shards come late and in any order.

Random courses: the two calls are settled in any order, devices answer, inviters stop, and time passes in between. Both
calls are never accepted at once, and in the end one is, unless something else has ended them.
"""

import asyncio
import json
from random import Random

import pytest
from redis.asyncio import Redis

from invites.events.operation import Operation
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Notification, of_type, peer
from tests.support.shards import Apart

ALICES, BOBS = "alice|1|bob", "bob|9|alice"
CALLS = {
    ALICES: e.invite(transaction="1"),
    BOBS: e.invite(peer("desk", "bob"), to="alice", invite_id="9", room="of-bob", transaction="9"),
}
DEVICES = {"a": "alice", "a-phone": "alice", "desk": "bob", "phone": "bob"}
COURSES = 60
STEPS = 18


class Course:
    """One course of events, and its notifications. `quiet`: nobody stops or declines, and no time passes."""

    def __init__(self, shard: Apart, random: Random) -> None:
        self.shard = shard
        self.random = random
        self.quiet = random.random() < 0.5
        self.told: list[Notification] = []
        self.asked = 0
        self.waiting: list[Operation] = []

    async def run(self) -> None:
        await e.in_order(self.shard, *(e.registered(*device) for device in DEVICES.items()))
        await self.shard.carry()
        await self.publish_both()
        for _ in range(STEPS):
            await self.step()
            await self.look()
        while self.waiting:
            await self.settle()
        for ms in (0, 5_000, 5_000, 60_000, 10_000):
            while await self.shard.carry_any(self.random):
                await self.look()
            await self.look()
            if ms == 0:
                await self.judge()
            self.told += await e.later(self.shard, ms)
        await self.finish()

    async def publish_both(self) -> None:
        """Publish both calls in any order, now and then with the same entry id."""
        refs = self.random.sample(list(CALLS), 2)
        first = self.shard.entry_id()
        for ref in refs:
            kind, payload = CALLS[ref]
            part = self.shard.home_of(payload["to"])
            operation = await part.publish(kind, json.dumps(payload).encode(), first)
            self.shard._published[operation.entry] = part
            self.waiting.append(operation)
            first = first if self.random.random() < 0.2 else self.shard.entry_id()
        self.homes = [self.shard.home_of(CALLS[ref][1]["to"]) for ref in refs]

    async def settle(self) -> None:
        at = self.random.randrange(len(self.waiting))
        operation, part = self.waiting.pop(at), self.homes.pop(at)
        self.shard._sync()
        await part.settle(operation)

    async def step(self) -> None:
        chance = self.random.random()
        if self.waiting and chance < 0.25:
            await self.settle()
        elif chance < 0.6:
            await self.shard.carry_any(self.random)
        elif chance < 0.85:
            await self.answers("accept")
        elif self.quiet:
            await self.answers("ringing")
        elif chance < 0.9:
            await self.answers("decline")
        elif chance < 0.95:
            await self.stops()
        else:
            self.told += await e.later(self.shard, self.random.choice((100, 5_000)))
        self.told += await self.shard.told()

    async def answers(self, kind: str) -> None:
        """A device that has not called answers the call that rings its user."""
        device = self.random.choice(("a-phone", "phone"))
        more = {"from_": "alice"} if device == "phone" else {"from_": "bob", "invite_id": "9"}
        event = getattr(e, kind)(device, DEVICES[device], **more)
        if kind != "ringing":
            self.asked += 1
        self.told += await self.shard.at_home(*event)

    async def stops(self) -> None:
        ref = self.random.choice(list(CALLS))
        _, payload = CALLS[ref]
        self.asked += 1
        stop = e.stop(payload["peer"], callee=payload["to"], invite_id=payload["inviteId"])
        self.told += await self.shard.at_home(*stop)

    async def calls(self) -> dict[str, dict[str, str]]:
        return {ref: await self.shard.invite(ref) for ref in CALLS}

    async def look(self) -> None:
        self.told += await self.shard.told()
        calls = await self.calls()
        accepted = [ref for ref, each in calls.items() if each.get("reason") == "accepted"]
        assert len(accepted) <= 1, f"both are accepted: {calls}"

    async def judge(self) -> None:
        """All has arrived."""
        calls = await self.calls()
        assert not any("held" in each for each in calls.values()), calls
        merged = [ref for ref, each in calls.items() if each["reason"] == "merged"] if self.quiet else []
        if self.quiet:
            assert len(merged) == 1, calls
            (other,) = set(calls) - set(merged)
            assert calls[merged[0]]["into"] == other
            assert calls[other]["reason"] == "accepted"
            assert calls[merged[0]]["room"] == calls[other]["room"]

    async def finish(self) -> None:
        """Each call has one outcome and one record, each question an answer, and nothing rings."""
        calls = await self.calls()
        for each in calls.values():
            assert each["state"] != "PENDING", calls
            if each["reason"] == "merged":
                assert calls[each["into"]]["reason"] == "accepted", calls
        assert len(of_type(self.told, "INVITE_COMPLETED")) == 2
        answers = [one for one in of_type(self.told, "answer") if one.payload["request"] != "ringing"]
        assert len(answers) == self.asked
        ringing: set[tuple[str, str]] = set()
        rang: set[tuple[str, str]] = set()
        for one in self.told:
            heard = {(one.payload.get("inviteId", ""), device) for device in one.peers}
            if one.type == "invitation":
                ringing |= heard
                rang |= heard
            elif one.type == "invitationCancel":
                assert heard <= rang, f"{heard - rang} was told to stop and never rang"
                ringing -= heard
            elif one.type == "inviteAccepted":
                ringing.discard((one.payload["inviteId"], one.payload["peer"]))
            elif one.type == "answer" and one.payload["code"] == 200:
                ringing -= heard
        assert not ringing


@pytest.mark.parametrize("block", range(3))
def test_one_call_comes_of_two_however_late_the_shards_hear_of_each_other(
    valkey_server: str, block: int
) -> None:
    async def run() -> None:
        async with Redis.from_url(valkey_server) as client:
            for seed in range(block * COURSES // 3, (block + 1) * COURSES // 3):
                await client.flushall()
                shard = await Apart.make_several(lambda _: client, Settings(glare="merge"), 5)
                assert shard.home_of("alice") is not shard.home_of("bob")
                try:
                    await Course(shard, Random(seed)).run()
                except AssertionError as error:
                    error.add_note(f"seed {seed}")
                    raise

    asyncio.run(run())
