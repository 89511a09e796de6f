"""Phones that sippo-server has listed for push, and that lose their connection, or decline for it, while it rings."""

import pytest

from invites.events.entry import Entry
from invites.lookup.pushes import Push, Verdict, decode_push_entry, is_still_wanted
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.events import said_by
from tests.support.shard import MakeShard, Shard, of_type

WAKE, STOP = "invitation", "invitationCancel"


@pytest.fixture
async def bob_connected(bob_asleep: Shard) -> Shard:
    """A shard in which Bob's phone is connected, and rings."""
    await e.in_order(bob_asleep, e.registered("p1", device="phone"), e.invite())
    assert await push_jobs.jobs(bob_asleep) == []
    return bob_asleep


@pytest.fixture
async def bob_patient(make_shard: MakeShard) -> Shard:
    """The same, where a lost device may be back within 5 s."""
    shard = await make_shard(Settings(look_up="push", remove_after=5_000))
    push_jobs.sleeps(shard, "bob", "phone")
    await e.in_order(shard, e.registered("p1", device="phone"), e.invite())
    return shard


pytestmark = pytest.mark.one_shard


async def test_a_phone_that_is_lost_while_it_rings_is_pushed(bob_connected: Shard) -> None:
    bob_connected.now += 10_000
    assert await bob_connected.event(*e.disconnected("p1")) == []
    [job] = await push_jobs.jobs(bob_connected)
    assert (job["type"], job["ref"], job["device"]) == (WAKE, e.REF, "phone")
    assert (job["payload"]["resumed"], job["payload"]["expiresIn"]) == (True, 50_000)
    assert await e.states(bob_connected) == {"phone": "PUSHING"}
    told = await push_jobs.becomes(bob_connected, job, "pushTaken")
    assert e.one(told, "inviteProgress").payload["code"] == 110
    told = await bob_connected.event(*e.registered("p2", device="phone"))
    assert e.one(told, "invitation").payload["resumed"] is True
    assert e.end_reasons(await bob_connected.event(*e.accept("p2"))) == {"p2": 200}
    assert await push_jobs.jobs(bob_connected) == []


async def test_a_woken_phone_that_is_lost_again_is_pushed_again(bob_pushed: Shard) -> None:
    for number in range(2):
        await bob_pushed.event(*e.registered(f"p{number}", device="phone"))
        await bob_pushed.event(*e.disconnected(f"p{number}"))
        assert push_jobs.briefly(await push_jobs.jobs(bob_pushed)) == [(WAKE, "phone")]
    assert await e.states(bob_pushed) == {"phone": "PUSHING"}


async def test_a_phone_that_has_answered_by_itself_is_pushed_once_it_is_lost(bob_pushed: Shard) -> None:
    await e.in_order(bob_pushed, said_by("phone", e.ringing("p1")), e.disconnected("p1"))
    assert push_jobs.briefly(await push_jobs.jobs(bob_pushed)) == [(WAKE, "phone")]


async def test_nothing_is_pushed_before_the_grace_is_over(bob_patient: Shard) -> None:
    await bob_patient.event(*e.disconnected("p1"))
    await e.later(bob_patient, 4_999)
    assert await push_jobs.jobs(bob_patient) == []
    assert await e.later(bob_patient, 1) == []
    assert push_jobs.briefly(await push_jobs.jobs(bob_patient)) == [(WAKE, "phone")]


async def test_a_phone_that_is_back_within_its_grace_is_not_pushed(bob_patient: Shard) -> None:
    await e.in_order(bob_patient, e.disconnected("p1"), e.registered("p2", device="phone"))
    assert await e.later(bob_patient, 5_000) == []
    assert await push_jobs.jobs(bob_patient) == []


async def test_a_device_that_is_not_listed_is_out(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("t1", device="tablet"), e.invite(), e.disconnected("t1"))
    assert await e.states(bob_asleep) == {"t1": "GONE", "phone": "PUSHING"}


