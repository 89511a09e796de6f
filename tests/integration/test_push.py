"""Push jobs: what is sent, when it is not, and the notifications to the caller and the devices."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import pushes
from tests.support.looked_up import another_worker, call_phone, settle
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams
from workers.lab.fake_sippo import FakeSippo, slow

# --- taken


async def test_a_push_is_taken_and_the_caller_hears_of_it(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(streams.client), "phone", context={"a": []}, expires=30_000)
    async with pushes.worker(valkey_url, fake_sippo.wac) as service:
        push = await fake_sippo.pushed("phone")
        await streams.heard("inviteProgress", 2)
        await jobs.settled()
        counted = service.metrics.registry.get_sample_value(
            "invites_pushes_total", {"type": "invitation", "outcome": "taken"}
        )
    job = push.job
    assert (job.user, job.device, job.type, job.collapse_id) == ("bob", "phone", "invitation", e.REF)
    payload = msgspec.json.decode(job.payload)
    assert job.ttl <= 29
    assert job.ttl == payload["expiresIn"] // 1000
    assert (payload["inviteId"], payload["from"], payload["context"]) == ("1", "alice", {"a": []})
    progress = await streams.payloads("inviteProgress")
    assert [(one["code"], one["pushed"]) for one in progress] == [(100, 0), (110, 1)]
    assert counted == 1


async def test_a_caller_hears_110_once(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(streams.client), "phone", "tablet")
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone")
        await fake_sippo.pushed("tablet")
        await jobs.settled()
    assert [one["code"] for one in await streams.payloads("inviteProgress")] == [100, 110]


# --- not wanted


@pytest.mark.usefixtures("in_good_time")
async def test_nothing_is_pushed_for_a_call_that_is_over(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone")
    await shard.event(*e.stop())
    async with pushes.worker(valkey_url, fake_sippo.wac) as service:
        await jobs.settled()
        counted = service.metrics.registry.get_sample_value(
            "invites_pushes_total", {"type": "invitation", "outcome": "unwanted"}
        )
    assert fake_sippo.requests["push"] == 0
    assert counted == 1


async def test_nothing_is_pushed_to_a_device_that_is_there_by_now(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone")
    await shard.event(*e.registered("b1", device="phone"))
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await jobs.settled()
    assert fake_sippo.requests["push"] == 0
    assert len(await streams.payloads("invitation")) == 1


@pytest.mark.usefixtures("in_good_time")
async def test_nothing_is_pushed_to_a_device_that_has_silenced_the_call(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(streams.client, Settings(look_up="all", push_after=3_000))
    await shard.event(*e.registered("b1", device="phone"))
    await call_phone(shard, "phone")
    await e.later(shard, 3_000)
    await shard.event(*e.silence("b1"))
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await jobs.settled()
    assert fake_sippo.requests["push"] == 0


@pytest.mark.usefixtures("in_good_time")
async def test_nothing_is_pushed_when_less_than_a_second_is_left(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(streams.client), "phone", expires=900)
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await jobs.settled()
        await streams.heard("inviteRejected")
    assert fake_sippo.requests["push"] == 0
    (rejected,) = await streams.payloads("inviteRejected")
    assert (rejected["code"], rejected["reason"]) == (408, "timeout")


# --- the end of a call


async def test_a_device_that_was_pushed_and_lost_gets_a_cancel(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone", "tablet")
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone")
        await fake_sippo.pushed("tablet")
        await jobs.settled()
        await streams.publish(*e.registered("b1", device="phone"))
        await streams.publish(*e.accept("b1"))
        cancel = await fake_sippo.pushed("tablet", "invitationCancel")
        await jobs.settled()
    assert cancel.job.collapse_id == e.REF
    assert 30 < cancel.job.ttl <= 300
    payload = msgspec.json.decode(cancel.job.payload)
    assert (payload["code"], payload["reason"], payload["whoAccepted"]) == (200, "accepted_elsewhere", "bob")
    assert [push for push in await pushes.pushed(fake_sippo) if push[0] == "invitationCancel"] == [
        ("invitationCancel", "tablet")
    ]


async def test_a_device_whose_push_was_under_way_when_the_call_ended_gets_a_cancel(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    fake_sippo.fault(slow(60_000), "push", times=1)
    await call_phone(await another_worker(streams.client), "phone")
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await wait_until(lambda: fake_sippo.requests["push"] == 1, "the push is under way")
        await streams.publish(*e.stop())
        await streams.heard("inviteRejected")
        fake_sippo.heal()
        cancel = await fake_sippo.pushed("phone", "invitationCancel")
        await jobs.settled()
    payload = msgspec.json.decode(cancel.job.payload)
    assert (payload["code"], payload["reason"]) == (487, "cancelled")
    assert await pushes.pushed(fake_sippo) == [("invitation", "phone"), ("invitationCancel", "phone")]
    assert [one["code"] for one in await streams.payloads("inviteProgress")] == [100]


async def test_a_callee_that_can_only_be_pushed_rings_until_the_time_out(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(streams.client), "phone", expires=2_500)
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone")
        await streams.heard("inviteRejected")
        await fake_sippo.pushed("phone", "invitationCancel")
        await jobs.settled()
    (rejected,) = await streams.payloads("inviteRejected")
    (record,) = await streams.payloads("INVITE_COMPLETED")
    assert (rejected["code"], rejected["reason"]) == (408, "timeout")
    assert (record["state"], record["candidates"]) == (
        "DECLINED_BY_TIMEOUT",
        [{"address": "bob", "peer": "phone", "endReason": 408}],
    )


# --- a device that is gone


@pytest.mark.parametrize("known", [True, False])
async def test_a_device_that_is_gone_is_no_candidate(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str, known: bool
) -> None:
    """404: unknown; 410: known, but it cannot be pushed to any more."""
    fake_sippo.directory.gone = {"bob/phone"} if known else set()
    device = "phone" if known else "never-seen"
    await call_phone(await another_worker(streams.client), device)
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await streams.heard("inviteRejected")
        await jobs.settled()
    (rejected,) = await streams.payloads("inviteRejected")
    assert (rejected["code"], rejected["reason"]) == (480, "unreachable")
    assert fake_sippo.requests["push"] == 1


async def test_a_device_that_is_gone_leaves_the_others_ringing(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    fake_sippo.directory.gone = {"bob/phone"}
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone", "tablet")
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("tablet")
        await jobs.settled()
    assert await streams.payloads("inviteRejected") == []
    candidates = await shard.candidates(e.REF)
    assert {name: one["state"] for name, one in candidates.items()} == {"phone": "GONE", "tablet": "PUSHED"}


# --- a device that wakes up


async def test_a_woken_device_is_rung_once_with_the_time_that_is_left(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    await call_phone(await another_worker(streams.client), "phone", expires=20_000)
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone")
        await jobs.settled()
        for _ in range(3):
            await streams.publish(*e.registered("b1", device="phone"))
        await streams.publish(*e.disconnected("nobody", "nobody"))
        await streams.publish("getInvitations", {"peer": {"id": "b1", "user": "bob"}, "transaction": 1})
        await streams.heard("answer")
        await streams.publish(*e.accept("b1"))
        await streams.heard("inviteAccepted")
    (invitation,) = await streams.payloads("invitation")
    assert 0 < invitation["expiresIn"] < 20_000
    assert not invitation["resumed"]
    assert await streams.payloads("invitationCancel") == []
    assert await pushes.pushed(fake_sippo) == [("invitation", "phone")]


async def test_a_device_that_wakes_up_too_late_learns_what_happened(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone")
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone")
        await jobs.settled()
        await streams.publish(*e.stop())
        await streams.heard("inviteRejected")
        await streams.publish(*e.registered("b1", device="phone"))
        await streams.publish("getInvitations", {"peer": {"id": "b1", "user": "bob"}, "transaction": 1})
        await streams.publish(*e.accept("b1"))
        await streams.heard("answer", 3)
    answers = {one["request"]: one for one in await streams.payloads("answer")}
    assert answers["getInvitations"]["invitations"] == []
    assert (answers["accept"]["code"], answers["accept"]["reason"]) == (410, "cancelled")
    assert await streams.payloads("invitation") == []
    assert (await shard.invite(e.REF))["state"] == "DECLINED_BY_CREATOR"


# --- a busy user


async def test_a_push_to_a_user_who_is_busy_by_now_is_cancelled(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    """Two calls; the user accepts one on a registered device while the push of the other is under way."""
    fake_sippo.fault(slow(60_000), "push", times=1)
    shard = await another_worker(streams.client)
    await call_phone(shard, "phone")
    await shard.event(*e.registered("b1", device="desk"))
    carols = e.invite(by={"id": "c", "user": "carol"}, invite_id="2", room="r2")
    await settle(shard, carols, {"known": True})
    async with pushes.worker(valkey_url, fake_sippo.wac, onlyOneDeviceWithInvitations=True):
        await wait_until(lambda: fake_sippo.requests["push"] == 1, "the push is under way")
        await streams.publish(*e.accept("b1", from_="carol", invite_id="2"))
        await streams.heard("inviteAccepted")
        fake_sippo.heal()
        cancel = await fake_sippo.pushed("phone", "invitationCancel")
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
    streams: Streams,
    jobs: pushes.Jobs,
    fake_sippo: FakeSippo,
    valkey_url: str,
    fields: dict[str, Any],
    words: str,
) -> None:
    await another_worker(streams.client)
    await jobs.add(**fields)
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await jobs.settled()
    (letter,) = await streams.dead()
    assert (letter["type"], letter["stream"]) == ("push", "push")
    assert words in letter["error"]


# --- who pushes


async def test_without_sippo_server_jobs_are_left_alone_until_long_after_their_time(
    streams: Streams, jobs: pushes.Jobs, valkey_url: str
) -> None:
    now = (await streams.client.time())[0] * 1000
    await streams.client.xadd(KEYS.push, {"type": "invitation"}, id=f"{now - 4_000_000}-0")
    young = await jobs.add()
    async with pushes.worker(valkey_url, None):

        async def trimmed() -> bool:
            return [entry.decode() for entry, _ in await streams.client.xrange(KEYS.push)] == [young]

        await wait_until(trimmed, "the old job is gone")
    assert await streams.client.xinfo_groups(KEYS.push) == []


async def test_who_could_push_but_looks_nothing_up_still_sends_what_there_is(
    streams: Streams, jobs: pushes.Jobs, fake_sippo: FakeSippo, valkey_url: str
) -> None:
    await another_worker(streams.client)
    await jobs.add(type="invitationCancel")
    async with pushes.worker(valkey_url, fake_sippo.wac):
        await fake_sippo.pushed("phone", "invitationCancel")
        await jobs.settled()
