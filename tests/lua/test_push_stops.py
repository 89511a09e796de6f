"""Push: jobs stop phones that lose the call; and push together with other rules."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.shard import MakeShard, Shard, of_type, peer

pytestmark = pytest.mark.one_shard

WAKE, STOP = "invitation", "invitationCancel"


# -- stopping


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (e.accept("desk"), (200, "accepted_elsewhere")),
        (e.decline("desk"), (603, "declined_elsewhere")),
        (e.stop(), (487, "cancelled")),
        (e.room_closed(), (487, "room_closed")),
    ],
)
async def test_a_pushed_device_that_loses_is_told_by_a_push(
    bob_asleep: Shard, end: e.Published, words: tuple[int, str]
) -> None:
    await e.in_order(bob_asleep, e.registered("desk"), e.invite())
    await push_jobs.taken(bob_asleep)
    told = await bob_asleep.event(*end)
    assert "phone" not in groups.stopped(told)
    [job] = await push_jobs.jobs(bob_asleep)
    assert (job["type"], job["device"], job["user"], job["ref"]) == (STOP, "phone", "bob", e.REF)
    assert (job["payload"]["code"], job["payload"]["reason"]) == words
    assert job["payload"].get("whoAccepted") == ("bob" if words[0] == 200 else None)
    assert int(job["deadline"]) == bob_asleep.now + 300_000


@pytest.mark.parametrize("end", [e.accept("desk"), e.stop()])
async def test_no_push_is_sent_for_a_call_that_was_over_before(bob_asleep: Shard, end: e.Published) -> None:
    await e.in_order(bob_asleep, e.registered("desk"), e.invite(), end)
    [job] = await push_jobs.jobs(bob_asleep)
    assert job["type"] == WAKE
    assert await e.states(bob_asleep) == {
        "desk": "ACCEPTED" if end[0] == "accept" else "CANCELLED",
        "phone": "CANCELLED",
    }
    assert await push_jobs.becomes(bob_asleep, job, "pushDropped") == []
    assert await push_jobs.jobs(bob_asleep) == []


@pytest.mark.parametrize("became", ["pushTaken", "pushUnsure"])
async def test_a_push_that_was_under_way_at_the_end_is_followed_by_a_cancel(
    bob_asleep: Shard, became: str
) -> None:
    await e.in_order(bob_asleep, e.registered("desk"), e.invite(), e.accept("desk"))
    [job] = await push_jobs.jobs(bob_asleep)
    assert await push_jobs.becomes(bob_asleep, job, became) == []
    [job] = await push_jobs.jobs(bob_asleep)
    assert (job["type"], job["device"]) == (STOP, "phone")
    assert (job["payload"]["reason"], job["payload"]["whoAccepted"]) == ("accepted_elsewhere", "bob")
    assert await push_jobs.becomes(bob_asleep, job, "pushDropped") == []
    assert await push_jobs.jobs(bob_asleep) == []


async def test_a_push_that_may_have_come_through_is_not_told_to_the_caller(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    assert await push_jobs.becomes(bob_called, job, "pushUnsure") == []
    await bob_called.event(*e.stop())
    assert push_jobs.briefly(await push_jobs.jobs(bob_called)) == [(STOP, "phone")]


async def test_a_push_that_overtakes_its_device_which_has_lost_meanwhile(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    told = await e.in_order(bob_called, e.registered("p1", device="phone"), e.stop())
    assert groups.stopped(told) == ["p1"]
    assert await push_jobs.jobs(bob_called) == []
    await push_jobs.becomes(bob_called, job, "pushTaken")
    assert push_jobs.briefly(await push_jobs.jobs(bob_called)) == [(STOP, "phone")]


async def test_a_push_that_overtakes_the_accept_of_its_device(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    await e.in_order(bob_called, e.registered("p1", device="phone"), e.accept("p1"))
    await push_jobs.becomes(bob_called, job, "pushTaken")
    assert await push_jobs.jobs(bob_called) == []


async def test_a_woken_device_that_loses_is_told_over_its_connection(bob_pushed: Shard) -> None:
    told = await e.in_order(
        bob_pushed, e.registered("desk"), e.registered("p1", device="phone"), e.accept("desk")
    )
    assert groups.stopped(told) == ["p1"]
    assert await push_jobs.jobs(bob_pushed) == []


async def test_a_device_that_is_gone_gets_no_cancel(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("desk"), e.invite())
    [job] = await push_jobs.jobs(bob_asleep)
    await push_jobs.becomes(bob_asleep, job, "pushGone")
    await bob_asleep.event(*e.stop())
    assert await push_jobs.jobs(bob_asleep) == []


async def test_a_callee_with_push_devices_only_rings_until_the_time_out(bob_pushed: Shard) -> None:
    assert await e.later(bob_pushed, e.RING - 1) == []
    told = await e.later(bob_pushed, 1)
    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert e.end_reasons(told) == {"phone": 408}
    [job] = await push_jobs.jobs(bob_pushed)
    assert (job["type"], job["payload"]["code"]) == (STOP, 408)


async def test_registered_devices_that_go_leave_the_pushed_ones(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("desk"), e.invite())
    assert e.types(await bob_asleep.event(*e.disconnected("desk"))) == []
    assert (await bob_asleep.invite(e.REF))["state"] == "PENDING"


async def test_an_accept_of_a_device_that_is_not_registered_stops_the_pushed_ones(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*e.accept("woken"))
    assert e.one(told, "inviteAccepted").payload["peer"] == "woken"
    assert e.end_reasons(told) == {"phone": 487, "woken": 200}
    assert push_jobs.briefly(await push_jobs.jobs(bob_pushed)) == [(STOP, "phone")]


async def test_every_key_expires(bob_pushed: Shard) -> None:
    await bob_pushed.event(*e.stop())
    await e.later(bob_pushed, 300_000)
    names = [name.decode() async for name in bob_pushed.client.scan_iter(match=f"{bob_pushed.keys.base}*")]
    assert [name for name in names if e.REF in name] == []


# -- with other rules


async def test_push_candidates_count_as_devices_of_a_user_that_is_busy(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="push", only_one_device_with_invitations=True))
    await e.in_order(shard, e.registered("desk"), e.invite())
    push_jobs.sleeps(shard, "bob", "phone", "watch")
    await shard.event(*e.invite(peer("z", "zoe")))
    found = {job["device"]: job for job in await push_jobs.jobs(shard)}
    await push_jobs.becomes(shard, found["phone"], "pushTaken")

    told = await shard.event(*e.accept("desk"))
    assert [each for each in of_type(told, "invitationCancel") if each.payload["from"] == "zoe"] == []
    [job] = await push_jobs.jobs(shard)
    assert (job["type"], job["device"], job["ref"]) == (STOP, "phone", "zoe|1|bob")
    assert (job["payload"]["code"], job["payload"]["reason"]) == (486, "busy_elsewhere")
    assert await e.states(shard, "zoe|1|bob") == {"desk": "CALLED", "phone": "REJECTED", "watch": "REJECTED"}

    await push_jobs.becomes(shard, found["watch"], "pushTaken")
    assert push_jobs.briefly(await push_jobs.jobs(shard)) == [(STOP, "watch")]


async def test_a_rejected_device_that_has_woken_before_its_push_was_taken(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="push", only_one_device_with_invitations=True))
    await e.in_order(shard, e.registered("desk"), e.invite())
    push_jobs.sleeps(shard, "bob", "phone")
    await shard.event(*e.invite(peer("z", "zoe")))
    [job] = await push_jobs.jobs(shard)
    told = await e.in_order(shard, e.accept("desk"), e.registered("p1", device="phone"))
    assert groups.rung(told) == []
    await push_jobs.becomes(shard, job, "pushTaken")
    [job] = await push_jobs.jobs(shard)
    assert (job["type"], job["device"], job["payload"]["reason"]) == (STOP, "phone", "busy_elsewhere")


async def test_an_invite_of_push_candidates_that_are_all_busy_ends(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="push", only_one_device_with_invitations=True))
    push_jobs.sleeps(shard, "bob", "phone")
    await e.in_order(shard, e.invite(), e.invite(peer("z", "zoe")))
    told = await shard.event(*e.accept("woken"))
    [rejected] = of_type(told, "inviteRejected")
    assert (rejected.payload["code"], rejected.payload["reason"]) == (486, "busy")


async def test_with_parallel_sip_phones_are_pushed_when_the_leg_is_back(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="push", parallel_sip=True))
    push_jobs.sleeps(shard, "bob", "phone")
    await e.in_order(shard, e.trunk("gw"), e.invite())
    assert await push_jobs.jobs(shard) == []
    gateway = peer("gw", "sip")
    told = await shard.event(*e.invite(gateway, to="bob", invite_id="2", returnOf=e.REF))
    assert e.one(told, "inviteProgress").payload["candidates"] == 2
    assert push_jobs.briefly(await push_jobs.jobs(shard)) == [(WAKE, "phone")]


async def test_members_of_a_group_are_pushed(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all"))
    groups.team(shard, "bob", "carol", push={"bob": ["phone"], "carol": ["c1", "c2"]})
    await shard.event(*e.registered("desk", "carol", device="c1"))
    told = await shard.event(*e.invite(to="team"))
    assert groups.rung(told) == ["desk"]
    found = {job["device"]: job for job in await push_jobs.jobs(shard)}
    assert sorted(found) == ["c2", "phone"]
    assert found["phone"]["ref"] == "alice|1|bob"
    assert (found["phone"]["payload"]["to"], found["phone"]["payload"]["group"]) == ("bob", "team")

    told = await push_jobs.becomes(shard, found["phone"], "pushTaken")
    payload = e.one(told, "inviteProgress").payload
    assert (payload["to"], payload["code"], payload["candidates"], payload["pushed"]) == ("team", 110, 3, 1)
    assert await push_jobs.becomes(shard, found["c2"], "pushTaken") == []

    told = await shard.event(*e.accept("desk", "carol"))
    cancels = {job["device"]: job for job in await push_jobs.jobs(shard)}
    assert sorted(cancels) == ["c2", "phone"]
    assert {job["payload"]["whoAccepted"] for job in cancels.values()} == {"carol"}


async def test_a_member_whose_devices_are_gone_is_out(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all"))
    groups.team(shard, "bob", "carol", push={"bob": ["phone"]}, sequential=True)
    await shard.event(*e.registered("desk", "carol"))
    assert groups.rung(await shard.event(*e.invite(to="team"))) == []
    [job] = await push_jobs.jobs(shard)
    told = await push_jobs.becomes(shard, job, "pushGone")
    assert groups.rung(told) == ["desk"]
