"""Push: phones that sleep are woken by jobs in the outbox, and ring once they are there."""

import pytest

from invites.events.arguments import PushArguments
from invites.events.operation import Operation
from invites.keys import Stream
from invites.store.commit import SettleMode, Status
from tests.conftest import MakeShard
from tests.support import events as e
from tests.support.groups import rung
from tests.support.push import PUSH, becomes, briefly, jobs, sleeps, taken
from tests.support.shard import Shard, of_type

pytestmark = pytest.mark.one_shard

WAKE, STOP = "invitation", "invitationCancel"


@pytest.fixture
async def bobs(make_shard: MakeShard) -> Shard:
    """A shard in which Bob has a phone that sleeps, and nothing else."""
    shard = await make_shard(PUSH)
    sleeps(shard, "bob", "phone")
    return shard


@pytest.fixture
async def called(bobs: Shard) -> Shard:
    """The same, while Alice calls him."""
    await bobs.event(*e.invite())
    return bobs


@pytest.fixture
async def pushed(called: Shard) -> Shard:
    """The same, once sippo-server has taken the push."""
    await taken(called)
    return called


# -- waking


async def test_a_phone_that_sleeps_is_pushed_with_the_time_that_is_left(bobs: Shard) -> None:
    told = await bobs.event(*e.invite(context={"n": 1}, expires=30_000))
    assert e.types(told) == ["inviteProgress"]
    progress = e.one(told, "inviteProgress").payload
    assert (progress["code"], progress["candidates"], progress["pushed"]) == (100, 1, 0)

    [job] = await jobs(bobs)
    assert (job["type"], job["ref"], job["user"], job["device"]) == (WAKE, e.REF, "bob", "phone")
    assert int(job["deadline"]) == bobs.now + 30_000
    payload = job["payload"]
    assert (payload["inviteId"], payload["from"], payload["to"], payload["room"]) == (
        "1",
        "alice",
        "bob",
        "r",
    )
    assert (payload["context"], payload["expiresIn"], payload["resumed"]) == ({"n": 1}, 30_000, False)
    assert await e.states(bobs) == {"phone": "PUSHING"}


async def test_each_device_has_a_job_of_its_own(bobs: Shard) -> None:
    sleeps(bobs, "bob", "phone", "watch", "phone")
    await bobs.event(*e.invite())
    assert briefly(await jobs(bobs)) == [(WAKE, "phone"), (WAKE, "watch")]


async def test_registered_devices_and_push_devices_add_up(bobs: Shard) -> None:
    told = await e.in_order(bobs, e.registered("desk"), e.invite())
    assert rung(told) == ["desk"]
    assert briefly(await jobs(bobs)) == [(WAKE, "phone")]
    assert await e.states(bobs) == {"desk": "CALLED", "phone": "PUSHING"}


async def test_a_device_that_is_there_is_not_pushed(bobs: Shard) -> None:
    told = await e.in_order(bobs, e.registered("p1", device="phone"), e.invite())
    assert rung(told) == ["p1"]
    assert await jobs(bobs) == []


async def test_who_has_push_devices_only_is_neither_unknown_nor_unreachable(called: Shard) -> None:
    assert (await called.invite(e.REF))["state"] == "PENDING"
    told = await called.event(*e.invitations("somebody"))
    assert [each["inviteId"] for each in e.one(told, "answer").payload["invitations"]] == ["1"]


async def test_the_caller_hears_110_once_a_push_was_taken(called: Shard) -> None:
    [job] = await jobs(called)
    told = await becomes(called, job, "pushTaken")
    assert e.types(told) == ["inviteProgress"]
    payload = e.one(told, "inviteProgress").payload
    assert (payload["code"], payload["candidates"], payload["pushed"]) == (110, 1, 1)
    assert e.one(told, "inviteProgress").peers == ["a"]
    assert await e.states(called) == {"phone": "PUSHED"}


async def test_110_is_told_once_however_many_are_taken(bobs: Shard) -> None:
    sleeps(bobs, "bob", "phone", "watch")
    await bobs.event(*e.invite())
    told = await taken(bobs)
    assert [each.payload["code"] for each in of_type(told, "inviteProgress")] == [110]
    told = await bobs.event(*e.invite())
    assert e.one(told, "inviteProgress").payload["pushed"] == 2


async def test_110_is_not_told_after_180(bobs: Shard) -> None:
    await e.in_order(bobs, e.registered("desk"), e.invite(), e.ringing("desk"))
    assert await taken(bobs) == []
    payload = e.one(await bobs.event(*e.invite()), "inviteProgress").payload
    assert (payload["code"], payload["pushed"]) == (180, 1)


