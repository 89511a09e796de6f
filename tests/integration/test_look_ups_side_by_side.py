"""A look-up holds up nobody else, is kept from other workers, and is lost with no worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from invites.keys import WORKERS_GROUP
from tests.support import events as e
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Json
from tests.support.worker_lookups import Reaching, configured, counted, reaching, rejected, rung, settings
from workers.lab.fake_sippo import HANG, slow
from workers.service import Service

PUSH: Json = {"resolvePush": True}
GROUPS: Json = {"resolveGroups": True}
PATIENT: Json = {"wac": {"timeout": 20_000, "deadline": 20_000}}


async def test_a_hundred_that_hang_hold_up_nobody(valkey_url: str) -> None:
    async with reaching(valkey_url, GROUPS | PATIENT) as at:
        at.fake_sippo.fault(HANG, "groups")
        await at.publish(*[e.invite(to=f"u{number}", invite_id=f"hangs-{number}") for number in range(100)])
        await wait_until(lambda: at.fake_sippo.requests["groups"] == 100, "all hundred are asked for")
        told = await at.call(e.registered("tablet"), e.invite())
        assert rung(told) == {"tablet"}
        await at.publish(e.stop())
        (cancelled,) = await at.heard("invitationCancel")
        assert cancelled.peers == ["tablet"]
        assert await at.pending() == 100
        assert at.asked == {"groups": 100}


async def test_trunks_are_chosen_while_a_hundred_hang(valkey_url: str) -> None:
    async with reaching(valkey_url, GROUPS | PATIENT, parallelSip=True) as at:
        at.fake_sippo.fault(HANG, "groups")
        await at.publish(*[e.invite(to=f"u{number}", invite_id=f"hangs-{number}") for number in range(100)])
        await wait_until(lambda: at.fake_sippo.requests["groups"] == 100, "all hundred are asked for")
        # Bob is registered, so he is no group and nobody has to be asked.
        assert rung(await at.call(e.trunk("any"), e.registered("tablet"), e.invite())) == {"any"}
        assert await at.pending() == 100


async def test_a_cancel_of_the_very_call_that_is_looked_up_wins(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH | {"wac": {"timeout": 5_000, "deadline": 5_000}}) as at:
        at.fake_sippo.fault(slow(400))
        await at.publish(e.registered("tablet"), e.invite())
        await wait_until(lambda: at.fake_sippo.under_way > 0, "it is looked up")
        await at.publish(e.stop(transaction=7))
        (answer,) = await at.heard("answer", transaction=7)
        assert answer.payload["code"] == 200
        told = await at.heard_of()
        assert rejected(told) == (487, "cancelled")
        assert counted(told) == {"answer": 1, "inviteRejected": 1, "INVITE_COMPLETED": 1}
        assert at.asked == {"pushDevices": 1}


async def test_a_room_that_closes_meanwhile_ends_the_call(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH) as at:
        at.fake_sippo.fault(slow(200))
        await at.publish(e.registered("tablet"), e.invite())
        await wait_until(lambda: at.fake_sippo.under_way > 0, "it is looked up")
        await at.publish(("roomClosed", {"roomId": "r"}))
        assert rejected(await at.heard_of()) == (487, "room_closed")


async def test_a_device_that_registers_meanwhile_rings_once(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH) as at:
        at.fake_sippo.fault(slow(200))
        await at.publish(e.invite())
        await wait_until(lambda: at.fake_sippo.under_way > 0, "it is looked up")
        await at.publish(e.registered("p1", device="bob-phone"))
        told = await at.heard_of()
        assert [one.peers for one in told if one.type == "invitation"] == [["p1"]]
        assert await at.candidates() == {"p1": "PEER bob"}


async def test_a_repeat_that_comes_meanwhile_makes_no_second_call(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH) as at:
        at.fake_sippo.fault(slow(200))
        await at.publish(
            e.registered("tablet"), e.invite(), e.invite(context={"n": 1}), e.invite(context={"n": 1})
        )
        await at.heard("inviteProgress", 3)
        await at.settled()
        invitations = await at.heard("invitation")
        assert [one.payload["resumed"] for one in invitations] == [False, True]
        assert at.asked == {"pushDevices": 1}


async def test_many_wait_their_turn_and_are_settled_together(valkey_url: str) -> None:
    async with reaching(valkey_url, GROUPS | {"wac": {"maxConcurrent": 40}}) as at:
        at.fake_sippo.fault(slow(20))
        await at.publish(e.trunk("any"))
        await at.settled()
        before = _commits(at.service)
        await at.publish(*[e.invite(to="+34600", invite_id=str(number)) for number in range(400)])
        await at.heard("invitation", 400)
        assert at.fake_sippo.most_at_once == 40
        assert at.asked == {"groups": 400}
        assert _commits(at.service) - before < 200


def _commits(service: Service) -> float:
    return service.metrics.registry.get_sample_value("invites_commit_events_count") or 0.0


# --- several workers


@contextlib.asynccontextmanager
async def _another(at: Reaching, url: str, basic: Json, **invites: Any) -> AsyncIterator[Service]:
    service = Service(configured(at.fake_sippo.address, basic, **invites), url)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()


async def test_what_takes_long_is_left_to_who_has_it(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH | PATIENT) as at, _another(at, valkey_url, PUSH | PATIENT):
        at.fake_sippo.fault(slow(1_500))  # five hand-over times
        told = await at.call(e.registered("tablet"), e.invite())
        await at.settled()
        assert counted(told)["invitation"] == 1
        assert at.asked == {"pushDevices": 1}


async def test_a_worker_that_stops_finishes_what_it_looks_up(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH | PATIENT) as at:
        at.fake_sippo.fault(slow(1_500))  # five hand-over times
        await at.publish(e.registered("tablet"), e.invite())
        await wait_until(lambda: at.fake_sippo.under_way > 0, "it is looked up")
        async with _another(at, valkey_url, PUSH | PATIENT):
            await at.service.drain()
            assert counted(await at.told("1"))["invitation"] == 1
            await at.settled()
        assert at.asked == {"pushDevices": 1}


async def test_a_worker_that_cannot_finish_hands_back(valkey_url: str) -> None:
    async with reaching(valkey_url, PUSH | PATIENT, claimAfter=600_000) as at:
        at.fake_sippo.fault(HANG)
        (entry,) = await at.publish(e.invite())
        await wait_until(lambda: at.fake_sippo.under_way > 0, "it is looked up")
        await at.service.drain(within_s=0.1)
        (found,) = await at.client.xpending_range(KEYS.events, WORKERS_GROUP, "-", "+", 10)
        assert (found["message_id"].decode(), found["times_delivered"]) == (entry, 1)
        assert found["time_since_delivered"] >= 600_000
        at.fake_sippo.heal()
        async with _another(at, valkey_url, PUSH, claimAfter=600_000):
            await at.heard_of()
        assert await at.candidates() == {"bob-phone": "PUSH bob"}


# --- real processes


@contextlib.asynccontextmanager
async def _process(
    at: Reaching, url: str, folder: Path, basic: Json
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process as an operator starts it; killed at the end if it still runs."""
    file = folder / "config.json"
    file.write_text(json.dumps({"http": {"port": 0}, "invites": settings(at.fake_sippo.address, basic)}))
    command = ("-m", "workers", "run", "--config", str(file), "--redis-url", url)
    running = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def test_a_worker_that_is_killed_while_it_asks_loses_nothing(valkey_url: str, tmp_path: Path) -> None:
    async with reaching(valkey_url, PUSH | PATIENT) as at:
        await at.service.drain()
        async with _process(at, valkey_url, tmp_path, PUSH | PATIENT) as running:
            at.fake_sippo.fault(HANG, "pushDevices")
            calls = [e.invite(invite_id=str(number)) for number in range(20)]
            await at.publish(e.registered("tablet"), *calls)
            await wait_until(lambda: at.fake_sippo.requests["pushDevices"] > 0, "it is looked up")
            running.kill()
            await running.wait()
        assert await at.pending() >= 1
        at.fake_sippo.heal()
        async with _another(at, valkey_url, PUSH):
            await at.heard("invitation", 20)
            await at.settled()
        assert counted(await at.told())["invitation"] == 20
        assert len(await at.heard("inviteProgress", code=100)) == 20


async def test_a_signal_lets_a_look_up_end(valkey_url: str, tmp_path: Path) -> None:
    async with reaching(valkey_url, PUSH | PATIENT) as at:
        await at.service.drain()
        async with _process(at, valkey_url, tmp_path, PUSH | PATIENT) as running:
            at.fake_sippo.fault(slow(300))
            await at.publish(e.registered("tablet"), e.invite())
            await wait_until(lambda: at.fake_sippo.under_way > 0, "it is looked up")
            running.send_signal(signal.SIGTERM)
            assert await running.wait() == 0
        assert counted(await at.told("1"))["invitation"] == 1
        async with Redis.from_url(valkey_url) as client:
            assert await client.xinfo_consumers(KEYS.events, WORKERS_GROUP) == []
