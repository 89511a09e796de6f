"""Who is in a call: busy and free, and what a new invite does then."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Notification, Shard, of_type, peer

PHONE = peer("phone", "bob")
CAROL = peer("c", "carol")
DAY = 86_400_000
REJECT = Settings(when_busy="reject")
WAITING = Settings(when_busy="waiting")


def said(told: list[Notification]) -> list[tuple[str, str, str]]:
    """Kind, user and room of the notifications to services about who is in a call."""
    return [
        (each.type, each.payload["userId"], each.payload["room"])
        for each in told
        if each.type in {"userBusy", "userFree"} and not each.peers and not each.users
    ]


@pytest.fixture
async def talking(make_shard: MakeShard) -> Shard:
    """Bob has accepted Alice's call; a user who is in a call is not rung."""
    shard = await make_shard(REJECT)
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.accept("phone"))
    assert sorted(said(told)) == [("userBusy", "alice", "r"), ("userBusy", "bob", "r")]
    return shard


async def test_a_join_that_names_its_peer_makes_busy_and_leaving_the_last_room_frees(shard: Shard) -> None:
    assert said(await shard.event(*e.joined("bob", peer=PHONE))) == [("userBusy", "bob", "r")]
    assert said(await shard.event(*e.joined("bob", peer=PHONE))) == []
    assert said(await shard.event(*e.joined("bob", "other", peer=PHONE))) == []
    assert said(await shard.event(*e.left("bob"))) == []
    assert said(await shard.event(*e.left("bob", "other"))) == [("userFree", "bob", "other")]
    assert said(await shard.event(*e.left("bob", "other"))) == []


async def test_a_join_without_a_peer_makes_nobody_busy(shard: Shard) -> None:
    assert said(await shard.event(*e.joined("bob"))) == []


async def test_with_the_defaults_an_accept_makes_nobody_busy(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert said(await shard.event(*e.accept("phone"))) == []


async def test_with_track_busy_an_accept_makes_both_busy_and_both_still_ring(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(track_busy=True))
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.accept("phone"))
    assert sorted(said(told)) == [("userBusy", "alice", "r"), ("userBusy", "bob", "r")]
    (rung,) = of_type(await shard.event(*e.invite(room="other", inviteId="2", peer=CAROL)), "invitation")
    assert sorted(rung.peers) == ["phone", "tablet"]
    assert "waiting" not in rung.payload


@pytest.mark.one_shard
async def test_the_key_has_room_and_peer(shard: Shard) -> None:
    await shard.event(*e.joined("bob", peer=PHONE))
    found = await shard.hash("invites:{0}:busy:bob")
    assert [value.split("|")[0] for value in found.values()] == ["phone"]
    assert list(found) == ["r"]


async def test_a_closed_room_frees_its_members(shard: Shard) -> None:
    await e.in_order(shard, e.joined("bob", peer=PHONE), e.joined("carol", peer=CAROL))
    told = await shard.event(*e.room_closed()) + await shard.fire()
    assert sorted(said(told)) == [("userFree", "bob", "r"), ("userFree", "carol", "r")]


async def test_who_leaves_a_room_that_a_later_event_has_closed_is_free(talking: Shard) -> None:
    told = await e.arriving(talking, [e.left("bob"), e.left("alice"), e.room_closed()], (2, 1, 0))
    assert sorted(said(told)) == [("userFree", "alice", "r"), ("userFree", "bob", "r")]


async def test_who_has_left_before_the_accept_is_settled_is_not_busy(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(track_busy=True))
    await e.bob_rings(shard, "phone")
    told = await e.arriving(shard, [e.accept("phone"), e.left("bob")], (1, 0))
    assert said(told) == [("userBusy", "alice", "r")]


async def test_who_does_not_join_in_time_is_free(talking: Shard) -> None:
    await talking.event(*e.joined("bob"))
    assert said(await e.later(talking, 29_999)) == []
    assert said(await e.later(talking, 1)) == [("userFree", "alice", "r")]
    assert said(await e.later(talking, DAY)) == [("userFree", "bob", "r")]


