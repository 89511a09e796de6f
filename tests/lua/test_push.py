"""Push: jobs in the outbox wake phones that sleep, which ring once they are connected."""

import pytest

from invites.events.arguments import PushArguments
from invites.events.operation import Operation
from invites.keys import Stream
from invites.store.answers import Status
from invites.store.commit import SettleMode
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.shard import Shard, of_type

pytestmark = pytest.mark.one_shard

WAKE, STOP = "invitation", "invitationCancel"


# -- waking


async def test_a_phone_that_sleeps_is_pushed_with_the_time_that_is_left(bob_asleep: Shard) -> None:
    told = await bob_asleep.event(*e.invite(context={"n": 1}, expires=30_000))
    assert e.types(told) == ["inviteProgress"]
    progress = e.one(told, "inviteProgress").payload
    assert (progress["code"], progress["candidates"], progress["pushed"]) == (100, 1, 0)

    [job] = await push_jobs.jobs(bob_asleep)
    assert (job["type"], job["ref"], job["user"], job["device"]) == (WAKE, e.REF, "bob", "phone")
    assert int(job["deadline"]) == bob_asleep.now + 30_000
    payload = job["payload"]
    assert (payload["inviteId"], payload["from"], payload["to"], payload["room"]) == (
        "1",
        "alice",
        "bob",
        "r",
    )
    assert (payload["context"], payload["expiresIn"], payload["resumed"]) == ({"n": 1}, 30_000, False)
    assert await e.states(bob_asleep) == {"phone": "PUSHING"}


async def test_each_device_has_a_job_of_its_own(bob_asleep: Shard) -> None:
    push_jobs.sleeps(bob_asleep, "bob", "phone", "watch", "phone")
    await bob_asleep.event(*e.invite())
    assert push_jobs.briefly(await push_jobs.jobs(bob_asleep)) == [(WAKE, "phone"), (WAKE, "watch")]


async def test_registered_devices_and_push_devices_add_up(bob_asleep: Shard) -> None:
    told = await e.in_order(bob_asleep, e.registered("desk"), e.invite())
    assert groups.rung(told) == ["desk"]
    assert push_jobs.briefly(await push_jobs.jobs(bob_asleep)) == [(WAKE, "phone")]
    assert await e.states(bob_asleep) == {"desk": "CALLED", "phone": "PUSHING"}


async def test_a_device_that_is_there_is_not_pushed(bob_asleep: Shard) -> None:
    told = await e.in_order(bob_asleep, e.registered("p1", device="phone"), e.invite())
    assert groups.rung(told) == ["p1"]
    assert await push_jobs.jobs(bob_asleep) == []


async def test_who_has_push_devices_only_is_neither_unknown_nor_unreachable(bob_called: Shard) -> None:
    assert (await bob_called.invite(e.REF))["state"] == "PENDING"
    told = await bob_called.event(*e.invitations("somebody"))
    assert [each["inviteId"] for each in e.one(told, "answer").payload["invitations"]] == ["1"]


