"""accept, and ringing before it: the first candidate wins; the late ones are told so."""

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type


async def test_the_first_wins_and_whoever_accepts_later_gets_410_and_who_it_was(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.arriving(shard, [e.accept("phone"), e.accept("tablet", transaction=9)], [1, 0])

    assert e.one(told, "inviteAccepted").payload["peer"] == "tablet"
    assert e.recipients(told, "invitationCancel") == {"phone"}
    assert len(of_type(told, "INVITE_COMPLETED")) == 1
    won, lost = of_type(told, "answer")
    assert (won.peers, won.payload["code"], won.payload["transaction"]) == (["tablet"], 200, 9)
    assert lost.peers == ["phone"]
    assert lost.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "request": "accept", "code": 410, "reason": "accepted",
        "whoAccepted": "bob",
    }  # fmt: skip


async def test_losers_have_487_in_the_record_and_those_out_before_what_they_said(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet", "desk")
    told = await e.in_order(shard, e.decline("desk", errorCode=486), e.accept("phone"))
    assert e.end_reasons(told) == {"phone": 200, "tablet": 487, "desk": 486}


async def test_a_device_that_is_out_hears_no_cancel(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet", "desk")
    await e.in_order(shard, e.decline("desk", errorCode=486), e.disconnected("tablet"))
    assert "invitationCancel" not in e.types(await shard.event(*e.accept("phone")))


async def test_a_repeat_by_the_winner_is_answered_200_and_has_no_other_effect(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("tablet"), e.invite(), e.accept("phone"))
    told = await shard.event(*e.accept("phone", transaction="again"))

    assert e.types(told) == ["answer"]
    answer = e.one(told, "answer").payload
    assert (answer["code"], answer["reason"], answer["whoAccepted"]) == (200, "accepted", "bob")
    assert answer["transaction"] == "again"


async def test_a_repeat_by_the_winners_device_under_a_new_peer_id_is_answered_200(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("p1", device="phone"), e.invite(), e.accept("p1"), e.disconnected("p1")
    )
    await shard.event(*e.registered("p2", device="phone"))
    assert e.outcome(await shard.event(*e.accept("p2")), "answer") == (200, "accepted")


async def test_a_peer_of_the_callee_that_just_woke_up_may_accept(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.accept("woken"))

    assert e.one(told, "inviteAccepted").payload["peer"] == "woken"
    assert e.recipients(told, "invitationCancel") == {"phone"}
    assert e.end_reasons(told) == {"phone": 487, "woken": 200}


async def test_the_callee_may_be_named_by_to(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert e.outcome(await shard.event(*e.accept("phone", to="bob")), "answer") == (200, "accepted")


async def test_somebody_else_may_not_accept(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.accept("e", "eve", to="bob", transaction="t"))

    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (403, "forbidden")
    assert e.one(told, "answer").peers == ["e"]
    assert await e.states(shard) == {"phone": "CALLED"}


async def test_the_inviter_may_not_accept_its_own_call(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert e.outcome(await shard.event(*e.accept("a", "alice", to="bob")), "answer") == (403, "forbidden")


async def test_somebody_who_uses_the_id_of_a_candidate_may_not_accept(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert e.outcome(await shard.event(*e.accept("phone", "eve", to="bob")), "answer") == (403, "forbidden")


@pytest.mark.one_shard
@pytest.mark.parametrize("event", [e.accept("phone"), e.decline("phone"), e.ringing("phone")])
async def test_an_unknown_invite_is_answered_404_and_leaves_no_trace(
    shard: Shard, event: e.Published
) -> None:
    told = await shard.event(*event)

    assert e.types(told) == ["answer"]
    assert e.one(told, "answer").payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "request": event[0], "code": 404, "reason": "not_found",
    }  # fmt: skip
    streams = {shard.keys.events, shard.keys.notifications, shard.keys.relay, shard.keys.push}
    assert {key.decode() async for key in shard.client.scan_iter()} == streams


async def test_an_accept_just_past_the_deadline_wins_while_the_time_out_has_not_fired(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    shard.now += e.RING + 500
    told = await shard.event(*e.accept("phone"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert await e.later(shard, 0) == []


async def test_an_accept_after_the_time_out_is_answered_410_timeout(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.later(shard, e.RING)
    told = await shard.event(*e.accept("phone"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (410, "timeout")
    assert "whoAccepted" not in e.one(told, "answer").payload


async def test_an_accept_after_a_stop_is_answered_410_cancelled(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.stop())
    assert e.outcome(await shard.event(*e.accept("phone")), "answer") == (410, "cancelled")


async def test_an_accept_that_overtakes_its_invite_is_answered_404(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(), e.accept("phone")], [1, 0])
    assert e.outcome(told, "answer") == (404, "not_found")
    assert e.recipients(told, "invitation") == {"phone"}


async def test_a_device_that_declined_may_still_accept_while_it_is_pending(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.in_order(shard, e.decline("phone", errorCode=486), e.accept("phone"))
    assert e.one(told, "inviteAccepted").payload["peer"] == "phone"
    assert e.end_reasons(told) == {"phone": 200, "tablet": 487}


async def test_a_device_within_its_grace_hears_the_cancel_too(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.in_order(shard, e.disconnected("tablet"), e.accept("phone"))
    assert e.recipients(told, "invitationCancel") == {"tablet"}


async def test_accepting_ends_the_time_out(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.accept("phone"))
    assert await e.later(shard, e.RING) == []
    assert await shard.client.zcard(shard.keys.timers) == 0


async def test_the_invite_says_who_accepted(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.accept("phone"))
    found = await shard.invite(e.REF)
    assert (found["state"], found["code"], found["reason"]) == ("ACCEPTED", "200", "accepted")
    assert (found["whoAccepted"], found["acceptedBy"]) == ("bob", "phone")


async def test_the_first_device_that_rings_makes_the_inviter_hear_180_and_later_ones_do_not(
    shard: Shard,
) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.ringing("phone"))
    assert e.types(told) == ["inviteProgress"]
    assert e.one(told, "inviteProgress").payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "code": 180, "candidates": 2, "ringing": 1, "pushed": 0,
    }  # fmt: skip
    assert await shard.event(*e.ringing("tablet")) == []
    assert e.one(await shard.event(*e.invite()), "inviteProgress").payload["ringing"] == 2


async def test_a_valid_ringing_is_never_answered(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert "answer" not in e.types(await e.in_order(shard, e.ringing("phone"), e.ringing("phone")))


async def test_ringing_makes_a_peer_of_the_callee_a_candidate(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    payload = e.one(await shard.event(*e.ringing("woken")), "inviteProgress").payload
    assert (payload["candidates"], payload["ringing"]) == (2, 1)
    assert e.recipients(await shard.event(*e.stop()), "invitationCancel") == {"phone", "woken"}


async def test_ringing_by_somebody_else_is_answered_403_and_not_told(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.ringing("e", "eve", to="bob"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (403, "forbidden")


async def test_a_device_that_rings_too_late_is_told_to_stop(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("tablet"), e.invite(), e.accept("phone"))
    told = await shard.event(*e.ringing("tablet"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (410, "accepted")
    assert e.one(told, "answer").payload["whoAccepted"] == "bob"


@pytest.mark.parametrize("event", [e.decline("phone", errorCode=486), e.disconnected("phone")])
async def test_ringing_by_a_device_that_is_out_has_no_effect(shard: Shard, event: e.Published) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*event)
    before = await e.states(shard)
    assert await shard.event(*e.ringing("phone")) == []
    assert await e.states(shard) == before
