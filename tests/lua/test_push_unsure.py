"""A push that may have arrived without an answer: the device must not keep ringing when the call is over."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from invites.events.arguments import PushArguments
from invites.events.operation import Operation
from invites.keys import Stream
from invites.store.answers import Status
from invites.store.commit import SettleMode
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.looked_up import SETTINGS, call_phone
from tests.support.shard import MakeShard, Notification, Shard

pytestmark = pytest.mark.one_shard


async def job_settled(
    shard: Shard, handler: str, ref: str = e.REF, device: str = "phone"
) -> list[Notification]:
    """Read the next push job, as a push worker does, and settle it; returns the notifications."""
    reply = await shard.client.xreadgroup("push", "test", {shard.keys.push: ">"}, count=1)
    [entries] = reply.values() if isinstance(reply, Mapping) else [reply[0][1]]
    while isinstance(entries[0], list):
        entries = entries[0]
    operation = Operation(handler, entries[0][0].decode(), PushArguments(ref, device))
    (outcome,) = (await shard.committer.commit([operation], SettleMode(Stream.PUSH))).outcomes
    assert outcome.status is Status.DONE, outcome
    return await shard.told()


async def jobs(shard: Shard) -> list[tuple[str, str]]:
    """Type and device of all jobs in the stream."""
    return [
        (fields[b"type"].decode(), fields[b"device"].decode())
        for _, fields in await shard.client.xrange(shard.keys.push)
    ]


@pytest.fixture
async def phone_called(make_shard: MakeShard) -> Shard:
    """Alice calls Bob, whose phone sleeps."""
    found = await make_shard(SETTINGS)
    await call_phone(found, "phone")
    await found.told()
    return found


async def test_the_inviter_hears_nothing_and_the_end_is_pushed(phone_called: Shard) -> None:
    assert await job_settled(phone_called, "pushUnsure") == []
    assert (await phone_called.candidates(e.REF))["phone"]["state"] == "PUSHED"
    await phone_called.event(*e.stop())
    assert await jobs(phone_called) == [("invitation", "phone"), ("invitationCancel", "phone")]


async def test_a_call_that_is_over_is_cancelled_at_once(phone_called: Shard) -> None:
    await phone_called.event(*e.stop())
    assert await jobs(phone_called) == [("invitation", "phone")]
    await job_settled(phone_called, "pushUnsure")
    assert await jobs(phone_called) == [("invitation", "phone"), ("invitationCancel", "phone")]


async def test_a_device_that_is_there_by_now_is_left_alone(phone_called: Shard) -> None:
    await phone_called.event(*e.registered("b1", device="phone"))
    await phone_called.event(*e.accept("b1"))
    assert await job_settled(phone_called, "pushUnsure") == []
    assert await jobs(phone_called) == [("invitation", "phone")]


async def test_an_invite_that_is_not_known_any_more(phone_called: Shard) -> None:
    assert await job_settled(phone_called, "pushUnsure", ref="alice|2|bob") == []
    assert await jobs(phone_called) == [("invitation", "phone")]


async def test_a_cancel_that_is_settled_makes_no_other(phone_called: Shard) -> None:
    await job_settled(phone_called, "pushTaken")
    await phone_called.event(*e.stop())
    await job_settled(phone_called, "pushDropped")
    assert await jobs(phone_called) == [("invitation", "phone"), ("invitationCancel", "phone")]


async def test_jobs_go_long_after_their_time_whoever_has_not_settled_them(make_shard: MakeShard) -> None:
    phone_called = await make_shard(Settings(max_ring_timeout=60_000, retain_after=300_000))
    seconds, _ = await phone_called.client.time()
    for age in (4_000, 3_800):
        await phone_called.client.xadd(
            phone_called.keys.push, {"type": "invitation"}, id=f"{(seconds - age) * 1000}-0"
        )
    await phone_called.client.xreadgroup("push", "test", {phone_called.keys.push: ">"}, count=1)
    assert await phone_called.committer.trim(phone_called.keys.push) == 1
    assert await phone_called.client.xlen(phone_called.keys.push) == 1


@pytest.mark.parametrize(("waited", "unsure"), [(500, None), (501, b"1")])
async def test_a_job_of_an_event_that_waited_may_have_been_sent_before(
    make_shard: MakeShard, waited: int, unsure: bytes | None
) -> None:
    """A server that failed in between may have lost it."""
    shard = await make_shard(SETTINGS)
    invite = (await shard.publish(*e.invite())).having(lookup_result='{"known": true, "push": ["phone"]}')
    shard.now += waited
    await shard.committer.commit([invite])
    [(_, job)] = await shard.client.xrange(shard.keys.push)
    assert job.get(b"unsure") == unsure
