"""Devices that are away when a call begins, or when it ends."""

import pytest

from invites.lookup.result import LookupResult
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.shard import MakeShard, Shard, of_type, peer

STOP = "invitationCancel"


@pytest.fixture
async def patient(make_shard: MakeShard) -> Shard:
    """A shard in which lost devices may come back within 5 s."""
    return await make_shard(e.GRACE)


async def test_a_device_within_its_grace_is_a_candidate_of_a_new_invite(patient: Shard) -> None:
    await e.in_order(patient, e.registered("p1", device="phone"), e.disconnected("p1"))
    patient.now += 1_000
    told = await patient.event(*e.invite())
    assert e.types(told) == ["inviteProgress"]
    assert e.one(told, "inviteProgress").payload["candidates"] == 1
    assert await e.states(patient) == {"p1": "AWAY"}
    told = await patient.event(*e.registered("p2", device="phone"))
    assert groups.rung(told) == ["p2"]
    assert e.one(told, "invitation").payload["resumed"] is False
    assert await e.later(patient, 5_000) == []
    assert e.end_reasons(await patient.event(*e.accept("p2"))) == {"p2": 200}


async def test_when_its_time_is_over_and_nothing_else_is_left_the_invite_ends(patient: Shard) -> None:
    await e.in_order(patient, e.registered("p1"), e.disconnected("p1"))
    await e.later(patient, 1_000)
    await patient.event(*e.invite())
    assert await e.later(patient, 3_999) == []
    told = await e.later(patient, 1)
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert e.end_reasons(told) == {"p1": 480}


async def test_after_its_grace_it_is_none(patient: Shard) -> None:
    await e.in_order(patient, e.registered("p1"), e.disconnected("p1"))
    await e.later(patient, 5_000)
    assert e.outcome(await patient.event(*e.invite()), "inviteRejected") == (480, "unreachable")


async def test_a_device_whose_grace_is_over_is_none_while_another_is_within_its_own(patient: Shard) -> None:
    await e.in_order(patient, e.registered("p1"), e.registered("p2"), e.disconnected("p1"))
    await e.later(patient, 3_000)
    await patient.event(*e.disconnected("p2"))
    await e.later(patient, 2_000)
    await patient.event(*e.invite())
    assert await e.states(patient) == {"p2": "AWAY"}


async def test_a_device_that_is_away_is_one_candidate_whatever_its_peer_ids(patient: Shard) -> None:
    await e.in_order(patient, e.registered("p1", device="phone"), e.disconnected("p1"))
    await e.in_order(patient, e.registered("p2", device="phone"), e.disconnected("p2"))
    await e.in_order(patient, e.registered("tablet"), e.invite())
    assert sorted((await e.states(patient)).values()) == ["AWAY", "CALLED"]


async def test_a_device_that_is_back_under_another_peer_id_is_not_away(patient: Shard) -> None:
    await e.in_order(patient, e.registered("p1", device="phone"), e.disconnected("p1"))
    await e.in_order(patient, e.registered("p2", device="phone"), e.invite())
    assert await e.states(patient) == {"p2": "CALLED"}


async def test_a_device_that_never_heard_of_the_call_hears_no_cancel(patient: Shard) -> None:
    await e.in_order(patient, e.registered("p1"), e.disconnected("p1"))
    assert STOP not in e.types(await e.in_order(patient, e.invite(), e.stop()))
    assert await patient.event(*e.registered("p1")) == []


async def test_a_registration_that_has_lapsed_is_no_candidate(patient: Shard) -> None:
    await patient.event(*e.registered("p1", expires=10_000))
    await e.later(patient, 10_000)
    assert e.outcome(await patient.event(*e.invite()), "inviteRejected") == (480, "unreachable")


async def test_a_device_of_the_inviter_is_no_candidate_of_a_call_to_itself(patient: Shard) -> None:
    await e.in_order(patient, e.registered("b", "alice"), e.disconnected("b", "alice"))
    assert e.outcome(await patient.event(*e.invite(to="alice")), "inviteRejected") == (480, "unreachable")


async def test_members_that_are_away_ring_when_they_are_back(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="groups", remove_after=5_000))
    groups.team(shard, "bob", "carol")
    await e.in_order(shard, e.registered("b"), e.registered("c", "carol"), e.disconnected("c", "carol"))
    assert groups.rung(await shard.event(*e.invite(to="team"))) == ["b"]
    assert groups.rung(await shard.event(*e.registered("c", "carol"))) == ["c"]


