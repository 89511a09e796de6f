"""Pushing while sippo-server fails and workers die: at least once, until the time is over, nobody held up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from invites.keys import PUSH_GROUP
from invites.lookup.pushes import is_still_wanted
from invites.queries.dead_letters import DeadLetters, NotRetriableError
from tests.support import events as calling
from tests.support.looked_up import another_worker, call_phone, settle
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Bench
from tests.support.worker_pushes import Jobs, directory, pushed, pusher
from workers.lab.fake_sippo import (
    GARBAGE,
    HANG,
    OVERSIZE,
    RESET,
    WRONG_TYPES,
    FakeSippo,
    Fault,
    limited,
    slow,
    status,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from tests.support.shard import Shard

PATIENT = {"breakAfter": 1_000}
"""For tests in which the breaker is to stay closed."""


@pytest.fixture
def bench(client: Redis) -> Bench:
    return Bench(client)


@pytest.fixture
def jobs(bench: Bench) -> Jobs:
    return Jobs(bench)


@pytest.fixture
async def standin() -> AsyncIterator[FakeSippo]:
    async with FakeSippo(directory()) as found:
        yield found


async def call_many(shard: Shard, count: int, **more: Any) -> None:
    """Alice calls so many users, each of whom has a phone that can be woken."""
    for number in range(count):
        invite = calling.invite(to=f"m{number}", invite_id=f"{number}", **more)
        await settle(shard, invite, {"known": True, "push": [f"m{number}-phone"]})


# --- sippo-server fails


@pytest.mark.parametrize(
    "fault",
    [
        status(500),
        status(503),
        status(401),
        status(400),
        limited(),
        GARBAGE,
        WRONG_TYPES,
        OVERSIZE,
        RESET,
        HANG,
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_a_push_that_fails_is_tried_again(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str, fault: Fault
) -> None:
    standin.fault(fault, "push", times=3)
    await call_phone(await another_worker(bench.client), "phone")
    async with pusher(valkey_url, standin.wac | PATIENT):
        await standin.pushed("phone", within_ms=15_000)
        await bench.heard("inviteProgress", 2)
        await jobs.settled()
    assert await pushed(standin) == [("invitation", "phone")]


async def test_a_push_that_is_tried_again_holds_up_nobody(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    """With one attempt at a time, too."""
    standin.fault(status(500), "push", times=1)
    shard = await another_worker(bench.client)
    await call_phone(shard, "phone")
    await call_many(shard, 20)
    async with pusher(valkey_url, standin.wac | PATIENT | {"maxConcurrent": 1}):
        await standin.pushed("phone")
        await jobs.settled()
    taken = [device for _, device in await pushed(standin)]
    assert len(taken) == 21
    assert taken.index("phone") > 5
    assert standin.most_at_once == 1


async def test_many_pushes_are_under_way_side_by_side_within_the_limit(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    standin.fault(slow(100), "push")
    await call_many(await another_worker(bench.client), 60)
    async with pusher(valkey_url, standin.wac | {"maxConcurrent": 20}):
        await jobs.settled()
    assert len(standin.pushes) == 60
    assert 15 <= standin.most_at_once <= 20


async def test_a_push_is_tried_until_its_time_is_over(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    standin.fault(status(500), "push")
    await call_phone(await another_worker(bench.client), "phone", expires=3_000)
    async with pusher(valkey_url, standin.wac | PATIENT) as service:
        await bench.heard("inviteRejected")
        await jobs.settled()
        read = service.metrics.registry.get_sample_value
        expired = read("invites_pushes_total", {"type": "invitation", "outcome": "expired"})
        unwanted = read("invites_pushes_total", {"type": "invitation", "outcome": "unwanted"})
    assert (expired or 0) + (unwanted or 0) == 1
    assert standin.requests["push"] >= 3
    (rejected,) = [payload for _, kind, payload in await bench.notifications() if kind == "inviteRejected"]
    assert (rejected["code"], rejected["reason"]) == (408, "timeout")


async def test_a_push_whose_call_ends_between_attempts_is_not_tried_again(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    standin.fault(status(500), "push")
    await call_phone(await another_worker(bench.client), "phone")
    async with pusher(valkey_url, standin.wac | PATIENT):
        await wait_until(lambda: standin.requests["push"] >= 2, "the push has failed twice")
        await bench.publish(*calling.stop())
        await bench.heard("inviteRejected")
        before = standin.requests["push"]
        standin.heal()
        await jobs.settled()
    assert standin.requests["push"] <= before + 1  # one may have been under way
    assert [kind for kind, _ in await pushed(standin)] in ([], ["invitation", "invitationCancel"])


async def test_a_push_that_may_have_come_through_is_cancelled_with_the_call(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    """Whether sippo-server has taken what it did not answer to, nobody knows: the device must not ring on."""
    standin.fault(RESET, "push")
    await call_phone(await another_worker(bench.client), "phone")
    async with pusher(valkey_url, standin.wac | PATIENT):
        await wait_until(lambda: standin.requests["push"] >= 1, "the push has been sent")
        await bench.publish(*calling.stop())
        await bench.heard("inviteRejected")
        standin.heal()
        cancel = await standin.pushed("phone", "invitationCancel")
        await jobs.settled()
    assert msgspec.json.decode(cancel.job.payload)["reason"] == "cancelled"


async def test_a_push_that_cannot_have_come_through_needs_no_cancel(
    bench: Bench, jobs: Jobs, valkey_url: str, unused_tcp_port: int
) -> None:
    nowhere = {"address": f"http://127.0.0.1:{unused_tcp_port}", "username": "u", "password": "p"}
    await call_phone(await another_worker(bench.client), "phone")
    async with pusher(valkey_url, nowhere | PATIENT):
        await wait_until(lambda: _is_delivered(jobs), "the job is in somebody's hands")
        await bench.publish(*calling.stop())
        await bench.heard("inviteRejected")
        await jobs.settled()
    assert len(await bench.client.xrange(KEYS.push)) <= 1


async def _is_delivered(jobs: Jobs) -> bool:
    return bool(await jobs.deliveries())


async def test_while_sippo_server_is_dead_jobs_wait_and_ask_little(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    async def counted(*arguments: Any) -> Any:
        asked.append(time.monotonic())
        return await is_still_wanted(*arguments)

    monkeypatch.setattr("workers.roles.push.is_still_wanted", counted)
    standin.fault(status(500))
    await call_many(await another_worker(bench.client), 300)
    async with pusher(valkey_url, standin.wac | {"maxConcurrent": 10, "breakAfter": 5}) as service:
        assert service.sippo is not None
        await wait_until(
            lambda: bool(asked) and asked[-1] - asked[0] > 2.0, "sippo-server has been away for 2 s"
        )
        assert len(asked) < 80, "jobs ask without end although nobody answers"
        assert standin.requests["push"] + standin.requests["login"] < 60
        assert service.readiness.state() == (True, "")
        standin.heal()
        await jobs.settled()
    assert len(standin.pushes) == 300
    assert len({push.job.device for push in standin.pushes}) == 300


# --- workers


async def test_a_job_that_is_tried_again_is_kept_from_others(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    standin.fault(status(500), "push")
    await call_phone(await another_worker(bench.client), "phone")
    wac = standin.wac | PATIENT
    async with pusher(valkey_url, wac), pusher(valkey_url, wac):
        before = time.monotonic()
        await wait_until(lambda: _is_delivered(jobs), "the job is in somebody's hands")
        owner = await jobs.deliveries()
        await wait_until(lambda: time.monotonic() > before + 1.5, "five hand-over times have passed")
        assert await jobs.deliveries() == owner
        standin.heal()
        await standin.pushed("phone")
        await jobs.settled()
    assert len(standin.pushes) == 1


async def test_a_worker_that_stops_hands_its_jobs_back_at_once(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    standin.fault(status(500), "push")
    await call_many(await another_worker(bench.client), 30)
    wac = standin.wac | PATIENT
    async with pusher(valkey_url, wac, consumer="first", claimAfter=600_000) as first:
        await wait_until(lambda: standin.requests["push"] >= 30, "all jobs have failed once")
        began = time.monotonic()
        await first.drain()
        assert time.monotonic() - began < 3.0, "the stop waited for jobs that are to be tried again"
    assert await jobs.deliveries() == {"first": 1}
    standin.heal()
    async with pusher(valkey_url, wac, claimAfter=600_000):
        await jobs.settled()
    assert len(standin.pushes) == 30


async def test_what_a_dead_worker_left_is_pushed_by_another(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    await call_many(await another_worker(bench.client), 30)
    await jobs.strand()
    async with pusher(valkey_url, standin.wac):
        await jobs.settled()
    assert len(standin.pushes) == 30
    assert len([kind for _, kind, _ in await bench.notifications() if kind == "inviteProgress"]) == 60


async def test_a_worker_that_dies_between_sending_and_settling_pushes_at_least_once(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    """Its effects in Redis come once all the same."""
    standin.fault(slow(200), "push", times=1)
    await call_phone(await another_worker(bench.client), "phone")
    port = int(valkey_url.rpartition(":")[2].partition("/")[0])
    async with Proxy(port) as proxy, pusher(proxy.url, standin.wac, claimAfter=600_000):
        await wait_until(lambda: standin.under_way == 1, "the push is under way")
        proxy.request_delay_s = 30.0
        await standin.pushed("phone")
    await bench.client.xclaim(
        KEYS.push, PUSH_GROUP, "gone", 0, list(await _pending_ids(bench)), idle=60_000, justid=True
    )
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("phone", nth=2)
        await jobs.settled()
    progress = [
        payload["code"] for _, kind, payload in await bench.notifications() if kind == "inviteProgress"
    ]
    assert progress == [100, 110]


async def _pending_ids(bench: Bench) -> list[str]:
    found = await bench.client.xpending_range(KEYS.push, PUSH_GROUP, "-", "+", 10)
    return [one["message_id"].decode() for one in found]


async def test_who_takes_up_a_dead_workers_job_cancels_what_that_may_have_sent(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(bench.client)
    await call_phone(shard, "phone")
    await jobs.strand()
    await shard.event(*calling.stop())
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("phone", "invitationCancel")
        await jobs.settled()
    assert await pushed(standin) == [("invitationCancel", "phone")]


async def test_a_commit_whose_reply_is_lost_has_its_effects_once(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(bench.client), "phone")
    async with Proxy(int(valkey_url.rpartition(":")[2].partition("/")[0])) as proxy:
        proxy.lose_reply(b"pushTaken")
        async with pusher(proxy.url, standin.wac):
            await proxy.lost.wait()
            await jobs.settled()
    progress = [
        payload["code"] for _, kind, payload in await bench.notifications() if kind == "inviteProgress"
    ]
    assert progress == [100, 110]
    assert len(standin.pushes) == 1


async def test_the_group_is_made_again(bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str) -> None:
    shard = await another_worker(bench.client)
    async with pusher(valkey_url, standin.wac) as service:
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
        await bench.client.xgroup_destroy(KEYS.push, PUSH_GROUP)
        await bench.client.xadd(KEYS.push, {"type": "nonsense"})
        await wait_until(lambda: _buried(bench), "the entry has been read")
        await jobs.settled()
    assert len(await shard.dead()) == 1


async def test_more_jobs_than_a_worker_takes_in_hand(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.shard_worker.MOST_PUSHES", 20)
    standin.fault(status(500))
    await call_many(await another_worker(bench.client), 100)
    async with pusher(valkey_url, standin.wac, consumer="itself"):

        async def twenty() -> bool:
            (group,) = await bench.client.xinfo_groups(KEYS.push)
            return bool(group["pending"] == 20 and group["lag"] == 80)

        await wait_until(twenty, "20 jobs are in hand, the others are left in the stream")
        standin.heal()
        await jobs.settled()
    assert len(standin.pushes) == 100


# --- what keeps failing


async def test_a_job_that_cannot_be_settled_becomes_a_dead_letter_and_can_be_retried(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    await another_worker(bench.client)
    await bench.client.set(KEYS.invite(calling.REF), "not a hash")
    await jobs.add()
    letters = DeadLetters(bench.client, KEYS)
    async with pusher(valkey_url, standin.wac, claimAfter=200, maxDeliveries=2) as service:
        await wait_until(lambda: _buried(bench), "the job is a dead letter")
        await service.drain()
    (letter,) = [letter async for letter in letters.all()]
    assert (letter.type, letter.deliveries) == ("push", 3)
    assert standin.requests["push"] == 0
    await bench.client.delete(KEYS.invite(calling.REF))
    assert await letters.retry(letter.id)
    async with pusher(valkey_url, standin.wac):
        await jobs.settled()
    assert await bench.dead() == []


async def test_a_dead_job_whose_time_is_over_is_not_retried(bench: Bench) -> None:
    payload = msgspec.json.encode({"type": "invitation", "deadline": "5"})
    letter = {
        "type": "push",
        "payload": payload,
        "error": "e",
        "entry": "1-0",
        "deliveries": "6",
        "stream": "push",
    }
    entry: bytes = await bench.client.xadd(KEYS.dead, letter)
    with pytest.raises(NotRetriableError, match="is a push that has expired: drop it"):
        await DeadLetters(bench.client, KEYS).retry(entry.decode())
    assert await bench.client.exists(KEYS.push) == 0


@pytest.mark.parametrize(("stream", "payload"), [("events", "{}"), ("push", "[]"), ("relay", '{"kind": 7}')])
async def test_a_letter_that_fits_no_stream_is_refused(bench: Bench, stream: str, payload: str) -> None:
    letter = {
        "type": "x",
        "payload": payload,
        "error": "e",
        "entry": "1-0",
        "deliveries": "6",
        "stream": stream,
    }
    entry: bytes = await bench.client.xadd(KEYS.dead, letter)
    with pytest.raises(NotRetriableError, match=f"cannot be put back into {stream}: drop it"):
        await DeadLetters(bench.client, KEYS).retry(entry.decode())


async def _buried(bench: Bench) -> bool:
    return bool(await bench.dead())