async def test_a_job_that_is_settled_twice_counts_once(called: Shard) -> None:
    [job] = await jobs(called)
    await becomes(called, job, "pushTaken")
    operation = Operation("pushTaken", job["entry"], PushArguments(job["ref"], job["device"]))
    settled = await called.committer.commit([operation], SettleMode(Stream.PUSH))
    assert [each.status for each in settled.outcomes] == [Status.STALE]
    assert await called.told() == []


async def test_news_do_not_push_again(pushed: Shard) -> None:
    told = await pushed.event(*e.invite(context="new"))
    assert e.types(told) == ["inviteProgress"]
    assert await jobs(pushed) == []


# -- a device that is gone


async def test_a_device_that_is_gone_is_no_candidate(bobs: Shard) -> None:
    sleeps(bobs, "bob", "phone", "watch")
    await bobs.event(*e.invite())
    found = {job["device"]: job for job in await jobs(bobs)}
    assert await becomes(bobs, found["phone"], "pushGone") == []
    assert await e.states(bobs) == {"phone": "GONE", "watch": "PUSHING"}
    told = await becomes(bobs, found["watch"], "pushGone")
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert e.end_reasons(told) == {"phone": 480, "watch": 480}
    assert await jobs(bobs) == []


async def test_a_device_that_is_gone_there_may_register_all_the_same(bobs: Shard) -> None:
    await e.in_order(bobs, e.registered("desk"), e.invite())
    [job] = await jobs(bobs)
    await becomes(bobs, job, "pushGone")
    told = await bobs.event(*e.registered("p1", device="phone"))
    assert rung(told) == ["p1"]


# -- a device that wakes up


@pytest.mark.parametrize("was_taken", [False, True])
async def test_a_woken_device_is_rung_with_the_time_that_is_left(called: Shard, was_taken: bool) -> None:
    if was_taken:
        await taken(called)
    called.now += 15_000
    told = await called.event(*e.registered("p1", device="phone"))
    assert e.types(told) == ["invitation"]
    payload = e.one(told, "invitation").payload
    assert (payload["expiresIn"], payload["resumed"]) == (45_000, False)
    assert await e.states(called) == {"p1": "CALLED"}


async def test_a_woken_device_is_rung_once_however_often_it_registers(pushed: Shard) -> None:
    await pushed.event(*e.registered("p1", device="phone"))
    told = await e.in_order(
        pushed, e.registered("p1", device="phone"), e.registered("p1", device="phone", session="s")
    )
    assert e.types(told) == []
    assert await e.states(pushed) == {"p1": "CALLED"}
    assert await jobs(pushed) == []


async def test_a_woken_device_that_connects_anew_is_rung_as_any_other(pushed: Shard) -> None:
    told = await e.in_order(
        pushed,
        e.registered("p1", device="phone", session="s1"),
        e.registered("p2", device="phone", session="s2"),
    )
    assert [each.payload["resumed"] for each in of_type(told, "invitation")] == [False, True]
    assert await e.states(pushed) == {"p2": "CALLED"}


async def test_a_push_that_is_taken_after_its_device_has_woken_says_nothing(called: Shard) -> None:
    [job] = await jobs(called)
    await called.event(*e.registered("p1", device="phone"))
    assert await becomes(called, job, "pushTaken") == []
    assert await e.states(called) == {"p1": "CALLED"}


async def test_a_device_that_is_gone_for_push_but_there_stays(called: Shard) -> None:
    [job] = await jobs(called)
    await called.event(*e.registered("p1", device="phone"))
    assert await becomes(called, job, "pushGone") == []
    assert await e.states(called) == {"p1": "CALLED"}


async def test_a_woken_device_accepts(pushed: Shard) -> None:
    told = await e.in_order(pushed, e.registered("p1", device="phone"), e.ringing("p1"), e.accept("p1"))
    assert e.one(told, "inviteAccepted").payload["peer"] == "p1"
    assert e.end_reasons(told) == {"p1": 200}
    assert await jobs(pushed) == []


async def test_a_device_that_wakes_up_late_learns_what_happened(pushed: Shard) -> None:
    await e.later(pushed, e.RING)
    told = await pushed.event(*e.registered("p1", device="phone"))
    assert e.types(told) == []
    told = await pushed.event(*e.invitations("p1"))
    assert e.one(told, "answer").payload["invitations"] == []
    assert (await pushed.invite(e.REF))["reason"] == "timeout"
    assert e.outcome(await pushed.event(*e.accept("p1")), "answer") == (410, "timeout")


async def test_a_woken_device_that_declined_is_not_rung_again(pushed: Shard) -> None:
    await e.in_order(pushed, e.registered("desk"), e.registered("p1", device="phone"))
    await pushed.event(*e.decline("p1", errorCode=486))
    told = await pushed.event(*e.registered("p2", device="phone"))
    assert e.types(told) == []
    assert await e.states(pushed) == {"desk": "CALLED", "p2": "DECLINED"}