@pytest.mark.one_shard
async def test_a_device_that_is_away_and_listed_for_push_is_pushed_at_once(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="push", remove_after=5_000))
    shard.found["bob"] = LookupResult(known=True, push=("phone",))
    await e.in_order(shard, e.registered("p1", device="phone"), e.disconnected("p1"), e.invite())
    assert push_jobs.briefly(await push_jobs.jobs(shard)) == [("invitation", "phone")]
    assert await e.states(shard) == {"phone": "PUSHING"}
    assert await e.later(shard, 5_000) == []


@pytest.mark.one_shard
async def test_a_pushed_phone_that_registers_after_the_end_hears_its_cancel_once(bob_pushed: Shard) -> None:
    await bob_pushed.event(*e.stop())
    told = await bob_pushed.event(*e.registered("p1", device="phone"))
    assert e.outcome(told, STOP) == (487, "cancelled")
    assert e.recipients(told, STOP) == {"p1"}
    assert await bob_pushed.event(*e.registered("p2", device="phone")) == []


@pytest.mark.one_shard
async def test_a_phone_that_sippo_server_does_not_know_hears_no_cancel(bob_called: Shard) -> None:
    [job] = await push_jobs.jobs(bob_called)
    await push_jobs.becomes(bob_called, job, "pushGone")
    assert of_type(await bob_called.event(*e.registered("p1", device="phone")), STOP) == []


# -- the caller


async def test_a_caller_that_was_away_when_its_call_ended_hears_the_outcome_once(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("a", "alice"), e.registered("p"), e.invite(), e.disconnected("a", "alice")
    )
    assert "inviteAccepted" in e.types(await shard.event(*e.accept("p")))
    told = await shard.event(*e.registered("a", "alice"))
    assert e.types(told) == ["inviteAccepted"]
    assert (e.one(told, "inviteAccepted").peers, told[0].payload["peer"]) == (["a"], "p")
    assert (
        await e.in_order(shard, e.disconnected("a", "alice"), e.registered("a", "alice", session="s")) == []
    )


async def test_it_hears_it_under_another_peer_id_of_its_device(shard: Shard) -> None:
    await e.in_order(shard, e.registered("a", "alice", device="laptop"), e.registered("p"), e.invite())
    await e.in_order(shard, e.disconnected("a", "alice"), e.decline("p"))
    told = await shard.event(*e.registered("a2", "alice", device="laptop"))
    assert e.outcome(told, "inviteRejected") == (603, "declined")
    assert told[0].peers == ["a2"]


async def test_it_hears_that_it_was_gone_for_too_long(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("a", "alice"), e.registered("p"), e.invite(), e.disconnected("a", "alice")
    )
    await e.later(shard, 10_000)
    assert e.outcome(await shard.event(*e.registered("a", "alice")), "inviteRejected") == (487, "caller_gone")


async def test_a_guest_hears_it_when_its_device_speaks(shard: Shard) -> None:
    guest = peer("g1", "alice", "laptop")
    await e.in_order(shard, e.registered("p"), e.invite(guest), e.disconnected("g1", "alice"), e.decline("p"))
    told = await shard.event(*e.said_by("laptop", e.invitations("g2", "alice")))
    assert e.outcome(told, "inviteRejected") == (603, "declined")
    assert e.one(told, "inviteRejected").peers == ["g2"]


async def test_who_was_back_before_the_end_hears_it_once(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("a", "alice"), e.registered("p"), e.invite(), e.disconnected("a", "alice")
    )
    await e.in_order(shard, e.registered("a", "alice"), e.decline("p"), e.disconnected("a", "alice"))
    assert await shard.event(*e.registered("a", "alice")) == []


async def test_another_device_of_the_caller_does_not_hear_it(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("a", "alice"), e.registered("p"), e.invite(), e.disconnected("a", "alice")
    )
    await shard.event(*e.decline("p"))
    assert await shard.event(*e.registered("b", "alice")) == []


@pytest.mark.one_shard
async def test_a_caller_hears_nothing_of_a_call_that_is_forgotten(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("a", "alice"), e.registered("p"), e.invite(), e.disconnected("a", "alice")
    )
    await shard.event(*e.decline("p"))
    await e.later(shard, 300_000)
    assert await shard.event(*e.registered("a", "alice")) == []


async def test_each_of_many_calls_is_told(beside: Shard) -> None:
    shard = beside
    await e.in_order(shard, e.registered("a", "alice"), e.registered("p"))
    for number in range(5):
        await e.in_order(
            shard, e.invite(invite_id=f"{number}"), e.invite(to="bob", invite_id=f"x{number}", room="q")
        )
    await shard.event(*e.disconnected("a", "alice"))
    await shard.fire()
    await shard.event(*e.disconnected("p"))
    await shard.fire()
    told = await shard.event(*e.registered("a", "alice")) + await shard.fire()
    assert len(of_type(told, "inviteRejected")) == 10
