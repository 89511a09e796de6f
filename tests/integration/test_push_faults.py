"""Pushing while sippo-server fails and workers die: at least once, until the time is over, nobody held up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from invites.keys import PUSH_GROUP
from invites.lookup.pushes import is_still_wanted
from invites.queries.dead_letters import DeadLetters, NotRetriableError
from tests.support import events as e
from tests.support import pushes
from tests.support.looked_up import another_worker, call_phone, settle
from tests.support.proxy import Proxy
from tests.support.servers.node import free_port
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, is_renewed
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
    from tests.support.shard import Shard

PATIENT = {"breakAfter": 1_000}
"""For tests in which the breaker must stay closed."""


async def call_many(shard: Shard, count: int, **more: Any) -> None:
    """Alice calls `count` users, each of whom has a phone that a push can wake."""
    for number in range(count):
        invite = e.invite(to=f"m{number}", invite_id=f"{number}", **more)
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
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str, fault: Fault
) -> None:
    fake_sippo.fault(fault, "push", times=3)
    await call_phone(await another_worker(streams.client), "phone")
    brief = {"timeout": 500} if fault is HANG else {}
    async with pushes.worker(valkey_url, fake_sippo.wac | PATIENT | brief):
        await fake_sippo.pushed("phone")
        await streams.heard("inviteProgress", 2)
        await jobs.settled()
    assert await pushes.pushed(fake_sippo) == [("invitation", "phone")]


async def test_a_push_that_is_tried_again_holds_up_nobody(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    """With one attempt at a time, too."""
    fake_sippo.fault(status(500), "push", times=1)
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone")
    await call_many(shard, 20)
    async with pushes.worker(valkey_url, fake_sippo.wac | PATIENT | {"maxConcurrent": 1}):
        await fake_sippo.pushed("phone")
        await jobs.settled()
    taken = [device for _, device in await pushes.pushed(fake_sippo)]
    assert len(taken) == 21
    assert taken.index("phone") > 5
    assert fake_sippo.most_at_once == 1


async def test_a_fresh_push_does_not_wait_behind_old_ones(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    fake_sippo.fault(slow(60_000), "push", times=1)
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone")
    [(entry, job)] = await streams.client.xrange(KEYS.push)
    await streams.client.xdel(KEYS.push, entry)
    await call_many(shard, 15)
    async with pushes.worker(valkey_url, fake_sippo.wac | {"maxConcurrent": 1}):
        await wait_until(lambda: fake_sippo.requests["push"] == 1, "the first push is under way")
        await streams.client.xadd(KEYS.push, job)
        await wait_until(lambda: _are_read(streams), "the worker has the fresh one")
        fake_sippo.heal()
        await jobs.settled()
    taken = [device for _, device in await pushes.pushed(fake_sippo)]
    assert taken[:2] == ["m0-phone", "phone"]
    assert sorted(taken[2:]) == sorted(f"m{number}-phone" for number in range(1, 15))


async def _are_read(streams: Streams) -> bool:
    (group,) = await streams.client.xinfo_groups(KEYS.push)
    return bool(group["lag"] == 0)


async def test_many_pushes_are_under_way_side_by_side_within_the_limit(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    fake_sippo.fault(slow(60_000), "push")
    await call_many(await another_worker(streams.client), 60)
    async with pushes.worker(valkey_url, fake_sippo.wac | {"maxConcurrent": 20}):
        await wait_until(lambda: fake_sippo.under_way == 20, "as many are under way as may be")
        fake_sippo.heal()
        await jobs.settled()
    assert len(fake_sippo.pushes) == 60
    assert fake_sippo.most_at_once == 20


async def test_a_push_is_tried_until_its_time_is_over(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    fake_sippo.fault(status(500), "push")
    await call_phone(await another_worker(streams.client), "phone", expires=3_000)
    async with pushes.worker(valkey_url, fake_sippo.wac | PATIENT) as service:
        await streams.heard("inviteRejected")
        await jobs.settled()
        read = service.metrics.registry.get_sample_value
        expired = read("invites_pushes_total", {"type": "invitation", "outcome": "expired"})
        unwanted = read("invites_pushes_total", {"type": "invitation", "outcome": "unwanted"})
    assert (expired or 0) + (unwanted or 0) == 1
    assert fake_sippo.requests["push"] >= 3
    (rejected,) = await streams.payloads("inviteRejected")
    assert (rejected["code"], rejected["reason"]) == (408, "timeout")


async def test_a_push_whose_call_ends_between_attempts_is_not_tried_again(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    fake_sippo.fault(status(500), "push")
    await call_phone(await another_worker(streams.client), "phone")
    async with pushes.worker(valkey_url, fake_sippo.wac | PATIENT):
        await wait_until(lambda: fake_sippo.requests["push"] >= 2, "the push has failed twice")
        await streams.publish(*e.stop())
        await streams.heard("inviteRejected")
        before = fake_sippo.requests["push"]
        fake_sippo.heal()
        await jobs.settled()
    assert fake_sippo.requests["push"] <= before + 1  # one may have been under way
    assert [kind for kind, _ in await pushes.pushed(fake_sippo)] in ([], ["invitation", "invitationCancel"])


async def test_a_push_that_may_have_come_through_is_cancelled_with_the_call(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    """Nobody knows whether sippo-server took a push that it did not answer: the device must not keep ringing."""
    fake_sippo.fault(RESET, "push")
    await call_phone(await another_worker(streams.client), "phone")
    async with pushes.worker(valkey_url, fake_sippo.wac | PATIENT):
        await wait_until(lambda: fake_sippo.requests["push"] >= 1, "the push has been sent")
        await streams.publish(*e.stop())
        await streams.heard("inviteRejected")
        fake_sippo.heal()
        cancel = await fake_sippo.pushed("phone", "invitationCancel")
        await jobs.settled()
    assert msgspec.json.decode(cancel.job.payload)["reason"] == "cancelled"


@pytest.mark.usefixtures("in_good_time")
async def test_a_push_that_cannot_have_come_through_needs_no_cancel(
    streams: Streams, jobs: pushes.Jobs, valkey_url: str
) -> None:
    nowhere = {"address": f"http://127.0.0.1:{free_port()}", "username": "u", "password": "p"}
    await call_phone(await another_worker(streams.client), "phone")
    async with pushes.worker(valkey_url, nowhere | PATIENT):
        await wait_until(lambda: _is_delivered(jobs), "the job is in somebody's hands")
        await streams.publish(*e.stop())
        await streams.heard("inviteRejected")
        await jobs.settled()
    assert len(await streams.client.xrange(KEYS.push)) <= 1


async def test_a_push_that_a_lost_server_may_have_caused_is_cancelled_with_the_call(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    """The replica that takes over has the invite and its end, and not the push that was sent in between."""
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone")
    [(_, job)] = await streams.client.xrange(KEYS.push)
    await streams.client.delete(KEYS.push)
    await shard.event(*e.stop())
    seconds, _ = await streams.client.time()
    await streams.client.xadd(KEYS.push, job, id=f"{seconds * 1000 - 2_000}-0")
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone", "invitationCancel")
        await jobs.settled()
    assert [kind for kind, _ in await pushes.pushed(fake_sippo)] == ["invitationCancel"]


async def _is_delivered(jobs: pushes.Jobs) -> bool:
    return bool(await jobs.deliveries())


async def test_while_sippo_server_is_dead_jobs_wait_and_ask_little(
    streams: Streams,
    jobs: pushes.Jobs,
    fake_sippo: FakeSippo,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []

    async def counted(*arguments: Any) -> Any:
        asked.append(time.monotonic())
        return await is_still_wanted(*arguments)

    monkeypatch.setattr("workers.roles.push.is_still_wanted", counted)
    fake_sippo.fault(status(500))
    await call_many(await another_worker(streams.client), 300)
    async with pushes.worker(valkey_url, fake_sippo.wac | {"maxConcurrent": 10, "breakAfter": 5}) as service:
        assert service.sippo is not None
        await wait_until(
            lambda: bool(asked) and asked[-1] - asked[0] > 2.0, "sippo-server has been away for 2 s"
        )
        assert len(asked) < 80, "jobs ask without end although nobody answers"
        assert fake_sippo.requests["push"] + fake_sippo.requests["login"] < 60
        assert service.readiness.state() == (True, "")
        fake_sippo.heal()
        await jobs.settled()
    assert len(fake_sippo.pushes) == 300
    assert len({push.job.device for push in fake_sippo.pushes}) == 300


# --- Redis or a worker's own code fails


@pytest.mark.parametrize("error", [RedisConnectionError("it is away"), RuntimeError("not this one")])
async def test_a_job_that_fails_in_the_worker_is_pushed_later_and_once(
    streams: Streams,
    jobs: pushes.Jobs,
    fake_sippo: FakeSippo,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    failures = [error, error]

    async def failing(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await is_still_wanted(*arguments)

    monkeypatch.setattr("workers.roles.push.is_still_wanted", failing)
    await call_phone(await another_worker(streams.client), "phone")
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone")
        await jobs.settled()
    assert len(fake_sippo.pushes) == 1
    assert ("has failed and will be tried again" in caplog.text) == isinstance(error, RuntimeError)
    assert ("Redis can be used again" in caplog.text) == isinstance(error, RedisConnectionError)


# --- workers


async def test_a_job_that_is_tried_again_is_kept_from_others(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    fake_sippo.fault(status(500), "push")
    await call_phone(await another_worker(streams.client), "phone")
    first, second = (pushes.worker(valkey_url, fake_sippo.wac | PATIENT, claimAfter=3_000) for _ in range(2))
    async with first, second:
        await wait_until(lambda: _is_delivered(jobs), "the job is in somebody's hands")
        owner = await jobs.deliveries()
        await is_renewed(streams.client, KEYS.push, PUSH_GROUP)
        assert await jobs.deliveries() == owner
        fake_sippo.heal()
        await fake_sippo.pushed("phone")
        await jobs.settled()
    assert len(fake_sippo.pushes) == 1


async def test_a_worker_that_stops_hands_its_jobs_back_at_once(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    fake_sippo.fault(status(500), "push")
    await call_many(await another_worker(streams.client), 30)
    wac = fake_sippo.wac | PATIENT
    async with pushes.worker(valkey_url, wac, consumer="first", claimAfter=600_000) as first:
        await wait_until(lambda: fake_sippo.requests["push"] >= 30, "all jobs have failed once")
        async with asyncio.timeout(15):  # it waits for no job that is to be tried again
            await first.drain(within_s=60)
    assert await jobs.deliveries() == {"first": 1}
    fake_sippo.heal()
    async with pushes.worker(valkey_url, wac, claimAfter=600_000):
        await jobs.settled()
    assert len(fake_sippo.pushes) == 30


async def test_what_a_dead_worker_left_is_pushed_by_another(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    await call_many(await another_worker(streams.client), 30)
    await jobs.strand()
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await jobs.settled()
    assert len(fake_sippo.pushes) == 30
    assert len(await streams.payloads("inviteProgress")) == 60


async def test_a_worker_that_dies_between_sending_and_settling_pushes_at_least_once(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str, proxy: Proxy
) -> None:
    """Its effects in Redis still come once."""
    fake_sippo.fault(slow(60_000), "push", times=1)
    await call_phone(await another_worker(streams.client), "phone")
    async with pushes.worker(proxy.url, fake_sippo.wac, claimAfter=600_000):
        await wait_until(lambda: fake_sippo.requests["push"] == 1, "the push is under way")
        proxy.request_delay_s = 30.0
        fake_sippo.heal()
        await fake_sippo.pushed("phone")
    await streams.client.xclaim(
        KEYS.push, PUSH_GROUP, "gone", 0, list(await _pending_ids(streams)), idle=60_000, justid=True
    )
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone", nth=2)
        await jobs.settled()
    progress = [payload["code"] for payload in await streams.payloads("inviteProgress")]
    assert progress == [100, 110]


async def _pending_ids(streams: Streams) -> list[str]:
    found = await streams.client.xpending_range(KEYS.push, PUSH_GROUP, "-", "+", 10)
    return [one["message_id"].decode() for one in found]


async def test_who_takes_up_a_dead_workers_job_cancels_what_that_may_have_sent(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone")
    await jobs.strand()
    await shard.event(*e.stop())
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone", "invitationCancel")
        await jobs.settled()
    assert await pushes.pushed(fake_sippo) == [("invitationCancel", "phone")]


async def test_a_commit_whose_reply_is_lost_has_its_effects_once(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, proxy: Proxy
) -> None:
    await call_phone(await another_worker(streams.client), "phone")
    proxy.lose_reply(b"pushTaken")
    async with pushes.worker(proxy.url, fake_sippo.wac):
        await proxy.lost.wait()
        await jobs.settled()
    progress = [payload["code"] for payload in await streams.payloads("inviteProgress")]
    assert progress == [100, 110]
    assert len(fake_sippo.pushes) == 1


async def test_the_group_is_made_again(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(streams.client)
    async with pushes.worker(valkey_url, fake_sippo.wac) as service:
        await wait_until(lambda: service.readiness.state()[0], "the worker is ready")
        await streams.client.xgroup_destroy(KEYS.push, PUSH_GROUP)
        await streams.client.xadd(KEYS.push, {"type": "nonsense"})
        await wait_until(streams.has_dead_letter, "the entry has been read")
        await jobs.settled()
    assert len(await shard.dead()) == 1


async def test_more_jobs_than_a_worker_takes_in_hand(
    streams: Streams,
    jobs: pushes.Jobs,
    fake_sippo: FakeSippo,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.shard_worker.MOST_PUSHES", 20)
    fake_sippo.fault(status(500))
    await call_many(await another_worker(streams.client), 100)
    async with pushes.worker(valkey_url, fake_sippo.wac, consumer="itself"):

        async def twenty() -> bool:
            (group,) = await streams.client.xinfo_groups(KEYS.push)
            return bool(group["pending"] == 20 and group["lag"] == 80)

        await wait_until(twenty, "20 jobs are in hand, the others are left in the stream")
        fake_sippo.heal()
        await jobs.settled()
    assert len(fake_sippo.pushes) == 100


# --- what keeps failing


async def test_a_job_that_cannot_be_settled_becomes_a_dead_letter_and_can_be_retried(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    await another_worker(streams.client)
    await streams.client.set(KEYS.invite(e.REF), "not a hash")
    await jobs.add()
    letters = DeadLetters(streams.client, KEYS)
    async with pushes.worker(valkey_url, fake_sippo.wac, claimAfter=200, maxDeliveries=2) as service:
        await wait_until(streams.has_dead_letter, "the job is a dead letter")
        await service.drain()
    (letter,) = [letter async for letter in letters.all()]
    assert (letter.type, letter.deliveries) == ("push", 3)
    assert fake_sippo.requests["push"] == 0
    await streams.client.delete(KEYS.invite(e.REF))
    assert await letters.retry(letter.id)
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await jobs.settled()
    assert await streams.dead() == []


async def test_a_dead_job_whose_time_is_over_is_not_retried(streams: Streams) -> None:
    payload = msgspec.json.encode({"type": "invitation", "deadline": "5"})
    letter = {
        "type": "push",
        "payload": payload,
        "error": "e",
        "entry": "1-0",
        "deliveries": "6",
        "stream": "push",
    }
    entry: bytes = await streams.client.xadd(KEYS.dead, letter)
    with pytest.raises(NotRetriableError, match="is a push that has expired: drop it"):
        await DeadLetters(streams.client, KEYS).retry(entry.decode())
    assert await streams.client.exists(KEYS.push) == 0


@pytest.mark.parametrize(("stream", "payload"), [("events", "{}"), ("push", "[]"), ("relay", '{"kind": 7}')])
async def test_a_letter_that_fits_no_stream_is_refused(streams: Streams, stream: str, payload: str) -> None:
    letter = {
        "type": "x",
        "payload": payload,
        "error": "e",
        "entry": "1-0",
        "deliveries": "6",
        "stream": stream,
    }
    entry: bytes = await streams.client.xadd(KEYS.dead, letter)
    with pytest.raises(NotRetriableError, match=f"cannot be put back into {stream}: drop it"):
        await DeadLetters(streams.client, KEYS).retry(entry.decode())