async def test_the_caller_hears_110_once_a_push_was_taken(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    told = await push_jobs.becomes(bob_called, job, "pushTaken")
    assert e.types(told) == ["inviteProgress"]
    payload = e.one(told, "inviteProgress").payload
    assert (payload["code"], payload["candidates"], payload["pushed"]) == (110, 1, 1)
    assert e.one(told, "inviteProgress").peers == ["a"]
    assert await e.states(bob_called) == {"phone": "PUSHED"}


async def test_110_is_told_once_however_many_are_taken(bob_asleep: Shard) -> None:
    push_jobs.sleeps(bob_asleep, "bob", "phone", "watch")
    await bob_asleep.event(*e.invite())
    told = await push_jobs.taken(bob_asleep)
    assert [each.payload["code"] for each in of_type(told, "inviteProgress")] == [110]
    told = await bob_asleep.event(*e.invite())
    assert e.one(told, "inviteProgress").payload["pushed"] == 2


async def test_110_is_not_told_after_180(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("desk"), e.invite(), e.ringing("desk"))
    assert await push_jobs.taken(bob_asleep) == []
    payload = e.one(await bob_asleep.event(*e.invite()), "inviteProgress").payload
    assert (payload["code"], payload["pushed"]) == (180, 1)


async def test_a_job_that_is_settled_twice_counts_once(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    await push_jobs.becomes(bob_called, job, "pushTaken")
    operation = Operation("pushTaken", job["entry"], PushArguments(job["ref"], job["device"]))
    settled = await bob_called.committer.commit([operation], SettleMode(Stream.PUSH))
    assert [each.status for each in settled.outcomes] == [Status.STALE]
    assert await bob_called.told() == []


async def test_news_do_not_push_again(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*e.invite(context="new"))
    assert e.types(told) == ["inviteProgress"]
    assert await push_jobs.jobs(bob_pushed) == []


# -- a device that is gone


async def test_a_device_that_is_gone_is_no_candidate(bob_asleep: Shard) -> None:
    push_jobs.sleeps(bob_asleep, "bob", "phone", "watch")
    await bob_asleep.event(*e.invite())
    found = {job["device"]: job for job in await push_jobs.jobs(bob_asleep)}
    assert await push_jobs.becomes(bob_asleep, found["phone"], "pushGone") == []
    assert await e.states(bob_asleep) == {"phone": "GONE", "watch": "PUSHING"}
    told = await push_jobs.becomes(bob_asleep, found["watch"], "pushGone")
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert e.end_reasons(told) == {"phone": 480, "watch": 480}
    assert await push_jobs.jobs(bob_asleep) == []


async def test_a_device_that_is_gone_there_may_register_all_the_same(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("desk"), e.invite())
    [job] = await push_jobs.jobs(bob_asleep)
    await push_jobs.becomes(bob_asleep, job, "pushGone")
    told = await bob_asleep.event(*e.registered("p1", device="phone"))
    assert groups.rung(told) == ["p1"]


# -- a device that wakes up


@pytest.mark.parametrize("was_taken", [False, True])
async def test_a_woken_device_is_rung_with_the_time_that_is_left(bob_called: Shard, was_taken: bool) -> None:
    if was_taken:
        await push_jobs.taken(bob_called)
    bob_called.now += 15_000
    told = await bob_called.event(*e.registered("p1", device="phone"))
    assert e.types(told) == ["invitation"]
    payload = e.one(told, "invitation").payload
    assert (payload["expiresIn"], payload["resumed"]) == (45_000, False)
    assert await e.states(bob_called) == {"p1": "CALLED"}


async def test_a_woken_device_is_rung_once_however_often_it_registers(bob_pushed: Shard) -> None:
    await bob_pushed.event(*e.registered("p1", device="phone"))
    told = await e.in_order(
        bob_pushed, e.registered("p1", device="phone"), e.registered("p1", device="phone", session="s")
    )
    assert e.types(told) == []
    assert await e.states(bob_pushed) == {"p1": "CALLED"}
    assert await push_jobs.jobs(bob_pushed) == []


async def test_a_woken_device_that_connects_anew_is_rung_as_any_other(bob_pushed: Shard) -> None:
    told = await e.in_order(
        bob_pushed,
        e.registered("p1", device="phone", session="s1"),
        e.registered("p2", device="phone", session="s2"),
    )
    assert [each.payload["resumed"] for each in of_type(told, "invitation")] == [False, True]
    assert await e.states(bob_pushed) == {"p2": "CALLED"}


async def test_a_push_that_is_taken_after_its_device_has_woken_says_nothing(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    await bob_called.event(*e.registered("p1", device="phone"))
    assert await push_jobs.becomes(bob_called, job, "pushTaken") == []
    assert await e.states(bob_called) == {"p1": "CALLED"}


async def test_a_device_that_is_gone_for_push_but_there_stays(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    await bob_called.event(*e.registered("p1", device="phone"))
    assert await push_jobs.becomes(bob_called, job, "pushGone") == []
    assert await e.states(bob_called) == {"p1": "CALLED"}


async def test_a_woken_device_accepts(bob_pushed: Shard) -> None:
    told = await e.in_order(bob_pushed, e.registered("p1", device="phone"), e.ringing("p1"), e.accept("p1"))
    assert e.one(told, "inviteAccepted").payload["peer"] == "p1"
    assert e.end_reasons(told) == {"p1": 200}
    assert await push_jobs.jobs(bob_pushed) == []


async def test_a_device_that_wakes_up_late_learns_what_happened(bob_pushed: Shard) -> None:
    await e.later(bob_pushed, e.RING)
    told = await bob_pushed.event(*e.registered("p1", device="phone"))
    assert e.outcome(told, "invitationCancel") == (408, "timeout")
    told = await bob_pushed.event(*e.invitations("p1"))
    assert e.one(told, "answer").payload["invitations"] == []
    assert (await bob_pushed.invite(e.REF))["reason"] == "timeout"
    assert e.outcome(await bob_pushed.event(*e.accept("p1")), "answer") == (410, "timeout")


async def test_a_woken_device_that_declined_is_not_rung_again(bob_pushed: Shard) -> None:
    await e.in_order(bob_pushed, e.registered("desk"), e.registered("p1", device="phone"))
    await bob_pushed.event(*e.decline("p1", errorCode=486))
    told = await bob_pushed.event(*e.registered("p2", device="phone"))
    assert e.types(told) == []
    assert await e.states(bob_pushed) == {"desk": "CALLED", "p2": "DECLINED"}


# -- a device id that is also a peer id


async def test_a_push_device_whose_id_is_another_devices_peer_id(bob_asleep: Shard) -> None:
    told = await e.in_order(bob_asleep, e.registered("phone", device="desk"), e.invite())
    assert groups.rung(told) == ["phone"]
    assert e.one(told, "inviteProgress").payload["candidates"] == 2
    assert push_jobs.briefly(await push_jobs.jobs(bob_asleep)) == [(WAKE, "phone")]


async def test_another_device_registers_with_the_id_of_a_pushed_device(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*e.registered("phone", device="desk"))
    assert groups.rung(told) == ["phone"]
    told = await bob_pushed.event(*e.accept("phone"))
    assert push_jobs.briefly(await push_jobs.jobs(bob_pushed)) == [(STOP, "phone")]
    [record] = of_type(told, "INVITE_COMPLETED")
    assert sorted((each["peer"], each["endReason"]) for each in record.payload["candidates"]) == [
        ("phone", 200),
        ("phone", 487),
    ]


@pytest.mark.parametrize("registers", [False, True])
async def test_a_pushed_device_rings_under_its_device_id(bob_pushed: Shard, registers: bool) -> None:
    if registers:
        await bob_pushed.event(*e.registered("phone"))
    told = await bob_pushed.event(*e.ringing("phone"))
    progress = e.one(told, "inviteProgress").payload
    assert (progress["code"], progress["candidates"], progress["ringing"], progress["pushed"]) == (
        180,
        1,
        1,
        0,
    )
    told = await bob_pushed.event(*e.accept("phone"))
    assert e.end_reasons(told) == {"phone": 200}
    assert await push_jobs.jobs(bob_pushed) == []
