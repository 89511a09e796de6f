"""callerGrace: what becomes of a call when the inviter's device is gone, comes back, or its user leaves the room."""

from tests.support.events import (
    REF,
    RING,
    accept,
    disconnected,
    end_reasons,
    in_order,
    invite,
    joined,
    later,
    left,
    one,
    outcome,
    recipients,
    registered,
    stop,
    types,
    unregistered,
)
from tests.support.shard import Shard, of_type, peer

CALLER_GRACE = 10_000


async def _alice_calls(shard: Shard, **caller: str) -> None:
    await in_order(shard, registered("a", "alice", **caller), registered("phone"), invite())


async def test_when_the_callers_device_stays_away_its_calls_end(shard: Shard) -> None:
    await _alice_calls(shard)
    assert await shard.event(*disconnected("a", "alice")) == []
    assert await later(shard, CALLER_GRACE - 1) == []
    told = await later(shard, 1)

    assert types(told) == ["INVITE_COMPLETED", "invitationCancel", "inviteRejected"]
    assert outcome(told, "invitationCancel") == outcome(told, "inviteRejected") == (487, "caller_gone")
    record = one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"]) == ("DECLINED_BY_CREATOR", 487)
    assert end_reasons(told) == {"phone": 487}


async def test_signing_off_counts_like_a_lost_connection(shard: Shard) -> None:
    await _alice_calls(shard)
    await shard.event(*unregistered("a", "alice"))
    assert outcome(await later(shard, CALLER_GRACE), "inviteRejected") == (487, "caller_gone")


async def test_a_guest_that_was_never_registered_can_be_lost_too(shard: Shard) -> None:
    await in_order(shard, registered("phone"), invite(), disconnected("a", "alice"))
    assert outcome(await later(shard, CALLER_GRACE), "inviteRejected") == (487, "caller_gone")


async def test_all_its_calls_end(shard: Shard) -> None:
    await _alice_calls(shard)
    await in_order(shard, registered("c", "carol"), invite(to="carol"), invite(invite_id="2"))
    await shard.event(*disconnected("a", "alice"))
    told = await later(shard, CALLER_GRACE)
    assert len(of_type(told, "INVITE_COMPLETED")) == 3
    assert {found.payload["reason"] for found in of_type(told, "inviteRejected")} == {"caller_gone"}


async def test_calls_of_the_users_other_devices_go_on(shard: Shard) -> None:
    await _alice_calls(shard)
    await in_order(shard, invite(by=peer("a2", "alice"), invite_id="2"), disconnected("a", "alice"))
    told = await later(shard, CALLER_GRACE)
    assert one(told, "inviteRejected").payload["inviteId"] == "1"


async def test_back_in_time_the_call_goes_on(shard: Shard) -> None:
    await _alice_calls(shard)
    await shard.event(*disconnected("a", "alice"))
    await later(shard, CALLER_GRACE - 1)
    assert await shard.event(*registered("a", "alice")) == []
    assert await later(shard, CALLER_GRACE) == []
    assert one(await shard.event(*accept("phone")), "inviteAccepted").peers == ["a"]


async def test_the_same_device_under_a_new_peer_id_stops_that_and_hears_the_outcome(shard: Shard) -> None:
    await _alice_calls(shard, device="laptop")
    await shard.event(*disconnected("a", "alice"))
    await later(shard, CALLER_GRACE - 1)
    assert await shard.event(*registered("b", "alice", device="laptop")) == []
    assert await later(shard, CALLER_GRACE) == []
    assert one(await shard.event(*accept("phone")), "inviteAccepted").peers == ["b"]


async def test_the_new_peer_id_hears_the_outcome_also_when_nobody_saw_the_old_one_go(shard: Shard) -> None:
    await _alice_calls(shard, device="laptop")
    await shard.event(*registered("b", "alice", device="laptop"))
    assert (await shard.invite(REF))["caller"] == "b"
    assert await shard.event(*disconnected("a", "alice")) == []
    assert await later(shard, CALLER_GRACE) == []
    assert one(await shard.event(*stop(peer("b", "alice"))), "inviteRejected").peers == ["b"]


async def test_the_loss_of_the_new_peer_id_counts(shard: Shard) -> None:
    await _alice_calls(shard, device="laptop")
    await in_order(shard, registered("b", "alice", device="laptop"), disconnected("b", "alice"))
    told = await later(shard, CALLER_GRACE)
    assert outcome(told, "inviteRejected") == (487, "caller_gone")
    assert one(told, "inviteRejected").peers == ["b"]


