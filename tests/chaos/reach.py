"""Plays calls to groups and to phones in pockets while workers die and sippo-server fails."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING, Any, Final

from invites.sippo.answers import PushDevice
from tests.chaos.heard import Call, Heard
from tests.support import events as calling
from tests.support.shard import peer
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import HANG, RESET, Directory, FakeSippo, GroupEntry, slow, status

if TYPE_CHECKING:
    from tests.chaos.calls import Event
    from tests.chaos.fleet import Fleet
    from tests.chaos.gateway import Post

_GROUPS: Final = 4
_MEMBERS: Final = 45  # three pages
_PHONES: Final = 25
_WITHIN_S: Final = 40.0
_RING_MS: Final = 120_000  # longer than a call takes here, however busy the machine is
_FAULTS: Final = (status(500), status(503), slow(200), slow(1_200), RESET, HANG)


def directory() -> Directory:
    """Groups whose members have a phone each, and users that have nothing else."""
    groups = {
        f"group{group}": GroupEntry([f"g{group}-{member}" for member in range(_MEMBERS)])
        for group in range(_GROUPS)
    }
    users = [member for group in groups.values() for member in group.participants]
    users += [f"user{number}" for number in range(_PHONES)]
    return Directory({user: [PushDevice(_phone(user), "ios")] for user in users}, groups)


def asking(fake_sippo: FakeSippo) -> dict[str, Any]:
    """`invites` of workers that ask this sippo-server for groups and phones, and never give up on an entry.

    Only pushes fail. A lookup has time, since a call whose lookup fails ends with 500.
    """
    wac = {**fake_sippo.wac, "timeout": 1_000, "deadline": 20_000, "breakFor": 300}
    return {"basic": {"resolveGroups": True, "resolvePush": True, "wac": wac}, "maxDeliveries": 100}


def _phone(user: str) -> str:
    return f"{user}-phone"


def _desk(user: str) -> str:
    return f"{user}-desk"


class Reach:
    """Plays rounds of calls; afterwards `faults` has their faults."""

    def __init__(self, post: Post, fake_sippo: FakeSippo, fleet: Fleet, seed: int) -> None:
        self.heard = Heard()
        self.faults: list[str] = []
        self._post = post
        self._fake_sippo = fake_sippo
        self._fleet = fleet
        self._random = random.Random(seed)
        self._healing = asyncio.Event()
        # Held while pushes must get through.
        self._sparing_sippo_server = asyncio.Lock()

    async def play(self, rounds: int, harmed: int = 4) -> None:
        """Play `rounds` rounds, and more until enough workers are `harmed`; then wait for the rest, and check."""
        desks = [_desk(f"g{group}-{member}") for group in range(_GROUPS) for member in range(_MEMBERS)]
        await self._publish([calling.registered(desk, desk.removesuffix("-desk")) for desk in desks])
        await wait_until(self._post.settled, "the devices are registered", _WITHIN_S)
        listening = asyncio.create_task(self._post.listen(self.heard.hear, lambda _: None))
        harming = [asyncio.create_task(loop) for loop in (self._harm_workers(), self._harm_sippo_server())]
        try:
            for number in itertools.count():
                if number >= rounds and sum(self._fleet.harm.values()) >= harmed:
                    break
                await self._round(number)
                for task in harming:
                    if task.done():
                        task.result()  # it should not have ended, so it raises its error
            self._healing.set()
            await asyncio.gather(*harming)
            self._fake_sippo.heal()
            await wait_until(self._post.over, "everything is settled", _WITHIN_S)
        finally:
            self._healing.set()
            listening.cancel()
            await asyncio.gather(listening, *harming, return_exceptions=True)
        self.faults = self.heard.check([push.job for push in self._fake_sippo.pushes])
        dead = await self._post.dead()
        if dead:
            self.faults.append(f"{dead} dead letters")

    async def _round(self, number: int) -> None:
        calls = [
            Call(f"{number}-{to}", to, self._random.choice(("accept", "accept", "stop")))
            for to in (
                *(f"group{group}" for group in range(_GROUPS)),
                *(f"user{user}" for user in range(_PHONES)),
            )
        ]
        self.heard.begin(calls)
        await self._publish(
            [calling.invite(to=call.to, invite_id=call.invite_id, expires=_RING_MS) for call in calls]
        )
        await asyncio.gather(*(self._end(call) for call in calls))
        await wait_until(self._phones_sleep, "all phones sleep again", _WITHIN_S)

    async def _end(self, call: Call) -> None:
        """Let it ring for a while, end it, and wait until it is over."""
        begun = "invitation" if call.to.startswith("group") else "inviteProgress"
        await wait_until(lambda: begun in call.told, f"{call.name} rings", _WITHIN_S)
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        await self._publish(self._ending(call))
        await wait_until(lambda: bool(call.history.ended), f"{call.name} is over", _WITHIN_S)
        if call.winner.endswith("-peer"):
            await self._publish([("unregistered", {"peer": peer(call.winner, call.to)})])

    async def _phones_sleep(self) -> bool:
        return await self._post.has_no_events()

    def _ending(self, call: Call) -> list[Event]:
        if call.ending == "stop":
            asked = call.history.ask("stopInvite", "a")
            return [calling.stop(callee=call.to, invite_id=call.invite_id, transaction=asked)]
        waking = []
        if call.to.startswith("group"):
            call.winner = self._random.choice(sorted(call.history.rung))
            user = call.winner.removesuffix("-desk")
        else:
            # The phone wakes up, as often as its network likes.
            call.winner, user = f"{call.invite_id}-peer", call.to
            waking = [calling.registered(call.winner, user, device=_phone(user))] * 2
        asked = call.history.ask("accept", call.winner)
        return [*waking, calling.accept(call.winner, user, invite_id=call.invite_id, transaction=asked)]

    async def _publish(self, events: list[Event]) -> None:
        refused = await self._post.send(events)
        assert not refused, refused

    async def _harm_workers(self) -> None:
        while not self._healing.is_set():
            # Killing a worker before it has done anything shows nothing, and on a slow machine none would get further.
            before = self.heard.notifications
            await asyncio.sleep(self._random.uniform(0.5, 1.5))
            if self.heard.notifications > before:
                await asyncio.to_thread(self._fleet.thaw)
                await asyncio.to_thread(self._fleet.harm_one)
        await asyncio.to_thread(self._fleet.thaw, all_=True)

    async def _harm_sippo_server(self) -> None:
        while not self._healing.is_set():
            await asyncio.sleep(self._random.uniform(0.1, 0.5))
            async with self._sparing_sippo_server:
                self._fake_sippo.fault(self._random.choice(_FAULTS), "push", times=self._random.randint(1, 8))