async def test_a_device_that_sippo_server_does_not_know_any_more_is_out(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    await bob_called.event(*e.registered("p1", device="phone"))
    await push_jobs.becomes(bob_called, job, "pushGone")
    told = await bob_called.event(*e.disconnected("p1"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert await push_jobs.jobs(bob_called) == []


@pytest.mark.parametrize("was_taken", [False, True])
async def test_a_phone_that_rang_before_it_was_lost_gets_a_cancel_push(
    bob_connected: Shard, was_taken: bool
) -> None:
    await bob_connected.event(*e.disconnected("p1"))
    if was_taken:
        await push_jobs.taken(bob_connected)
    else:
        await push_jobs.jobs(bob_connected)
    await bob_connected.event(*e.stop())
    assert push_jobs.briefly(await push_jobs.jobs(bob_connected)) == [(STOP, "phone")]


async def test_a_phone_is_not_pushed_after_the_deadline(bob_patient: Shard) -> None:
    await e.later(bob_patient, e.RING - 4_000)
    await bob_patient.event(*e.disconnected("p1"))
    assert e.outcome(await e.later(bob_patient, 5_000), "inviteRejected") == (408, "timeout")
    assert [job["type"] for job in await push_jobs.jobs(bob_patient)] == []


async def test_a_phone_whose_peer_id_another_user_has_is_pushed(bob_connected: Shard) -> None:
    told = await bob_connected.event(*e.registered("p1", "carol"))
    assert e.types(told) == ["invitationCancel"]
    assert push_jobs.briefly(await push_jobs.jobs(bob_connected)) == [(WAKE, "phone")]


# -- a registration that lapses


async def test_a_registration_that_lapses_while_it_rings_is_pushed_as_well(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("p1", device="phone", expires=10_000), e.invite())
    assert await e.later(bob_asleep, 10_000) == []
    [job] = await push_jobs.jobs(bob_asleep)
    assert (job["type"], job["peer"]) == (WAKE, "p1")
    assert await e.states(bob_asleep) == {"p1": "CALLED"}
    told = await push_jobs.becomes(bob_asleep, job, "pushTaken")
    progress = e.one(told, "inviteProgress").payload
    assert (progress["code"], progress["candidates"], progress["pushed"]) == (110, 1, 1)
    told = await bob_asleep.event(*e.stop())
    assert e.recipients(told, "invitationCancel") == {"p1"}
    assert push_jobs.briefly(await push_jobs.jobs(bob_asleep)) == [(STOP, "phone")]


async def test_the_woken_connection_takes_over(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("p1", device="phone", expires=10_000), e.invite())
    await e.later(bob_asleep, 10_000)
    await push_jobs.taken(bob_asleep)
    told = await bob_asleep.event(*e.registered("p2", device="phone"))
    assert [(each.type, each.peers) for each in told] == [
        ("invitationCancel", ["p1"]),
        ("invitation", ["p2"]),
    ]
    told = await bob_asleep.event(*e.accept("p2"))
    assert of_type(told, "invitationCancel") == []
    assert await push_jobs.jobs(bob_asleep) == []


async def test_a_push_beside_a_connection_that_is_over_is_cancelled(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("p1", device="phone", expires=10_000), e.invite())
    await e.later(bob_asleep, 10_000)
    [job] = await push_jobs.jobs(bob_asleep)
    await bob_asleep.event(*e.stop())
    assert await push_jobs.jobs(bob_asleep) == []
    await push_jobs.becomes(bob_asleep, job, "pushTaken")
    assert push_jobs.briefly(await push_jobs.jobs(bob_asleep)) == [(STOP, "phone")]


# -- a decline for the connection


@pytest.mark.parametrize("code", [480, 503])
@pytest.mark.parametrize("registers", [False, True])
async def test_the_call_waits_for_the_app_that_an_extension_hands_over_to(
    bob_pushed: Shard, code: int, registers: bool
) -> None:
    if registers:
        await bob_pushed.event(*e.registered("extension", device="phone"))
    told = await bob_pushed.event(*said_by("phone", e.decline("extension", errorCode=code)))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (200, "declined")
    assert await e.states(bob_pushed) == {"phone": "PUSHED"}
    assert await push_jobs.jobs(bob_pushed) == []
    told = await bob_pushed.event(*e.registered("app", device="phone"))
    assert e.one(told, "invitation").payload["resumed"] is True
    assert e.end_reasons(await bob_pushed.event(*e.accept("app"))) == {"app": 200}


async def test_what_the_connection_says_late_does_not_ring_it(bob_pushed: Shard) -> None:
    declined = said_by("phone", e.decline("p1", errorCode=480))
    events = [e.registered("p1", device="phone"), said_by("phone", e.ringing("p1")), declined]
    assert e.types(await e.arriving(bob_pushed, events, (2, 0, 1))) == ["answer"]
    assert await e.states(bob_pushed) == {"phone": "PUSHED"}


async def test_other_codes_speak_for_the_device(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*said_by("phone", e.decline("p1", errorCode=488)))
    assert e.outcome(told, "inviteRejected") == (488, "declined")


async def test_a_device_without_push_rings_again_under_a_new_connection_while_others_ring(
    shard: Shard,
) -> None:
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("tablet"), e.invite())
    await shard.event(*e.decline("p1", errorCode=480))
    assert await e.states(shard) == {"p1": "DECLINED", "tablet": "CALLED"}
    assert await shard.event(*e.registered("p1", device="phone", session="s")) == []
    told = await shard.event(*e.registered("p2", device="phone"))
    assert groups.rung(told) == ["p2"]


async def test_the_connection_is_not_listed_what_it_has_declined_and_the_next_one_is(
    bob_pushed: Shard,
) -> None:
    await bob_pushed.event(*said_by("phone", e.decline("p1", errorCode=480)))
    told = await e.in_order(
        bob_pushed, said_by("phone", e.invitations("p1")), said_by("phone", e.invitations("p2"))
    )
    assert [len(each.payload["invitations"]) for each in of_type(told, "answer")] == [0, 1]


# -- a connection that does not say that it rings


@pytest.fixture
async def bob_hurried(make_shard: MakeShard) -> Shard:
    """A shard in which Bob's phone rings over its connection, and is pushed as well after 3 s."""
    shard = await make_shard(Settings(look_up="push", push_after=3_000))
    push_jobs.sleeps(shard, "bob", "phone")
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("tablet"), e.invite())
    return shard


async def test_a_connected_phone_that_does_not_say_that_it_rings_is_pushed_as_well(
    bob_hurried: Shard,
) -> None:
    await e.later(bob_hurried, 2_999)
    assert await push_jobs.jobs(bob_hurried) == []
    assert await e.later(bob_hurried, 1) == []
    assert push_jobs.briefly(await push_jobs.jobs(bob_hurried)) == [(WAKE, "phone")]
    assert await e.states(bob_hurried) == {"p1": "CALLED", "tablet": "CALLED"}


@pytest.mark.parametrize("said", [e.ringing("p1"), e.stop(), e.decline("p1", errorCode=486)])
async def test_a_phone_that_has_said_something_is_not_pushed(bob_hurried: Shard, said: e.Published) -> None:
    await bob_hurried.event(*said)
    await e.later(bob_hurried, 3_000)
    assert await push_jobs.jobs(bob_hurried) == []


async def test_the_push_beside_a_connection_is_wanted_until_it_is_over(bob_hurried: Shard) -> None:
    await e.later(bob_hurried, 3_000)
    entries = await bob_hurried.client.xrange(bob_hurried.keys.push)
    [(entry, fields)] = entries
    push = decode_push_entry(Entry(entry.decode(), fields), max_deliveries=5)
    assert isinstance(push, Push)
    assert (await is_still_wanted(bob_hurried.client, bob_hurried.keys, push))[0] is Verdict.WANTED
    await bob_hurried.event(*e.registered("p2", device="phone"))
    assert (await is_still_wanted(bob_hurried.client, bob_hurried.keys, push))[0] is Verdict.UNWANTED


async def test_a_push_beside_a_connection_is_not_counted_once_the_phone_has_declined(
    bob_hurried: Shard,
) -> None:
    await e.later(bob_hurried, 3_000)
    told = await push_jobs.taken(bob_hurried)
    assert e.one(told, "inviteProgress").payload["pushed"] == 1
    await bob_hurried.event(*e.decline("p1", errorCode=486))
    progress = e.one(await bob_hurried.event(*e.invite()), "inviteProgress").payload
    assert (progress["code"], progress["candidates"], progress["pushed"]) == (100, 1, 0)