async def test_an_inviter_who_is_in_the_room_stays_busy(make_shard: MakeShard) -> None:
    shard = await make_shard(REJECT)
    await e.in_order(shard, e.registered("phone"), e.joined("alice"), e.invite(), e.accept("phone"))
    assert said(await e.later(shard, 30_000)) == [("userFree", "bob", "r")]
    assert said(await shard.event(*e.left("alice"))) == [("userFree", "alice", "r")]


async def test_a_lost_peer_has_the_callers_grace(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", device="d"), e.joined("bob", peer=PHONE))
    await e.in_order(shard, e.disconnected("phone"))
    await e.later(shard, 5_000)
    await shard.event(*e.registered("phone-2", device="d"))
    assert said(await e.later(shard, 10_000)) == []
    await shard.event(*e.disconnected("phone-2"))
    assert said(await e.later(shard, 9_999)) == []
    assert said(await e.later(shard, 1)) == [("userFree", "bob", "r")]


async def test_a_peer_whose_join_is_settled_after_its_loss_has_the_callers_grace(shard: Shard) -> None:
    await shard.event(*e.registered("phone", device="d"))
    events = [e.joined("bob", peer=PHONE), e.disconnected("phone")]
    assert said(await e.arriving(shard, events, [1, 0])) == [("userBusy", "bob", "r")]
    assert said(await e.later(shard, 9_999)) == []
    assert said(await e.later(shard, 1)) == [("userFree", "bob", "r")]


async def test_a_peer_that_is_back_in_its_grace_stays_in_the_call_for_a_day(shard: Shard) -> None:
    joined = e.joined("bob", peer=PHONE)
    await e.in_order(shard, e.registered("phone"), joined, e.disconnected("phone"), e.registered("phone"))
    assert said(await e.later(shard, 10_000)) == []
    assert said(await e.later(shard, DAY - 10_001)) == []
    assert said(await e.later(shard, 1)) == [("userFree", "bob", "r")]


async def test_the_device_under_another_peer_id_is_in_the_call(shard: Shard) -> None:
    grace = Settings().caller_grace
    await e.in_order(
        shard,
        e.registered("phone", device="D"),
        e.joined("bob", peer=peer("phone", "bob")),
        e.registered("phone-2", device="D"),
        e.disconnected("phone-2"),
    )
    assert e.types(await e.later(shard, grace - 1)) == []
    await e.in_order(shard, e.registered("phone-3", device="D"), e.disconnected("phone-3"))
    assert e.types(await e.later(shard, grace - 1)) == []
    assert e.types(await e.later(shard, 1)) == ["userFree"]


async def test_an_invite_to_somebody_in_a_call_ends_with_486(talking: Shard) -> None:
    told = await talking.event(*e.invite(CAROL, room="other"))
    assert e.types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (486, "busy")
    assert e.end_reasons(told) == {}
    told = await talking.event(*e.invite(CAROL, "alice", room="other"))
    assert e.outcome(told, "inviteRejected")[0] in {404, 486}


async def test_an_invite_into_the_very_room_rings(talking: Shard) -> None:
    assert "phone" in e.recipients(await talking.event(*e.invite(CAROL)), "invitation")


async def test_who_has_left_is_rung_again(talking: Shard) -> None:
    await e.in_order(talking, e.joined("bob"), e.left("bob"))
    told = await talking.event(*e.invite(CAROL, room="other"))
    assert e.recipients(told, "invitation") == {"phone", "tablet"}


async def test_an_invite_that_was_asked_for_rings(talking: Shard) -> None:
    await e.in_order(talking, e.registered("c", "carol"), e.request(PHONE, to="carol"))
    await talking.event(*e.accept("c", "carol", from_="bob"))
    told = await talking.event(*e.invite(CAROL, invite_id="back", room="other", requestId="1"))
    assert e.recipients(told, "invitation") == {"phone"}


async def test_waiting_is_said_to_the_devices_and_the_inviter(make_shard: MakeShard) -> None:
    shard = await make_shard(WAITING)
    await e.in_order(shard, e.registered("phone"), e.joined("bob", peer=PHONE))
    told = await shard.event(*e.invite(room="other"))
    assert e.one(told, "invitation").payload["waiting"] is True
    assert e.one(told, "inviteProgress").payload["waiting"] is True
    told = await shard.event(*e.invite(room="other", invite_id="2", by=CAROL))
    await shard.event(*e.left("bob"))
    assert "waiting" not in e.one(await shard.event(*e.invite(invite_id="3")), "invitation").payload


async def test_a_member_who_is_in_a_call_is_left_out(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all", when_busy="reject"))
    groups.team(shard, "bob", "carol")
    await groups.at_home(shard, "bob-phone", "carol-phone")
    await shard.event(*e.joined("bob", "other", peer=peer("bob-phone", "bob")))
    told = await shard.event(*e.invite(to="team"))
    assert groups.rung(told) == ["carol-phone"]
    assert groups.record_of(await shard.event(*e.decline("carol-phone", "carol"))) == {
        "bob": 486,
        "carol": 603,
    }


async def test_with_only_one_device_that_in_the_call_rings_alone(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.accept("phone"), e.joined("bob", peer=PHONE))
    assert e.recipients(await shard.event(*e.invite(CAROL, room="other")), "invitation") == {"phone"}
    assert of_type(await shard.event(*e.registered("desk")), "invitation") == []


async def test_with_only_one_device_that_is_not_there_nothing_rings(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.in_order(shard, e.registered("tablet"), e.joined("bob", peer=peer("browser", "bob")))
    told = await shard.event(*e.invite(CAROL, room="other"))
    assert e.outcome(told, "inviteRejected") == (486, "busy")


async def test_a_trunk_is_in_many_calls(make_shard: MakeShard) -> None:
    shard = await make_shard(REJECT)
    await e.in_order(shard, e.trunk("gw", r"\d+"), e.registered("phone"), e.invite(peer("gw", "sip")))
    told = await shard.event(*e.accept("phone", from_="sip"))
    assert said(told) == [("userBusy", "bob", "r")]


async def test_two_calls_that_one_join_accepts_make_their_inviter_busy_once(make_shard: MakeShard) -> None:
    shard = await make_shard(REJECT)
    await e.in_order(shard, e.registered("phone"), e.invite(), e.invite(invite_id="2"))
    told = await shard.event(*e.joined("bob", peer=PHONE))
    assert sorted(said(told)) == [("userBusy", "alice", "r"), ("userBusy", "bob", "r")]


RETURN = ("invite", {"peer": peer("gw", "sip"), "to": "bob", "inviteId": "2", "room": "r", "returnOf": e.REF})


async def test_when_the_phone_network_returns_a_call_only_the_device_in_a_call_rings(
    make_shard: MakeShard,
) -> None:
    shard = await make_shard(Settings(parallel_sip=True, only_one_device_with_invitations=True))
    await e.in_order(shard, e.trunk("gw"), e.registered("phone"), e.registered("tablet"), e.invite())
    await shard.event(*e.joined("bob", "other", peer=peer("phone", "bob")))
    assert e.recipients(await shard.event(*RETURN), "invitation") == {"phone"}
    assert e.types(await shard.event(*e.registered("watch"))) == []


async def test_a_call_returns_to_a_user_who_is_busy_by_then(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True, when_busy="reject"))
    await e.in_order(shard, e.trunk("gw"), e.registered("phone"), e.invite())
    await shard.event(*e.joined("bob", "other", peer=peer("phone", "bob")))
    told = await shard.event(*RETURN)
    assert not of_type(told, "invitation")
    assert e.outcome(told, "inviteRejected") == (486, "busy")
    assert e.recipients(told, "inviteRejected") == {"a", "gw"}


async def test_a_user_who_is_busy_when_the_last_trunk_fails(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True, when_busy="reject"))
    await e.in_order(shard, e.trunk("gw"), e.registered("phone"), e.invite())
    await shard.event(*e.joined("bob", "other", peer=peer("phone", "bob")))
    told = await shard.event(*e.decline("gw", "sip", to="bob", errorCode=503))
    assert e.outcome(told, "inviteRejected") == (486, "busy")