async def test_another_device_of_the_user_does_not_stop_that(shard: Shard) -> None:
    await _alice_calls(shard, device="laptop")
    await in_order(shard, disconnected("a", "alice"), registered("b", "alice", device="phone"))
    assert outcome(await later(shard, CALLER_GRACE), "inviteRejected") == (487, "caller_gone")


async def test_a_repeat_of_the_invite_from_another_device_stops_that(shard: Shard) -> None:
    await _alice_calls(shard)
    await in_order(shard, disconnected("a", "alice"), invite(by=peer("a2", "alice")))
    assert await later(shard, CALLER_GRACE) == []
    assert (await shard.invite(REF))["state"] == "PENDING"


async def test_a_guest_that_calls_again_after_it_was_reported_gone_is_there(shard: Shard) -> None:
    await in_order(shard, registered("phone"), invite(), disconnected("a", "alice"), invite())
    assert await later(shard, CALLER_GRACE) == []
    assert (await shard.invite(REF))["state"] == "PENDING"


async def test_a_call_that_was_accepted_meanwhile_is_not_touched(shard: Shard) -> None:
    await _alice_calls(shard)
    await in_order(shard, disconnected("a", "alice"), accept("phone"))
    assert await later(shard, CALLER_GRACE) == []
    assert (await shard.invite(REF))["state"] == "ACCEPTED"


async def test_a_lapsed_registration_is_a_loss_of_the_caller(shard: Shard) -> None:
    await in_order(shard, registered("a", "alice", expires=5_000), registered("phone"), invite())
    assert await later(shard, 5_000) == []
    assert await later(shard, CALLER_GRACE - 1) == []
    assert outcome(await later(shard, 1), "inviteRejected") == (487, "caller_gone")


async def test_the_end_of_another_session_of_the_caller_is_ignored(shard: Shard) -> None:
    await _alice_calls(shard, session="s2")
    await shard.event(*disconnected("a", "alice", session="s1"))
    assert await later(shard, CALLER_GRACE) == []


async def test_when_the_ring_time_is_over_first_it_is_a_time_out(shard: Shard) -> None:
    await _alice_calls(shard)
    await later(shard, RING - 5_000)
    await shard.event(*disconnected("a", "alice"))
    assert outcome(await later(shard, 5_000), "inviteRejected") == (408, "timeout")
    assert await later(shard, 5_000) == []


async def test_when_the_inviter_leaves_the_room_its_calls_into_that_room_end_at_once(shard: Shard) -> None:
    await _alice_calls(shard)
    await in_order(shard, joined("alice"), invite(invite_id="2", room="other"))
    told = await shard.event(*left("alice"))

    assert types(told) == ["INVITE_COMPLETED", "invitationCancel", "inviteRejected"]
    assert one(told, "inviteRejected").payload["inviteId"] == "1"
    assert outcome(told, "invitationCancel") == outcome(told, "inviteRejected") == (487, "caller_gone")
    assert (await shard.invite("alice|2|bob"))["state"] == "PENDING"


async def test_when_somebody_else_leaves_the_room_nothing_ends(shard: Shard) -> None:
    await _alice_calls(shard)
    await in_order(shard, joined("alice"), joined("carol"), left("carol"))
    assert (await shard.invite(REF))["state"] == "PENDING"


async def test_a_user_whose_id_begins_like_the_inviters_is_somebody_else(shard: Shard) -> None:
    await _alice_calls(shard)
    await in_order(shard, left("ali"), left("alice2"))
    assert (await shard.invite(REF))["state"] == "PENDING"


async def test_a_call_into_a_room_that_the_inviter_left_before_rings(shard: Shard) -> None:
    await in_order(shard, registered("phone"), joined("alice"), left("alice"))
    assert recipients(await shard.event(*invite()), "invitation") == {"phone"}


async def test_when_the_inviter_leaves_the_room_all_its_calls_into_it_end(shard: Shard) -> None:
    await shard.event(*registered("phone"))
    for number in range(60):
        await shard.event(*invite(invite_id=str(number)))
    told = await shard.event(*left("alice"))
    assert len(of_type(told, "INVITE_COMPLETED")) == 60
    assert not await shard.client.exists(shard.keys.room_invites("r"))
    assert not await shard.client.exists(shard.keys.pending("bob"))
