"""callerGrace: a call whose inviter's device is gone or comes back, or whose inviter leaves the room."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.relayed import hears
from tests.support.shard import MakeShard, Shard, of_type, peer

CALLER_GRACE = 10_000


async def _alice_calls(shard: Shard, **caller: str) -> None:
    await e.in_order(shard, e.registered("a", "alice", **caller), e.registered("phone"), e.invite())


async def test_when_the_callers_device_stays_away_its_calls_end(shard: Shard) -> None:
    await _alice_calls(shard)
    assert await shard.event(*e.disconnected("a", "alice")) == []
    assert await e.later(shard, CALLER_GRACE - 1) == []
    told = await e.later(shard, 1)

    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "invitationCancel", "inviteRejected"]
    assert e.outcome(told, "invitationCancel") == e.outcome(told, "inviteRejected") == (487, "caller_gone")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"]) == ("DECLINED_BY_CREATOR", 487)
    assert e.end_reasons(told) == {"phone": 487}


async def test_signing_off_counts_like_a_lost_connection(shard: Shard) -> None:
    await _alice_calls(shard)
    await shard.event(*e.unregistered("a", "alice"))
    assert e.outcome(await e.later(shard, CALLER_GRACE), "inviteRejected") == (487, "caller_gone")


async def test_a_guest_that_was_never_registered_can_be_lost_too(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.disconnected("a", "alice"))
    assert e.outcome(await e.later(shard, CALLER_GRACE), "inviteRejected") == (487, "caller_gone")


async def test_all_its_calls_end(beside: Shard) -> None:
    await _alice_calls(beside)
    await e.in_order(beside, e.registered("c", "carol"), e.invite(to="carol"), e.invite(invite_id="2"))
    await beside.event(*e.disconnected("a", "alice"))
    told = await e.later(beside, CALLER_GRACE)
    assert len(of_type(told, "INVITE_COMPLETED")) == 3
    assert {found.payload["reason"] for found in of_type(told, "inviteRejected")} == {"caller_gone"}


async def test_calls_of_the_users_other_devices_go_on(shard: Shard) -> None:
    await _alice_calls(shard)
    await e.in_order(shard, e.invite(by=peer("a2", "alice"), invite_id="2"), e.disconnected("a", "alice"))
    told = await e.later(shard, CALLER_GRACE)
    assert e.one(told, "inviteRejected").payload["inviteId"] == "1"


async def test_back_in_time_the_call_goes_on(shard: Shard) -> None:
    await _alice_calls(shard)
    await shard.event(*e.disconnected("a", "alice"))
    await e.later(shard, CALLER_GRACE - 1)
    assert await shard.event(*e.registered("a", "alice")) == []
    assert await e.later(shard, CALLER_GRACE) == []
    assert e.one(await shard.event(*e.accept("phone")), "inviteAccepted").peers == ["a"]


async def test_the_same_device_under_a_new_peer_id_stops_that_and_hears_the_outcome(shard: Shard) -> None:
    await _alice_calls(shard, device="laptop")
    await shard.event(*e.disconnected("a", "alice"))
    await e.later(shard, CALLER_GRACE - 1)
    assert await shard.event(*e.registered("b", "alice", device="laptop")) == []
    assert await e.later(shard, CALLER_GRACE) == []
    assert e.one(await shard.event(*e.accept("phone")), "inviteAccepted").peers == ["b"]


async def test_the_new_peer_id_hears_the_outcome_also_when_nobody_saw_the_old_one_go(shard: Shard) -> None:
    await _alice_calls(shard, device="laptop")
    await shard.event(*e.registered("b", "alice", device="laptop"))
    assert (await shard.invite(e.REF))["caller"] == "b"
    assert await shard.event(*e.disconnected("a", "alice")) == []
    assert await e.later(shard, CALLER_GRACE) == []
    assert e.one(await shard.event(*e.stop(peer("b", "alice"))), "inviteRejected").peers == ["b"]


async def test_the_loss_of_the_new_peer_id_counts(shard: Shard) -> None:
    await _alice_calls(shard, device="laptop")
    await e.in_order(shard, e.registered("b", "alice", device="laptop"), e.disconnected("b", "alice"))
    told = await e.later(shard, CALLER_GRACE)
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")
    assert e.one(told, "inviteRejected").peers == ["b"]


async def test_another_device_of_the_user_does_not_stop_that(shard: Shard) -> None:
    await _alice_calls(shard, device="laptop")
    await e.in_order(shard, e.disconnected("a", "alice"), e.registered("b", "alice", device="phone"))
    assert e.outcome(await e.later(shard, CALLER_GRACE), "inviteRejected") == (487, "caller_gone")


async def test_a_repeat_of_the_invite_from_another_device_stops_that(shard: Shard) -> None:
    await _alice_calls(shard)
    await e.in_order(shard, e.disconnected("a", "alice"), e.invite(by=peer("a2", "alice")))
    assert await e.later(shard, CALLER_GRACE) == []
    assert (await shard.invite(e.REF))["state"] == "PENDING"


async def test_a_guest_that_calls_again_after_it_was_reported_gone_is_there(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.disconnected("a", "alice"), e.invite())
    assert await e.later(shard, CALLER_GRACE) == []
    assert (await shard.invite(e.REF))["state"] == "PENDING"


async def test_a_call_that_was_accepted_meanwhile_is_not_touched(shard: Shard) -> None:
    await _alice_calls(shard)
    await e.in_order(shard, e.disconnected("a", "alice"), e.accept("phone"))
    assert await e.later(shard, CALLER_GRACE) == []
    assert (await shard.invite(e.REF))["state"] == "ACCEPTED"


async def test_a_lapsed_registration_is_a_loss_of_the_caller(shard: Shard) -> None:
    await e.in_order(shard, e.registered("a", "alice", expires=5_000), e.registered("phone"), e.invite())
    assert await e.later(shard, 5_000) == []
    assert await e.later(shard, CALLER_GRACE - 1) == []
    assert e.outcome(await e.later(shard, 1), "inviteRejected") == (487, "caller_gone")


async def test_the_end_of_another_session_of_the_caller_is_ignored(shard: Shard) -> None:
    await _alice_calls(shard, session="s2")
    await shard.event(*e.disconnected("a", "alice", session="s1"))
    assert await e.later(shard, CALLER_GRACE) == []


async def test_when_the_ring_time_is_over_first_it_is_a_time_out(shard: Shard) -> None:
    await _alice_calls(shard)
    await e.later(shard, e.RING - 5_000)
    await shard.event(*e.disconnected("a", "alice"))
    assert e.outcome(await e.later(shard, 5_000), "inviteRejected") == (408, "timeout")
    assert await e.later(shard, 5_000) == []


async def test_when_the_inviter_leaves_the_room_its_calls_into_that_room_end_at_once(beside: Shard) -> None:
    await _alice_calls(beside)
    await e.in_order(beside, e.joined("alice"), e.invite(invite_id="2", room="other"))
    told = await beside.event(*e.left("alice"))

    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "invitationCancel", "inviteRejected"]
    assert e.one(told, "inviteRejected").payload["inviteId"] == "1"
    assert e.outcome(told, "invitationCancel") == e.outcome(told, "inviteRejected") == (487, "caller_gone")
    assert (await beside.invite("alice|2|bob"))["state"] == "PENDING"


async def test_when_somebody_else_leaves_the_room_nothing_ends(shard: Shard) -> None:
    await _alice_calls(shard)
    await e.in_order(shard, e.joined("alice"), e.joined("carol"), e.left("carol"))
    assert (await shard.invite(e.REF))["state"] == "PENDING"


async def test_a_user_whose_id_begins_like_the_inviters_is_somebody_else(shard: Shard) -> None:
    await _alice_calls(shard)
    await e.in_order(shard, e.left("ali"), e.left("alice2"))
    assert (await shard.invite(e.REF))["state"] == "PENDING"


async def test_a_call_into_a_room_that_the_inviter_left_before_rings(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.joined("alice"), e.left("alice"))
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"phone"}


async def test_when_the_inviter_leaves_the_room_all_its_calls_into_it_end(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(per_pair=0, redial="ring"))
    await shard.event(*e.registered("phone"))
    for number in range(60):
        await shard.event(*e.invite(invite_id=str(number)))
    told = await shard.event(*e.left("alice")) + await shard.fire()
    assert len(of_type(told, "INVITE_COMPLETED")) == 60
    assert not await shard.client.exists(shard.keys.room_invites("r"))
    assert not await shard.client.exists(shard.keys.pending("bob"))


async def test_a_call_has_its_whole_grace_after_the_loss_of_an_earlier_one(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.disconnected("a", "alice"))
    await e.later(shard, CALLER_GRACE // 2)
    await e.in_order(shard, e.accept("phone"), e.invite(invite_id="2"), e.disconnected("a", "alice"))
    assert await e.later(shard, CALLER_GRACE - 1) == []
    assert e.outcome(await e.later(shard, 1), "inviteRejected") == (487, "caller_gone")


async def test_a_further_loss_prolongs_no_grace_and_takes_none_from_a_later_call(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.disconnected("a", "alice"))
    for to in ("carol", "dave"):
        await shard.event(*e.registered(f"of-{to}", to))
        await e.later(shard, CALLER_GRACE // 4)
        await e.in_order(shard, e.invite(to=to, invite_id=to), e.disconnected("a", "alice"))
    for ended, wait in (("1", CALLER_GRACE // 2), ("carol", CALLER_GRACE // 4), ("dave", CALLER_GRACE // 4)):
        assert await e.later(shard, wait - 1) == []
        told = await e.later(shard, 1)
        assert e.one(told, "inviteRejected").payload["inviteId"] == ended


async def test_a_device_that_was_back_has_its_whole_grace_again(shard: Shard) -> None:
    await _alice_calls(shard)
    for _ in range(2):
        await shard.event(*e.disconnected("a", "alice"))
        await e.later(shard, CALLER_GRACE - 1)
        await shard.event(*e.registered("a", "alice"))
    await shard.event(*e.disconnected("a", "alice"))
    assert await e.later(shard, CALLER_GRACE - 1) == []
    assert e.outcome(await e.later(shard, 1), "inviteRejected") == (487, "caller_gone")


@pytest.mark.one_shard
async def test_a_page_that_an_older_release_has_begun_is_due(shard: Shard) -> None:
    """It does not say until when a grace may end: see `pages.caller_gone`."""
    await _alice_calls(shard)
    await shard.event(*e.disconnected("a", "alice"))
    shard.now += CALLER_GRACE
    copy = f"{shard.keys.base}todo-of:alice|caller_gone|1-1"
    await shard.client.copy(f"{shard.keys.base}calls:alice", copy)
    told = await hears(shard, "page", "alice", "calls", "caller_gone", "1-1", "a", shard.entry_id())
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")
