"""silence: a device stops by itself; it may still accept, and nobody else is told."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard, of_type, peer


@pytest.fixture
async def ringing(make_shard: MakeShard) -> Shard:
    """Bob's phone and tablet ring; a lost device may come back."""
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.ringing("phone"))
    return shard


async def test_only_the_device_hears_of_it(ringing: Shard) -> None:
    told = await ringing.event(*e.silence("phone", transaction="t"))
    assert e.types(told) == ["answer"]
    answer = e.one(told, "answer")
    assert (answer.peers, answer.payload["request"], answer.payload["transaction"]) == (
        ["phone"],
        "silence",
        "t",
    )
    assert e.outcome(told, "answer") == (200, "silenced")


async def test_twice_is_answered_twice(ringing: Shard) -> None:
    told = await e.in_order(ringing, e.silence("phone"), e.silence("phone"))
    assert [one.payload["code"] for one in of_type(told, "answer")] == [200, 200]


async def test_the_inviter_cannot_tell(ringing: Shard) -> None:
    before = e.one(await ringing.event(*e.invite()), "inviteProgress").payload
    await e.in_order(ringing, e.silence("phone"), e.silence("tablet"))
    assert e.one(await ringing.event(*e.invite()), "inviteProgress").payload == before
    told = await e.later(ringing, e.RING)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert e.end_reasons(told) == {"phone": 408, "tablet": 408}


async def test_the_device_may_still_accept_and_ring(ringing: Shard) -> None:
    await e.in_order(ringing, e.silence("phone"), e.silence("tablet"), e.ringing("tablet"))
    assert await e.states(ringing) == {"phone": "RINGING", "tablet": "RINGING"}
    told = await ringing.event(*e.accept("phone"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert e.recipients(told, "invitationCancel") == {"tablet"}


async def test_it_may_still_decline(ringing: Shard) -> None:
    told = await e.in_order(ringing, e.silence("phone"), e.decline("phone"))
    assert e.outcome(told, "inviteRejected") == (603, "declined")
    assert e.recipients(told, "invitationCancel") == {"tablet"}


async def test_its_cancel_removes_what_it_still_shows(ringing: Shard) -> None:
    await ringing.event(*e.silence("phone"))
    assert e.recipients(await ringing.event(*e.accept("tablet")), "invitationCancel") == {"phone"}


async def test_news_of_the_inviter_reach_the_others(ringing: Shard) -> None:
    await ringing.event(*e.silence("phone"))
    assert e.recipients(await ringing.event(*e.invite(context="new")), "invitation") == {"tablet"}
    await ringing.event(*e.silence("tablet"))
    assert "invitation" not in e.types(await ringing.event(*e.invite(context="newer")))


@pytest.mark.parametrize("more", [{}, {"session": "new"}])
async def test_it_is_not_rung_when_it_comes_back(ringing: Shard, more: dict[str, str]) -> None:
    told = await e.in_order(
        ringing, e.silence("phone"), e.disconnected("phone"), e.registered("phone", **more)
    )
    assert "invitation" not in e.types(told)
    assert (await e.states(ringing))["phone"] == "CALLED"
    assert e.outcome(await ringing.event(*e.accept("phone")), "answer") == (200, "accepted")


async def test_the_device_is_silent_under_another_peer_id(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.registered("p1", device="phone"), e.invite(), e.silence("p1"))
    told = await e.in_order(shard, e.registered("p2", device="phone"), e.invite(context="new"))
    assert e.types(told) == ["invitationCancel", "inviteProgress"]
    assert e.recipients(told, "invitationCancel") == {"p1"}


@pytest.mark.parametrize("event", [e.said_by("phone", e.ringing("p1")), e.registered("p1", device="phone")])
async def test_two_candidates_that_turn_out_to_be_one_device_are_silent(
    shard: Shard, event: e.Published
) -> None:
    """The device has silenced as a guest, and its connection did not say which device it is."""
    await e.in_order(shard, e.registered("p1"), e.invite(), e.said_by("phone", e.silence("guest")), event)
    assert await e.states(shard) == {"p1": "RINGING" if event[0] == "ringing" else "CALLED"}
    assert "invitation" not in e.types(await shard.event(*e.invite(context="new")))


async def test_a_lost_device_counts_as_lost(ringing: Shard) -> None:
    await e.in_order(ringing, e.silence("phone"), e.decline("tablet", errorCode=486), e.disconnected("phone"))
    told = await e.later(ringing, e.GRACE.remove_after)
    assert e.outcome(told, "inviteRejected") == (486, "busy")
    assert e.end_reasons(told) == {"phone": 480, "tablet": 486}


async def test_the_question_what_rings_leaves_it_out_for_that_device(ringing: Shard) -> None:
    await ringing.event(*e.silence("phone"))
    for device, shown in (("phone", 0), ("tablet", 1)):
        told = await ringing.event(*e.invitations(device))
        assert len(e.one(told, "answer").payload["invitations"]) == shown


async def test_who_may_not(ringing: Shard) -> None:
    assert e.outcome(await ringing.event(*e.silence("a", "alice", to="bob")), "answer") == (403, "forbidden")
    assert e.outcome(await ringing.event(*e.silence("c", "carol", to="bob")), "answer") == (403, "forbidden")
    told = await ringing.event(*e.silence("phone", invite_id="2"))
    assert e.outcome(told, "answer") == (404, "not_found")
    await ringing.event(*e.stop())
    assert e.outcome(await ringing.event(*e.silence("phone")), "answer") == (410, "cancelled")


@pytest.mark.one_shard
async def test_a_woken_phone_is_silent_once_it_registers(bob_pushed: Shard) -> None:
    told = await e.in_order(
        bob_pushed,
        e.said_by("phone", e.silence("p1")),
        e.registered("p1", device="phone"),
        e.invite(context="new"),
    )
    assert "invitation" not in e.types(told)
    told = await bob_pushed.event(*e.stop())
    assert e.recipients(told, "invitationCancel") == {"p1"}


async def test_a_push_that_was_not_sent_is_not_sent(bob_called: Shard) -> None:
    """The phone has its invitation by other means."""
    await bob_called.event(*e.said_by("phone", e.silence("p1")))
    assert await e.states(bob_called) == {"p1": "CALLED"}


async def test_a_member_of_a_group(called: Shard) -> None:
    told = await called.event(*e.silence("bob-phone", to="team"))
    assert e.outcome(told, "answer") == (200, "silenced")
    assert e.one(told, "answer").payload["to"] == "bob"
    told = await called.event(*e.invite(to="team", context="new"))
    assert groups.rung(told) == ["bob-desk", "carol-phone"]
    told = await called.event(*e.accept("carol-phone", "carol", to="team"))
    assert groups.stopped(told) == ["bob-desk", "bob-phone"]


async def test_a_gateway(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("gw"), e.invite(to="110"))
    told = await shard.event(*e.silence("gw", "sip", to="110"))
    assert e.outcome(told, "answer") == (200, "silenced")
    await e.in_order(shard, e.invite(peer("c", "carol"), to="110"))
    told = await shard.event(*e.invitations("gw", "sip"))
    assert [one["from"] for one in e.one(told, "answer").payload["invitations"]] == ["carol"]


async def test_a_user_that_is_busy_hears_so_on_the_silenced_device(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.invite(by=peer("c", "carol")), e.silence("tablet", from_="carol"))
    told = await shard.event(*e.accept("phone"))
    assert {one.payload["reason"] for one in of_type(told, "invitationCancel")} == {
        "busy_elsewhere",
        "accepted_elsewhere",
    }
