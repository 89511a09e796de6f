"""Calls to groups and to phones in pockets while workers die and sippo-server fails; what must hold of each."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from invites.keys import Keys
from invites.sippo.answers import PushDevice
from tests import calling
from tests.driving import peer
from tests.waiting import wait_until
from workers.standin import HANG, RESET, Directory, GroupEntry, StandIn, slow, status

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tests.calling import Published
    from tests.chaos.fleet import Fleet

_GROUPS: Final = 4
_MEMBERS: Final = 45  # three pages
_PHONES: Final = 25
_WITHIN_S: Final = 60.0
_RING_MS: Final = 120_000  # longer than a call takes here, however busy the machine is
_FAULTS: Final = (status(500), status(503), slow(200), slow(600), RESET, HANG)


def directory() -> Directory:
    """Groups whose members have a phone each, and users that have nothing else."""
    groups = {
        f"group{group}": GroupEntry([f"g{group}-{member}" for member in range(_MEMBERS)])
        for group in range(_GROUPS)
    }
    users = [member for group in groups.values() for member in group.participants]
    users += [f"user{number}" for number in range(_PHONES)]
    return Directory({user: [PushDevice(_phone(user), "ios")] for user in users}, groups)


def _phone(user: str) -> str:
    return f"{user}-phone"


def _desk(user: str) -> str:
    return f"{user}-desk"


@dataclass
class Call:
    """One call: how it is to end, and what was told of it."""

    invite_id: str
    to: str
    ending: str
    winner: str = ""
    rung: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.invite_id} ({self.ending})"


class Reach:
    """Plays rounds of calls; `faults` says what was wrong with them."""

    def __init__(self, client: Redis, standin: StandIn, fleet: Fleet, seed: int) -> None:
        self.calls: dict[str, Call] = {}
        self.faults: list[str] = []
        self._client: Any = client
        self._standin = standin
        self._fleet = fleet
        self._keys = Keys()
        self._random = random.Random(seed)
        self._identities: Counter[str] = Counter()
        self._stopping = asyncio.Event()

    async def play(self, rounds: int) -> None:
        """So many rounds while workers and sippo-server are harmed; then wait for the rest, and check."""
        desks = [_desk(f"g{group}-{member}") for group in range(_GROUPS) for member in range(_MEMBERS)]
        await self._publish([calling.registered(desk, desk.removesuffix("-desk")) for desk in desks])
        await self._settled()
        loops = (self._listen(), self._harm_workers(), self._harm_sippo_server())
        running = [asyncio.create_task(loop) for loop in loops]
        try:
            for number in range(rounds):
                await self._round(number)
            self._standin.heal()
            await self._settled()
        finally:
            self._stopping.set()
            await asyncio.gather(*running)
        await self._check()

    async def _round(self, number: int) -> None:
        calls = [
            Call(f"{number}-{to}", to, self._random.choice(("accept", "accept", "stop")))
            for to in (
                *(f"group{group}" for group in range(_GROUPS)),
                *(f"user{user}" for user in range(_PHONES)),
            )
        ]
        self.calls.update({call.invite_id: call for call in calls})
        await self._publish(
            [calling.invite(to=call.to, invite_id=call.invite_id, expires=_RING_MS) for call in calls]
        )
        await asyncio.gather(*(self._end(call) for call in calls))

    async def _end(self, call: Call) -> None:
        """Let it ring for a while, end it, and wait until it is over."""
        await wait_until(lambda: call.told["inviteProgress"] > 0, f"{call.name} rings", _WITHIN_S)
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        await self._publish(self._ending(call))
        await wait_until(lambda: call.told["INVITE_COMPLETED"] > 0, f"{call.name} is over", _WITHIN_S)

    def _ending(self, call: Call) -> list[Published]:
        if call.ending == "stop":
            return [calling.stop(callee=call.to, invite_id=call.invite_id)]
        if call.to.startswith("group"):
            user = self._random.choice(self._standin.directory.groups[call.to].participants)
            call.winner = _desk(user)
            return [calling.accept(call.winner, user, invite_id=call.invite_id)]
        # The phone wakes up, as often as its network likes.
        call.winner = f"{call.invite_id}-peer"
        waking = calling.registered(call.winner, call.to, device=_phone(call.to))
        leaving = "unregistered", {"peer": peer(call.winner, call.to)}
        return [waking, waking, calling.accept(call.winner, call.to, invite_id=call.invite_id), leaving]

    async def _listen(self) -> None:
        """Hear what is told, until it is all over."""
        heard = b"0-0"
        while True:
            found = await self._client.xread({self._keys.notifications: heard}, 1_000, block=100)
            for entry, fields in found[0][1] if found else ():
                heard = entry
                self._hear(fields)
            if not found and self._stopping.is_set():
                return

    def _hear(self, fields: dict[bytes, bytes]) -> None:
        self._identities[fields[b"id"].decode()] += 1
        kind, payload = fields[b"type"].decode(), json.loads(fields[b"payload"])
        call = self.calls.get(payload.get("inviteId"))
        if call is None:
            return
        call.told[kind] += 1
        if kind == "answer":
            call.codes[payload["code"]] += 1
        if kind in {"invitation", "invitationCancel"}:
            (call.rung if kind == "invitation" else call.stopped).update(json.loads(fields[b"peers"]))

    async def _publish(self, events: list[Published]) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            for kind, payload in events:
                pipe.xadd(self._keys.events, {"type": kind, "payload": json.dumps(payload)})
            await pipe.execute()

    async def _settled(self) -> None:
        async def done() -> bool:
            try:
                groups = [
                    group
                    for stream in (self._keys.events, self._keys.relay, self._keys.push)
                    for group in await self._client.xinfo_groups(stream)
                ]
            except RedisError:
                return False  # no worker has made a stream yet
            return len(groups) == 3 and not any(group["pending"] or group["lag"] for group in groups)

        await wait_until(done, "everything is settled", _WITHIN_S)

    async def _harm_workers(self) -> None:
        while not self._stopping.is_set():
            # Whoever is killed before it has done anything shows nothing, and a slow machine would never get on.
            before = len(self._identities)
            await asyncio.sleep(self._random.uniform(0.5, 1.5))
            if len(self._identities) > before:
                await asyncio.to_thread(self._fleet.thaw)
                await asyncio.to_thread(self._fleet.harm_one)
        await asyncio.to_thread(self._fleet.thaw, all_=True)

    async def _harm_sippo_server(self) -> None:
        while not self._stopping.is_set():
            await asyncio.sleep(self._random.uniform(0.1, 0.5))
            self._standin.fault(self._random.choice(_FAULTS), "push", times=self._random.randint(1, 8))

    async def _check(self) -> None:
        self.faults += [
            f"notification {name} came twice" for name, count in self._identities.items() if count > 1
        ]
        for call in self.calls.values():
            self._check_call(call)
        self._check_pushes()
        dead = await self._client.xlen(self._keys.dead)
        if dead:
            self.faults.append(f"{dead} dead letters")

    def _check_call(self, call: Call) -> None:
        outcome = "inviteAccepted" if call.ending == "accept" else "inviteRejected"
        wanted = {"INVITE_COMPLETED": 1, outcome: 1, "answer": 1}
        found = {kind: call.told[kind] for kind in wanted}
        if found != wanted or call.codes != {200: 1}:
            self.faults.append(
                f"{call.name} should have told {wanted}, it told {call.told}, answers {call.codes}"
            )
        twice = [name for name, count in (call.rung + call.stopped).items() if count > 2]
        if twice or max(call.rung.values(), default=0) > 1:
            self.faults.append(f"{call.name} rang somebody twice")
        ringing = set(call.rung) - set(call.stopped) - {call.winner}
        if ringing or call.stopped[call.winner]:
            self.faults.append(f"{call.name} goes on ringing at {ringing}, or has stopped its winner")

    def _check_pushes(self) -> None:
        """Whoever was pushed and is not the phone that won has been told to stop; the last word is the end."""
        last = {(push.job.collapse_id, push.job.device): push.job.type for push in self._standin.pushes}
        winners = {
            f"alice|{call.invite_id}|{call.to}"
            for call in self.calls.values()
            if call.winner.endswith("-peer")
        }
        self.faults += [
            f"{ref} goes on ringing at {device}"
            for (ref, device), kind in last.items()
            if kind == "invitation" and ref not in winners
        ]
