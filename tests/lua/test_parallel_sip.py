"""parallelSip: the call goes out to the phone network first, and comes back to ring the user's devices."""

import pytest

from invites.store.commit import Settings
from tests.conftest import MakeShard
from tests.support.events import (
    ALICE,
    REF,
    RING,
    Published,
    accept,
    decline,
    disconnected,
    end_reasons,
    in_order,
    invitations,
    invite,
    later,
    one,
    outcome,
    recipients,
    registered,
    request,
    ringing,
    states,
    stop,
    trunk,
    types,
)
from tests.support.shard import Shard, of_type, peer

SIP = peer("t", "sip")


def comes_back(by: dict[str, str] = SIP, of: str = REF, **more: object) -> Published:
    return invite(by=by, to="bob", invite_id="leg", room="sip-room", returnOf=of, **more)


@pytest.fixture
async def parallel(make_shard: MakeShard) -> Shard:
    """A shard with the flag, a trunk, and two devices of Bob."""
    shard = await make_shard(Settings(parallel_sip=True))
    await in_order(shard, trunk("t"), registered("phone"), registered("tablet"))
    return shard


async def test_the_call_goes_out_to_the_trunk_alone(parallel: Shard) -> None:
    told = await parallel.event(*invite())
    assert recipients(told, "invitation") == {"t"}
    assert one(told, "invitation").users == ["sip"]
    assert one(told, "inviteProgress").payload["candidates"] == 1


async def test_without_a_trunk_that_matches_it_is_as_without_the_flag(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True))
    await in_order(shard, trunk("t", r"\d+"), registered("phone"))
    assert recipients(await shard.event(*invite()), "invitation") == {"phone"}


async def test_without_the_flag_the_devices_ring_at_once(shard: Shard) -> None:
    told = await in_order(shard, trunk("t"), registered("phone"), invite())
    assert recipients(told, "invitation") == {"phone"}


async def test_a_request_does_not_go_out(parallel: Shard) -> None:
    assert recipients(await parallel.event(*request()), "invitation") == {"phone", "tablet"}


async def test_the_answer_to_a_request_does_not_go_out(parallel: Shard) -> None:
    await in_order(parallel, request(), accept("phone"))
    told = await parallel.event(*invite(by=peer("phone", "bob"), to="alice", invite_id="2", requestId="1"))
    assert recipients(told, "invitation") == {"a"}


async def test_until_it_comes_back_registrations_ring_nobody(parallel: Shard) -> None:
    await parallel.event(*invite())
    assert await in_order(parallel, registered("desk"), registered("phone", session="new")) == []


async def test_until_it_comes_back_the_callee_is_not_shown_it(parallel: Shard) -> None:
    await parallel.event(*invite())
    assert one(await parallel.event(*invitations("phone")), "answer").payload["invitations"] == []


@pytest.mark.parametrize("event", [accept("phone"), decline("phone"), ringing("phone")])
async def test_until_it_comes_back_the_callee_is_answered_404(parallel: Shard, event: Published) -> None:
    await parallel.event(*invite())
    told = await parallel.event(*event)
    assert types(told) == ["answer"]
    assert outcome(told, "answer") == (404, "not_found")


async def test_when_it_comes_back_the_devices_ring_as_candidates_of_the_first_invite(parallel: Shard) -> None:
    await parallel.event(*invite(context={"n": 1}))
    parallel.now += 3_000
    told = await parallel.event(*comes_back(context={"other": 2}, transaction="t-leg"))

    assert types(told) == ["invitation", "inviteProgress"]
    invitation = one(told, "invitation")
    assert (set(invitation.peers), invitation.users) == ({"phone", "tablet"}, ["bob"])
    payload = invitation.payload
    assert (payload["inviteId"], payload["from"], payload["room"], payload["context"]) == (
        "1",
        "alice",
        "r",
        {"n": 1},
    )
    assert (payload["expiresIn"], payload["resumed"]) == (RING - 3_000, False)
    assert await states(parallel) == {"t": "CALLED", "phone": "CALLED", "tablet": "CALLED"}


async def test_the_returning_trunk_hears_the_progress_of_the_first_invite(parallel: Shard) -> None:
    await parallel.event(*invite())
    progress = one(await parallel.event(*comes_back(transaction="t-leg")), "inviteProgress")
    assert (progress.peers, progress.users) == (["t"], ["sip"])
    assert progress.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "code": 100, "candidates": 3, "ringing": 0, "pushed": 0,
        "transaction": "t-leg",
    }  # fmt: skip


async def test_both_inviter_and_returning_trunk_hear_what_follows(parallel: Shard) -> None:
    await in_order(
        parallel, trunk("back", r"\d+", user="sip-in"), invite(), comes_back(peer("back", "sip-in"))
    )
    rings = one(await parallel.event(*ringing("phone")), "inviteProgress")
    assert (rings.peers, rings.users) == (["a", "back"], ["alice", "sip-in"])
    accepted = one(await parallel.event(*accept("phone")), "inviteAccepted")
    assert (accepted.peers, accepted.payload["inviteId"], accepted.payload["room"]) == (
        ["a", "back"],
        "1",
        "r",
    )


