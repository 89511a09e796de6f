"""A lookup holds up nothing else, is kept from other workers, and survives the death of a worker."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from invites.keys import WORKERS_GROUP
from tests.support import events as e
from tests.support import lookups
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Json, process
from workers.lab.fake_sippo import HANG, slow
from workers.service import Service

PUSH: Json = {"resolvePush": True}
GROUPS: Json = {"resolveGroups": True}
PATIENT: Json = {"wac": {"timeout": 20_000, "deadline": 20_000}}


@pytest.mark.leaks
async def test_a_hundred_that_hang_hold_up_nobody(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, GROUPS | PATIENT) as worker:
        worker.fake_sippo.fault(HANG, "groups")
        await worker.publish(
            *[e.invite(to=f"u{number}", invite_id=f"hangs-{number}") for number in range(100)]
        )
        await wait_until(lambda: worker.fake_sippo.requests["groups"] == 100, "all hundred are asked for")
        told = await worker.call(e.registered("tablet"), e.invite())
        assert lookups.rung(told) == {"tablet"}
        await worker.publish(e.stop())
        (cancelled,) = await worker.heard("invitationCancel")
        assert cancelled.peers == ["tablet"]
        assert await worker.pending() == 100
        assert worker.asked == {"groups": 100}


@pytest.mark.leaks
async def test_trunks_are_chosen_while_a_hundred_hang(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, GROUPS | PATIENT, parallelSip=True) as worker:
        worker.fake_sippo.fault(HANG, "groups")
        await worker.publish(
            *[e.invite(to=f"u{number}", invite_id=f"hangs-{number}") for number in range(100)]
        )
        await wait_until(lambda: worker.fake_sippo.requests["groups"] == 100, "all hundred are asked for")
        # Bob is registered, so he is no group and no request is needed.
        assert lookups.rung(await worker.call(e.trunk("any"), e.registered("tablet"), e.invite())) == {"any"}
        assert await worker.pending() == 100


async def test_a_cancel_of_the_very_call_that_is_looked_up_wins(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH | {"wac": {"timeout": 5_000, "deadline": 5_000}}) as worker:
        worker.fake_sippo.fault(slow(400))
        await worker.publish(e.registered("tablet"), e.invite())
        await wait_until(lambda: worker.fake_sippo.under_way > 0, "it is looked up")
        await worker.publish(e.stop(transaction=7))
        (answer,) = await worker.heard("answer", transaction=7)
        assert answer.payload["code"] == 200
        told = await worker.heard_of()
        assert lookups.rejected(told) == (487, "cancelled")
        assert lookups.counted(told) == {
            "answer": 1,
            "inviteRejected": 1,
            "callMissed": 1,
            "INVITE_COMPLETED": 1,
        }
        assert worker.asked == {"pushDevices": 1}


async def test_a_room_that_closes_meanwhile_ends_the_call(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        worker.fake_sippo.fault(slow(200))
        await worker.publish(e.registered("tablet"), e.invite())
        await wait_until(lambda: worker.fake_sippo.under_way > 0, "it is looked up")
        await worker.publish(("roomClosed", {"roomId": "r"}))
        assert lookups.rejected(await worker.heard_of()) == (487, "room_closed")


async def test_a_device_that_registers_meanwhile_rings_once(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        worker.fake_sippo.fault(slow(200))
        await worker.publish(e.invite())
        await wait_until(lambda: worker.fake_sippo.under_way > 0, "it is looked up")
        await worker.publish(e.registered("p1", device="bob-phone"))
        told = await worker.heard_of()
        assert [one.peers for one in told if one.type == "invitation"] == [["p1"]]
        assert await worker.candidates() == {"p1": "PEER bob"}


async def test_a_repeat_that_comes_meanwhile_makes_no_second_call(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH) as worker:
        worker.fake_sippo.fault(slow(200))
        await worker.publish(
            e.registered("tablet"), e.invite(), e.invite(context={"n": 1}), e.invite(context={"n": 1})
        )
        await worker.heard("inviteProgress", 3)
        await worker.settled()
        invitations = await worker.heard("invitation")
        assert [one.payload["resumed"] for one in invitations] == [False, True]
        assert worker.asked == {"pushDevices": 1}


async def test_many_wait_their_turn_and_are_settled_together(valkey_url: str) -> None:
    async with lookups.worker(
        valkey_url, GROUPS | {"wac": {"maxConcurrent": 40, **PATIENT["wac"]}}
    ) as worker:
        worker.fake_sippo.fault(slow(20))
        await worker.publish(e.trunk("any"))
        await worker.settled()
        before = _commits(worker.service)
        await worker.publish(*[e.invite(to="+34600", invite_id=str(number)) for number in range(400)])
        await worker.heard("invitation", 400)
        assert worker.fake_sippo.most_at_once == 40
        assert worker.asked == {"groups": 400}
        assert _commits(worker.service) - before < 200


def _commits(service: Service) -> float:
    return service.metrics.registry.get_sample_value("invites_commit_events_count") or 0.0


# --- several workers


@contextlib.asynccontextmanager
async def _another(
    worker: lookups.LookupWorker, url: str, basic: Json, **invites: Any
) -> AsyncIterator[Service]:
    service = Service(lookups.configured(worker.fake_sippo.address, basic, **invites), url)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()


async def test_what_takes_long_is_left_to_who_has_it(valkey_url: str) -> None:
    async with (
        lookups.worker(valkey_url, PUSH | PATIENT) as worker,
        _another(worker, valkey_url, PUSH | PATIENT),
    ):
        worker.fake_sippo.fault(slow(1_500))  # five hand-over times
        told = await worker.call(e.registered("tablet"), e.invite())
        await worker.settled()
        assert lookups.counted(told)["invitation"] == 1
        assert worker.asked == {"pushDevices": 1}


async def test_a_worker_that_stops_finishes_what_it_looks_up(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH | PATIENT) as worker:
        worker.fake_sippo.fault(slow(1_500))  # five hand-over times
        await worker.publish(e.registered("tablet"), e.invite())
        await wait_until(lambda: worker.fake_sippo.under_way > 0, "it is looked up")
        async with _another(worker, valkey_url, PUSH | PATIENT):
            await worker.service.drain()
            assert lookups.counted(await worker.told("1"))["invitation"] == 1
            await worker.settled()
        assert worker.asked == {"pushDevices": 1}


async def test_a_worker_that_cannot_finish_hands_back(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, PUSH | PATIENT, claimAfter=600_000) as worker:
        worker.fake_sippo.fault(HANG)
        (entry,) = await worker.publish(e.invite())
        await wait_until(lambda: worker.fake_sippo.under_way > 0, "it is looked up")
        await worker.service.drain(within_s=0.1)
        (found,) = await worker.client.xpending_range(KEYS.events, WORKERS_GROUP, "-", "+", 10)
        assert (found["message_id"].decode(), found["times_delivered"]) == (entry, 1)
        assert found["time_since_delivered"] >= 600_000
        worker.fake_sippo.heal()
        async with _another(worker, valkey_url, PUSH, claimAfter=600_000):
            await worker.heard_of()
        assert await worker.candidates() == {"bob-phone": "PUSH bob"}


# --- real processes


async def test_a_worker_that_is_killed_while_it_asks_loses_nothing(valkey_url: str, tmp_path: Path) -> None:
    async with lookups.worker(valkey_url, PUSH | PATIENT) as worker:
        await worker.service.drain()
        settings = lookups.settings(worker.fake_sippo.address, PUSH | PATIENT)
        async with process(valkey_url, tmp_path, settings) as running:
            worker.fake_sippo.fault(HANG, "pushDevices")
            calls = [e.invite(invite_id=str(number)) for number in range(20)]
            await worker.publish(e.registered("tablet"), *calls)
            await wait_until(lambda: worker.fake_sippo.requests["pushDevices"] > 0, "it is looked up")
            running.kill()
            await running.wait()
        assert await worker.pending() >= 1
        worker.fake_sippo.heal()
        async with _another(worker, valkey_url, PUSH):
            await worker.heard("invitation", 20)
            await worker.settled()
        assert lookups.counted(await worker.told())["invitation"] == 20
        assert len(await worker.heard("inviteProgress", code=100)) == 20


async def test_a_signal_lets_a_look_up_end(valkey_url: str, tmp_path: Path) -> None:
    async with lookups.worker(valkey_url, PUSH | PATIENT) as worker:
        await worker.service.drain()
        settings = lookups.settings(worker.fake_sippo.address, PUSH | PATIENT)
        async with process(valkey_url, tmp_path, settings) as running:
            worker.fake_sippo.fault(slow(300))
            await worker.publish(e.registered("tablet"), e.invite())
            await wait_until(lambda: worker.fake_sippo.under_way > 0, "it is looked up")
            running.send_signal(signal.SIGTERM)
            assert await running.wait() == 0
        assert lookups.counted(await worker.told("1"))["invitation"] == 1
        async with Redis.from_url(valkey_url) as client:
            assert await client.xinfo_consumers(KEYS.events, WORKERS_GROUP) == []
