"""Push jobs: what is sent, when it is not, and what the caller and the devices hear of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support import events as calling
from tests.support.looked_up import another_worker, call_phone, settle
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Bench
from tests.support.worker_pushes import Jobs, directory, pushed, pusher
from workers.lab.fake_sippo import FakeSippo, slow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis


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


async def told(bench: Bench, kind: str) -> list[dict[str, Any]]:
    return [payload for _, found, payload in await bench.notifications() if found == kind]


# --- taken


async def test_a_push_is_taken_and_the_caller_hears_of_it(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(bench.client), "phone", context={"a": []}, expires=30_000)
    async with pusher(valkey_url, standin.wac) as service:
        push = await standin.pushed("phone")
        await bench.heard("inviteProgress", 2)
        await jobs.settled()
        counted = service.metrics.registry.get_sample_value(
            "invites_pushes_total", {"type": "invitation", "outcome": "taken"}
        )
    job = push.job
    assert (job.user, job.device, job.type, job.collapse_id) == ("bob", "phone", "invitation", calling.REF)
    payload = msgspec.json.decode(job.payload)
    assert 25 <= job.ttl <= 29
    assert job.ttl == payload["expiresIn"] // 1000
    assert (payload["inviteId"], payload["from"], payload["context"]) == ("1", "alice", {"a": []})
    progress = await told(bench, "inviteProgress")
    assert [(one["code"], one["pushed"]) for one in progress] == [(100, 0), (110, 1)]
    assert counted == 1


async def test_a_caller_hears_110_once(bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str) -> None:
    await call_phone(await another_worker(bench.client), "phone", "tablet")
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("phone")
        await standin.pushed("tablet")
        await jobs.settled()
    assert [one["code"] for one in await told(bench, "inviteProgress")] == [100, 110]


# --- not wanted


async def test_nothing_is_pushed_for_a_call_that_is_over(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(bench.client)
    await call_phone(shard, "phone")
    await shard.event(*calling.stop())
    async with pusher(valkey_url, standin.wac) as service:
        await jobs.settled()
        counted = service.metrics.registry.get_sample_value(
            "invites_pushes_total", {"type": "invitation", "outcome": "unwanted"}
        )
    assert standin.requests["push"] == 0
    assert counted == 1


async def test_nothing_is_pushed_to_a_device_that_is_there_by_now(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(bench.client)
    await call_phone(shard, "phone")
    await shard.event(*calling.registered("b1", device="phone"))
    async with pusher(valkey_url, standin.wac):
        await jobs.settled()
    assert standin.requests["push"] == 0
    assert len(await told(bench, "invitation")) == 1


async def test_nothing_is_pushed_when_less_than_a_second_is_left(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(bench.client), "phone", expires=900)
    async with pusher(valkey_url, standin.wac):
        await jobs.settled()
        await bench.heard("inviteRejected")
    assert standin.requests["push"] == 0
    (rejected,) = await told(bench, "inviteRejected")
    assert (rejected["code"], rejected["reason"]) == (408, "timeout")


# --- the end of a call


async def test_a_device_that_was_pushed_and_lost_gets_a_cancel(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(bench.client)
    await call_phone(shard, "phone", "tablet")
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("phone")
        await standin.pushed("tablet")
        await jobs.settled()
        await bench.publish(*calling.registered("b1", device="phone"))
        await bench.publish(*calling.accept("b1"))
        cancel = await standin.pushed("tablet", "invitationCancel")
        await jobs.settled()
    assert cancel.job.collapse_id == calling.REF
    assert 290 <= cancel.job.ttl <= 300
    payload = msgspec.json.decode(cancel.job.payload)
    assert (payload["code"], payload["reason"], payload["whoAccepted"]) == (200, "accepted_elsewhere", "bob")
    assert [push for push in await pushed(standin) if push[0] == "invitationCancel"] == [
        ("invitationCancel", "tablet")
    ]


async def test_a_device_whose_push_was_under_way_when_the_call_ended_gets_a_cancel(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    standin.fault(slow(300), "push", times=1)
    await call_phone(await another_worker(bench.client), "phone")
    async with pusher(valkey_url, standin.wac):
        await wait_until(lambda: standin.under_way == 1, "the push is under way")
        await bench.publish(*calling.stop())
        await bench.heard("inviteRejected")
        cancel = await standin.pushed("phone", "invitationCancel")
        await jobs.settled()
    payload = msgspec.json.decode(cancel.job.payload)
    assert (payload["code"], payload["reason"]) == (487, "cancelled")
    assert await pushed(standin) == [("invitation", "phone"), ("invitationCancel", "phone")]
    assert [one["code"] for one in await told(bench, "inviteProgress")] == [100]


async def test_a_callee_that_can_only_be_pushed_rings_until_the_time_out(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(bench.client), "phone", expires=2_500)
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("phone")
        await bench.heard("inviteRejected")
        await standin.pushed("phone", "invitationCancel")
        await jobs.settled()
    (rejected,) = await told(bench, "inviteRejected")
    (record,) = await told(bench, "INVITE_COMPLETED")
    assert (rejected["code"], rejected["reason"]) == (408, "timeout")
    assert (record["state"], record["candidates"]) == (
        "DECLINED_BY_TIMEOUT",
        [{"address": "bob", "peer": "phone", "endReason": 408}],
    )


# --- a device that is gone


@pytest.mark.parametrize("known", [True, False])
async def test_a_device_that_is_gone_is_no_candidate(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str, known: bool
) -> None:
    """404: unknown; 410: known, but it cannot be pushed to any more."""
    standin.directory.gone = {"bob/phone"} if known else set()
    device = "phone" if known else "never-seen"
    await call_phone(await another_worker(bench.client), device)
    async with pusher(valkey_url, standin.wac):
        await bench.heard("inviteRejected")
        await jobs.settled()
    (rejected,) = await told(bench, "inviteRejected")
    assert (rejected["code"], rejected["reason"]) == (480, "unreachable")
    assert standin.requests["push"] == 1


async def test_a_device_that_is_gone_leaves_the_others_ringing(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    standin.directory.gone = {"bob/phone"}
    shard = await another_worker(bench.client)
    await call_phone(shard, "phone", "tablet")
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("tablet")
        await jobs.settled()
    assert await told(bench, "inviteRejected") == []
    candidates = await shard.candidates(calling.REF)
    assert {name: one["state"] for name, one in candidates.items()} == {"phone": "GONE", "tablet": "PUSHED"}


# --- a device that wakes up


async def test_a_woken_device_is_rung_once_with_the_time_that_is_left(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(bench.client), "phone", expires=20_000)
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("phone")
        await jobs.settled()
        for _ in range(3):
            await bench.publish(*calling.registered("b1", device="phone"))
        await bench.publish(*calling.disconnected("nobody", "nobody"))
        await bench.publish("getInvitations", {"peer": {"id": "b1", "user": "bob"}, "transaction": 1})
        await bench.heard("answer")
        await bench.publish(*calling.accept("b1"))
        await bench.heard("inviteAccepted")
    (invitation,) = await told(bench, "invitation")
    assert 15_000 < invitation["expiresIn"] < 20_000
    assert not invitation["resumed"]
    assert await told(bench, "invitationCancel") == []
    assert await pushed(standin) == [("invitation", "phone")]


async def test_a_device_that_wakes_up_too_late_learns_what_happened(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(bench.client)
    await call_phone(shard, "phone")
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("phone")
        await jobs.settled()
        await bench.publish(*calling.stop())
        await bench.heard("inviteRejected")
        await bench.publish(*calling.registered("b1", device="phone"))
        await bench.publish("getInvitations", {"peer": {"id": "b1", "user": "bob"}, "transaction": 1})
        await bench.publish(*calling.accept("b1"))
        await bench.heard("answer", 3)
    answers = {one["request"]: one for one in await told(bench, "answer")}
    assert answers["getInvitations"]["invitations"] == []
    assert (answers["accept"]["code"], answers["accept"]["reason"]) == (410, "cancelled")
    assert await told(bench, "invitation") == []
    assert (await shard.invite(calling.REF))["state"] == "DECLINED_BY_CREATOR"


# --- a busy user


async def test_a_push_to_a_user_who_is_busy_by_now_is_cancelled(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    """Two calls; the user accepts one on a registered device while the push of the other is under way."""
    standin.fault(slow(300), "push", times=1)
    shard = await another_worker(bench.client)
    await call_phone(shard, "phone")
    await shard.event(*calling.registered("b1", device="desk"))
    carols = calling.invite(by={"id": "c", "user": "carol"}, invite_id="2", room="r2")
    await settle(shard, carols, {"known": True})
    async with pusher(valkey_url, standin.wac, onlyOneDeviceWithInvitations=True):
        await wait_until(lambda: standin.under_way == 1, "the push is under way")
        await bench.publish(*calling.accept("b1", from_="carol", invite_id="2"))
        cancel = await standin.pushed("phone", "invitationCancel")
        await jobs.settled()
    payload = msgspec.json.decode(cancel.job.payload)
    assert (payload["code"], payload["reason"]) == (486, "busy_elsewhere")


# --- dead letters


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": "invited"}, 'field type must be invitation or invitationCancel, not the text "invited"'),
        ({"device": None}, "field device is missing"),
        ({"deadline": "soon"}, 'field deadline must be a time in ms since 1970, not the text "soon"'),
        ({"payload": "[]"}, "field payload is no JSON object"),
        ({"payload": "[" * 100_000}, "field payload is no JSON object"),
        ({"user": b"\xff"}, "field user is not UTF-8: byte 0 is 0xff"),
    ],
)
async def test_an_entry_that_is_no_push_job_becomes_a_dead_letter(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str, fields: dict[str, Any], words: str
) -> None:
    await another_worker(bench.client)
    await jobs.add(**fields)
    async with pusher(valkey_url, standin.wac):
        await jobs.settled()
    (letter,) = await bench.dead()
    assert (letter["type"], letter["stream"]) == ("push", "push")
    assert words in letter["error"]


# --- who pushes


async def test_without_sippo_server_jobs_are_left_alone_until_long_after_their_time(
    bench: Bench, jobs: Jobs, valkey_url: str
) -> None:
    now = (await bench.client.time())[0] * 1000
    await bench.client.xadd(KEYS.push, {"type": "invitation"}, id=f"{now - 4_000_000}-0")
    young = await jobs.add()
    async with pusher(valkey_url, None):

        async def trimmed() -> bool:
            return [entry.decode() for entry, _ in await bench.client.xrange(KEYS.push)] == [young]

        await wait_until(trimmed, "the old job is gone")
    assert await bench.client.xinfo_groups(KEYS.push) == []


async def test_who_could_push_but_looks_nothing_up_still_sends_what_there_is(
    bench: Bench, jobs: Jobs, standin: FakeSippo, valkey_url: str
) -> None:
    await another_worker(bench.client)
    await jobs.add(type="invitationCancel")
    async with pusher(valkey_url, standin.wac):
        await standin.pushed("phone", "invitationCancel")
        await jobs.settled()