async def test_a_devices_accept_cancels_the_trunk_and_the_other_devices(parallel: Shard) -> None:
    await in_order(parallel, invite(), comes_back())
    told = await parallel.event(*accept("phone"))
    cancel = one(told, "invitationCancel")
    assert (set(cancel.peers), set(cancel.users)) == ({"t", "tablet"}, {"sip", "bob"})
    assert end_reasons(told) == {"phone": 200, "tablet": 487, "t": 487}


async def test_the_returning_leg_has_no_record_of_its_own(parallel: Shard) -> None:
    told = await in_order(parallel, invite(), comes_back(), accept("phone"))
    assert [found.payload["inviteId"] for found in of_type(told, "INVITE_COMPLETED")] == ["1"]
    assert await parallel.invite("sip|leg|bob") == {}


@pytest.mark.parametrize("back", [False, True], ids=["out", "back"])
async def test_the_phone_side_may_accept(parallel: Shard, back: bool) -> None:
    await parallel.event(*invite())
    if back:
        await parallel.event(*comes_back())
    told = await parallel.event(*accept("t", "sip", to="bob"))
    assert outcome(told, "answer") == (200, "accepted")
    assert one(told, "inviteAccepted").payload["whoAccepted"] == "bob"
    assert ("invitationCancel" in types(told)) == back


async def test_the_phone_side_may_decline(parallel: Shard) -> None:
    await parallel.event(*invite())
    told = await parallel.event(*decline("t", "sip", to="bob", errorCode=486))
    assert outcome(told, "inviteRejected") == (486, "busy")


async def test_the_phone_side_may_let_it_time_out(parallel: Shard) -> None:
    await parallel.event(*invite())
    told = await later(parallel, RING)
    assert recipients(told, "invitationCancel") == {"t"}
    assert outcome(told, "inviteRejected") == (408, "timeout")


async def test_once_it_is_back_a_device_that_registers_is_rung(parallel: Shard) -> None:
    await in_order(parallel, invite(), comes_back())
    assert recipients(await parallel.event(*registered("desk")), "invitation") == {"desk"}


async def test_once_it_is_back_the_callee_is_shown_it(parallel: Shard) -> None:
    await in_order(parallel, invite(), comes_back())
    [item] = one(await parallel.event(*invitations("phone")), "answer").payload["invitations"]
    assert item["inviteId"] == "1"


async def test_a_repeat_of_the_return_rings_nobody_twice_and_is_told_the_progress(parallel: Shard) -> None:
    await in_order(parallel, invite(), comes_back(), ringing("phone"))
    told = await parallel.event(*comes_back())
    assert types(told) == ["inviteProgress"]
    assert (one(told, "inviteProgress").peers, one(told, "inviteProgress").payload["code"]) == (["t"], 180)


async def test_too_late_it_is_rejected_with_410_and_rings_nobody(parallel: Shard) -> None:
    await in_order(parallel, invite(), stop())
    told = await parallel.event(*comes_back())
    assert types(told) == ["inviteRejected"]
    rejected = one(told, "inviteRejected")
    assert rejected.peers == ["t"]
    assert rejected.payload == {
        "inviteId": "leg", "from": "sip", "to": "bob", "code": 410, "reason": "cancelled",
    }  # fmt: skip


async def test_a_return_of_an_unknown_invite_is_rejected_with_410(parallel: Shard) -> None:
    told = await parallel.event(*comes_back(of="alice|never|bob"))
    assert outcome(told, "inviteRejected") == (410, "not_found")


async def test_a_return_of_an_invite_that_never_went_out_is_forbidden(shard: Shard) -> None:
    told = await in_order(shard, registered("phone"), invite(), comes_back())
    assert outcome(told, "inviteRejected") == (403, "forbidden")


async def test_the_inviters_own_device_does_not_ring_when_it_comes_back(parallel: Shard) -> None:
    await in_order(parallel, registered("a", "alice"), invite(by=ALICE), comes_back())
    assert set(await states(parallel)) == {"t", "phone", "tablet"}


async def test_a_lost_trunk_ends_a_call_that_is_still_out(parallel: Shard) -> None:
    await parallel.event(*invite())
    told = await parallel.event(*disconnected("t", "sip"))
    assert outcome(told, "inviteRejected") == (480, "unreachable")


@pytest.mark.parametrize("by", [ALICE, None], ids=["inviter", "service"])
async def test_a_call_that_is_still_out_can_be_stopped(parallel: Shard, by: dict[str, str] | None) -> None:
    await parallel.event(*invite())
    told = await parallel.event(*stop(by))
    assert recipients(told, "invitationCancel") == {"t"}
    assert outcome(told, "inviteRejected") == (487, "cancelled")


async def test_a_call_that_is_still_out_leaves_nothing_behind(parallel: Shard) -> None:
    await in_order(parallel, invite(), stop())
    assert not await parallel.client.exists(parallel.keys.parallel("bob"))
    assert not await parallel.client.exists(parallel.keys.pending("bob"))
    assert await parallel.client.zcard(parallel.keys.timers) == 0
