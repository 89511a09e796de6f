"""inviteRequest: a user asks for an invite; the invite that answers it rings the peer that asked, and nobody else."""

import pytest

from tests.conftest import MakeShard
from tests.support.events import (
    ALICE,
    GRACE,
    accept,
    bob_rings,
    disconnected,
    in_order,
    invite,
    later,
    one,
    outcome,
    recipients,
    registered,
    request,
    states,
    stop,
    types,
)
from tests.support.shard import Shard, peer

BOB = peer("phone", "bob")


async def test_a_request_rings_all_devices_and_has_no_room(shard: Shard) -> None:
    told = await in_order(shard, registered("phone"), registered("tablet"), request())

    invitation = one(told, "invitation")
    assert set(invitation.peers) == {"phone", "tablet"}
    assert invitation.payload["inviteRequest"] is True
    assert "room" not in invitation.payload


async def test_an_accepted_request_has_no_room_either(shard: Shard) -> None:
    told = await in_order(shard, registered("phone"), request(), accept("phone"))

    assert one(told, "inviteAccepted").payload["room"] is None
    record = one(told, "INVITE_COMPLETED").payload
    assert (record["inviteRequest"], record["room"]) == (True, None)


async def test_the_answering_invite_rings_the_peer_that_asked_registered_or_not(shard: Shard) -> None:
    await in_order(shard, registered("phone"), request(by=peer("guest-peer", "guest")))
    await shard.event(*accept("phone", from_="guest"))
    told = await shard.event(*invite(by=BOB, to="guest", invite_id="back", requestId="1"))

    invitation = one(told, "invitation")
    assert (invitation.peers, invitation.users) == (["guest-peer"], ["guest"])
    assert (invitation.payload["requestId"], invitation.payload["inviteRequest"]) == ("1", False)
    assert one(told, "inviteProgress").payload["candidates"] == 1


async def test_the_answering_invite_rings_no_other_device_of_the_peer_that_asked(shard: Shard) -> None:
    await in_order(shard, registered("phone"), registered("a", "alice"), registered("a2", "alice"), request())
    told = await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert recipients(told, "invitation") == {"a"}


async def test_a_device_that_registers_later_is_not_rung_by_the_answering_invite(shard: Shard) -> None:
    await in_order(shard, registered("phone"), request())
    await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert await shard.event(*registered("a2", "alice")) == []


async def test_the_guest_that_asked_can_accept_the_answering_invite(shard: Shard) -> None:
    await in_order(shard, registered("phone"), request(), accept("phone"))
    await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    told = await shard.event(*accept("a", "alice", from_="bob", invite_id="back"))
    assert outcome(told, "answer") == (200, "accepted")
    assert one(told, "inviteAccepted").peers == ["phone"]


async def test_the_answer_may_come_while_the_request_still_rings(shard: Shard) -> None:
    await in_order(shard, registered("phone"), request())
    told = await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert recipients(told, "invitation") == {"a"}


async def test_the_peer_that_repeated_the_request_last_is_the_one_that_is_rung(shard: Shard) -> None:
    await in_order(shard, registered("phone"), request(), request(by=peer("a2", "alice")), accept("phone"))
    told = await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert recipients(told, "invitation") == {"a2"}


async def test_a_device_that_is_back_under_a_new_peer_id_is_the_one_that_is_rung(shard: Shard) -> None:
    await in_order(shard, registered("phone"), registered("a", "alice", device="laptop"), request())
    await in_order(shard, disconnected("a", "alice"), registered("b", "alice", device="laptop"))
    told = await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert recipients(told, "invitation") == {"b"}


async def test_an_unknown_request_id_makes_an_ordinary_invite_that_names_it(shard: Shard) -> None:
    told = await bob_rings(shard, "phone", "tablet", requestId="never-seen")
    assert recipients(told, "invitation") == {"phone", "tablet"}
    assert one(told, "invitation").payload["requestId"] == "never-seen"


async def test_a_request_of_somebody_else_is_not_answered_by_that_id(shard: Shard) -> None:
    """Carol's invite to Alice may not borrow the request that Alice sent to Bob."""
    await in_order(shard, registered("phone"), request())
    told = await shard.event(*invite(by=peer("c", "carol"), to="alice", invite_id="back", requestId="1"))
    assert outcome(told, "inviteRejected") == (404, "not_found")


async def test_an_ordinary_invite_is_no_request_that_could_be_named(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    told = await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert outcome(told, "inviteRejected") == (404, "not_found")


@pytest.mark.one_shard
async def test_a_request_can_be_answered_until_it_would_be_forgotten(shard: Shard) -> None:
    await in_order(shard, registered("phone"), request(), accept("phone"))
    await later(shard, 60_000 + 300_000 - 1)
    told = await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert recipients(told, "invitation") == {"a"}
    await later(shard, 1)
    told = await shard.event(*invite(by=BOB, to="alice", invite_id="back-2", requestId="1"))
    assert outcome(told, "inviteRejected") == (404, "not_found")


async def test_the_peer_that_asked_is_back_within_its_grace_and_is_rung_again(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await in_order(shard, registered("phone"), registered("a", "alice"), request())
    await shard.event(*invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    await shard.event(*disconnected("a", "alice"))
    assert await states(shard, "bob|back|alice") == {"a": "AWAY"}
    told = await shard.event(*registered("a", "alice"))
    assert one(told, "invitation").payload["resumed"] is True


async def test_a_request_is_stopped_like_an_invite(shard: Shard) -> None:
    await in_order(shard, registered("phone"), request())
    told = await shard.event(*stop(ALICE))
    assert types(told) == ["INVITE_COMPLETED", "answer", "invitationCancel", "inviteRejected"]


async def test_a_repeat_of_a_request_rings_nobody_twice(shard: Shard) -> None:
    await in_order(shard, registered("phone"), request())
    assert types(await shard.event(*request())) == ["inviteProgress"]
