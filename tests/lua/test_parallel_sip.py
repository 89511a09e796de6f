"""parallelSip: the call goes out to the phone network first, and comes back to ring the user's devices."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type, peer

SIP = peer("t", "sip")


def comes_back(by: dict[str, str] = SIP, of: str = e.REF, to: str = "bob", **more: object) -> e.Published:
    return e.invite(by=by, to=to, invite_id="leg", room="sip-room", returnOf=of, **more)


@pytest.fixture
async def parallel(make_shard: MakeShard) -> Shard:
    """A shard with the flag, a trunk, and two devices of Bob."""
    shard = await make_shard(Settings(parallel_sip=True))
    await e.in_order(shard, e.trunk("t"), e.registered("phone"), e.registered("tablet"))
    return shard


async def test_the_call_goes_out_to_the_trunk_alone(parallel: Shard) -> None:
    told = await parallel.event(*e.invite())
    assert e.recipients(told, "invitation") == {"t"}
    assert e.one(told, "invitation").users == ["sip"]
    assert e.one(told, "inviteProgress").payload["candidates"] == 1


async def test_without_a_trunk_that_matches_it_is_as_without_the_flag(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True))
    await e.in_order(shard, e.trunk("t", r"\d+"), e.registered("phone"))
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"phone"}


async def test_without_the_flag_the_devices_ring_at_once(shard: Shard) -> None:
    told = await e.in_order(shard, e.trunk("t"), e.registered("phone"), e.invite())
    assert e.recipients(told, "invitation") == {"phone"}


async def test_a_request_does_not_go_out(parallel: Shard) -> None:
    assert e.recipients(await parallel.event(*e.request()), "invitation") == {"phone", "tablet"}


async def test_the_answer_to_a_request_does_not_go_out(parallel: Shard) -> None:
    await e.in_order(parallel, e.request(), e.accept("phone"))
    told = await parallel.event(*e.invite(by=peer("phone", "bob"), to="alice", invite_id="2", requestId="1"))
    assert e.recipients(told, "invitation") == {"a"}


async def test_until_it_comes_back_registrations_ring_nobody(parallel: Shard) -> None:
    await parallel.event(*e.invite())
    assert await e.in_order(parallel, e.registered("desk"), e.registered("phone", session="new")) == []


async def test_until_it_comes_back_the_callee_is_not_shown_it(parallel: Shard) -> None:
    await parallel.event(*e.invite())
    assert e.one(await parallel.event(*e.invitations("phone")), "answer").payload["invitations"] == []


@pytest.mark.parametrize("event", [e.accept("phone"), e.decline("phone"), e.ringing("phone")])
async def test_until_it_comes_back_the_callee_is_answered_404(parallel: Shard, event: e.Published) -> None:
    await parallel.event(*e.invite())
    told = await parallel.event(*event)
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (404, "not_found")


async def test_when_it_comes_back_the_devices_ring_as_candidates_of_the_first_invite(parallel: Shard) -> None:
    await parallel.event(*e.invite(context={"n": 1}))
    parallel.now += 3_000
    told = await parallel.event(*comes_back(context={"other": 2}, transaction="t-leg"))

    assert e.types(told) == ["invitation", "inviteProgress"]
    invitation = e.one(told, "invitation")
    assert (set(invitation.peers), invitation.users) == ({"phone", "tablet"}, ["bob"])
    payload = invitation.payload
    assert (payload["inviteId"], payload["from"], payload["room"], payload["context"]) == (
        "1",
        "alice",
        "r",
        {"n": 1},
    )
    assert (payload["expiresIn"], payload["resumed"]) == (e.RING - 3_000, False)
    assert await e.states(parallel) == {"t": "CALLED", "phone": "CALLED", "tablet": "CALLED"}


async def test_the_returning_trunk_hears_the_progress_of_the_first_invite(parallel: Shard) -> None:
    await parallel.event(*e.invite())
    progress = e.one(await parallel.event(*comes_back(transaction="t-leg")), "inviteProgress")
    assert (progress.peers, progress.users) == (["t"], ["sip"])
    assert progress.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "code": 100, "candidates": 3, "ringing": 0, "pushed": 0,
        "transaction": "t-leg",
    }  # fmt: skip


async def test_both_inviter_and_returning_trunk_hear_what_follows(parallel: Shard) -> None:
    await e.in_order(parallel, e.invite(), comes_back())
    rings = e.one(await parallel.event(*e.ringing("phone")), "inviteProgress")
    assert (rings.peers, rings.users) == (["a", "t"], ["alice", "sip"])
    accepted = e.one(await parallel.event(*e.accept("phone")), "inviteAccepted")
    assert (accepted.peers, accepted.payload["inviteId"], accepted.payload["room"]) == (
        ["a", "t"],
        "1",
        "r",
    )


async def test_a_devices_accept_cancels_the_trunk_and_the_other_devices(parallel: Shard) -> None:
    await e.in_order(parallel, e.invite(), comes_back())
    told = await parallel.event(*e.accept("phone"))
    cancel = e.one(told, "invitationCancel")
    assert (set(cancel.peers), set(cancel.users)) == ({"t", "tablet"}, {"sip", "bob"})
    assert e.end_reasons(told) == {"phone": 200, "tablet": 487, "t": 487}


async def test_the_returning_leg_has_no_record_of_its_own(parallel: Shard) -> None:
    told = await e.in_order(parallel, e.invite(), comes_back(), e.accept("phone"))
    assert [found.payload["inviteId"] for found in of_type(told, "INVITE_COMPLETED")] == ["1"]
    assert await parallel.invite("sip|leg|bob") == {}


@pytest.mark.parametrize("back", [False, True], ids=["out", "back"])
async def test_the_phone_side_may_accept(parallel: Shard, back: bool) -> None:
    await parallel.event(*e.invite())
    if back:
        await parallel.event(*comes_back())
    told = await parallel.event(*e.accept("t", "sip", to="bob"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"
    assert ("invitationCancel" in e.types(told)) == back


async def test_the_phone_side_may_decline(parallel: Shard) -> None:
    await parallel.event(*e.invite())
    told = await parallel.event(*e.decline("t", "sip", to="bob", errorCode=486))
    assert e.outcome(told, "inviteRejected") == (486, "busy")


async def test_the_phone_side_may_let_it_time_out(parallel: Shard) -> None:
    await parallel.event(*e.invite())
    told = await e.later(parallel, e.RING)
    assert e.recipients(told, "invitationCancel") == {"t"}
    assert e.outcome(told, "inviteRejected") == (408, "timeout")


async def test_once_it_is_back_a_device_that_registers_is_rung(parallel: Shard) -> None:
    await e.in_order(parallel, e.invite(), comes_back())
    assert e.recipients(await parallel.event(*e.registered("desk")), "invitation") == {"desk"}


async def test_once_it_is_back_the_callee_is_shown_it(parallel: Shard) -> None:
    await e.in_order(parallel, e.invite(), comes_back())
    [item] = e.one(await parallel.event(*e.invitations("phone")), "answer").payload["invitations"]
    assert item["inviteId"] == "1"


async def test_a_repeat_of_the_return_rings_nobody_twice_and_is_told_the_progress(parallel: Shard) -> None:
    await e.in_order(parallel, e.invite(), comes_back(), e.ringing("phone"))
    told = await parallel.event(*comes_back())
    assert e.types(told) == ["inviteProgress"]
    assert (e.one(told, "inviteProgress").peers, e.one(told, "inviteProgress").payload["code"]) == (
        ["t"],
        180,
    )


async def test_too_late_it_is_rejected_with_410_and_rings_nobody(parallel: Shard) -> None:
    await e.in_order(parallel, e.invite(), e.stop())
    told = await parallel.event(*comes_back())
    assert e.types(told) == ["inviteRejected"]
    rejected = e.one(told, "inviteRejected")
    assert rejected.peers == ["t"]
    assert rejected.payload == {
        "inviteId": "leg", "from": "sip", "to": "bob", "code": 410, "reason": "cancelled",
    }  # fmt: skip


async def test_a_return_of_an_unknown_invite_is_rejected_with_410(parallel: Shard) -> None:
    told = await parallel.event(*comes_back(of="alice|never|bob"))
    assert e.outcome(told, "inviteRejected") == (410, "not_found")


async def test_a_return_of_an_invite_that_never_went_out_is_forbidden(shard: Shard) -> None:
    told = await e.in_order(shard, e.registered("phone"), e.invite(), comes_back())
    assert e.outcome(told, "inviteRejected") == (403, "forbidden")


@pytest.mark.parametrize("back", [False, True], ids=["out", "back"])
@pytest.mark.parametrize(
    "by",
    [peer("m", "mallory"), peer("t", "mallory"), peer("other", "sip"), peer("phone", "bob")],
    ids=["stranger", "same-peer-id", "another-trunk", "callee"],
)
async def test_only_the_trunk_that_has_the_phone_leg_may_return_it(
    parallel: Shard, by: dict[str, str], back: bool
) -> None:
    await e.in_order(parallel, e.trunk("other", r"\d+"), e.invite(), *[comes_back()] * back)
    before = await parallel.invite(e.REF)
    told = await parallel.event(*comes_back(by))
    assert e.types(told) == ["inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (403, "forbidden")
    assert e.one(told, "inviteRejected").peers == [by["id"]]
    assert await parallel.invite(e.REF) == before


async def test_a_return_to_another_callee_is_forbidden(parallel: Shard) -> None:
    await parallel.event(*e.invite())
    told = await parallel.event(*comes_back(to="carol"))
    assert e.types(told) == ["inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (403, "forbidden")


async def test_the_trunk_may_return_the_leg_under_a_new_peer_id(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True))
    await e.in_order(shard, e.registered("phone"), e.trunk("t", device="gw"), e.invite())
    told = await e.in_order(shard, e.trunk("t-2", device="gw"), comes_back(peer("t-2", "sip")))
    assert "phone" in {each for one in of_type(told, "invitation") for each in one.peers}


async def test_the_inviters_own_device_does_not_ring_when_it_comes_back(parallel: Shard) -> None:
    await e.in_order(parallel, e.registered("a", "alice"), e.invite(by=e.ALICE), comes_back())
    assert set(await e.states(parallel)) == {"t", "phone", "tablet"}


@pytest.mark.parametrize("by", [e.ALICE, None], ids=["inviter", "service"])
async def test_a_call_that_is_still_out_can_be_stopped(parallel: Shard, by: dict[str, str] | None) -> None:
    await parallel.event(*e.invite())
    told = await parallel.event(*e.stop(by))
    assert e.recipients(told, "invitationCancel") == {"t"}
    assert e.outcome(told, "inviteRejected") == (487, "cancelled")


async def test_a_call_that_is_still_out_leaves_nothing_behind(parallel: Shard) -> None:
    await e.in_order(parallel, e.invite(), e.stop())
    assert not await parallel.client.exists(parallel.keys.parallel("bob"))
    assert not await parallel.client.exists(parallel.keys.pending("bob"))
    assert await parallel.client.zcard(parallel.keys.timers) == 0
