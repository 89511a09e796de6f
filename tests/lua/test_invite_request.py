"""inviteRequest: a user asks for an invite; the invite that answers it rings the peer that asked, and nobody else."""

import pytest
from redis.asyncio import Redis

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import MakeShard, Shard, peer
from tests.support.shards import Apart

BOB = peer("phone", "bob")


async def test_a_request_rings_all_devices_and_has_no_room(shard: Shard) -> None:
    told = await e.in_order(shard, e.registered("phone"), e.registered("tablet"), e.request())

    invitation = e.one(told, "invitation")
    assert set(invitation.peers) == {"phone", "tablet"}
    assert invitation.payload["inviteRequest"] is True
    assert "room" not in invitation.payload


async def test_an_accepted_request_has_no_room_either(shard: Shard) -> None:
    told = await e.in_order(shard, e.registered("phone"), e.request(), e.accept("phone"))

    assert e.one(told, "inviteAccepted").payload["room"] is None
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["inviteRequest"], record["room"]) == (True, None)


async def test_the_answering_invite_rings_the_peer_that_asked_registered_or_not(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request(by=peer("guest-peer", "guest")))
    await shard.event(*e.accept("phone", from_="guest"))
    told = await shard.event(*e.invite(by=BOB, to="guest", invite_id="back", requestId="1"))

    invitation = e.one(told, "invitation")
    assert (invitation.peers, invitation.users) == (["guest-peer"], ["guest"])
    assert (invitation.payload["requestId"], invitation.payload["inviteRequest"]) == ("1", False)
    assert e.one(told, "inviteProgress").payload["candidates"] == 1


async def test_the_answering_invite_rings_no_other_device_of_the_peer_that_asked(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("phone"), e.registered("a", "alice"), e.registered("a2", "alice"), e.request()
    )
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert e.recipients(told, "invitation") == {"a"}


async def test_a_device_that_registers_later_is_not_rung_by_the_answering_invite(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request())
    await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert await shard.event(*e.registered("a2", "alice")) == []


async def test_the_guest_that_asked_can_accept_the_answering_invite(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request(), e.accept("phone"))
    await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    told = await shard.event(*e.accept("a", "alice", from_="bob", invite_id="back"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert e.one(told, "inviteAccepted").peers == ["phone"]


async def test_the_answer_may_come_while_the_request_still_rings(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request())
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert e.recipients(told, "invitation") == {"a"}


async def test_the_peer_that_repeated_the_request_last_is_the_one_that_is_rung(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("phone"), e.request(), e.request(by=peer("a2", "alice")), e.accept("phone")
    )
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert e.recipients(told, "invitation") == {"a2"}


async def test_a_device_that_is_back_under_a_new_peer_id_is_the_one_that_is_rung(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("a", "alice", device="laptop"), e.request())
    await e.in_order(shard, e.disconnected("a", "alice"), e.registered("b", "alice", device="laptop"))
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert e.recipients(told, "invitation") == {"b"}


async def test_an_unknown_request_id_makes_an_ordinary_invite_that_names_it(shard: Shard) -> None:
    told = await e.bob_rings(shard, "phone", "tablet", requestId="never-seen")
    assert e.recipients(told, "invitation") == {"phone", "tablet"}
    assert e.one(told, "invitation").payload["requestId"] == "never-seen"


async def test_a_request_of_somebody_else_is_not_answered_by_that_id(shard: Shard) -> None:
    """Carol's invite to Alice may not borrow the request that Alice sent to Bob."""
    await e.in_order(shard, e.registered("phone"), e.request())
    told = await shard.event(*e.invite(by=peer("c", "carol"), to="alice", invite_id="back", requestId="1"))
    assert e.outcome(told, "inviteRejected") == (404, "not_found")


async def test_an_ordinary_invite_is_no_request_that_could_be_named(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert e.outcome(told, "inviteRejected") == (404, "not_found")


@pytest.mark.one_shard
async def test_a_request_can_be_answered_until_it_would_be_forgotten(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request(), e.accept("phone"))
    await e.later(shard, 60_000 + 300_000 - 1)
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert e.recipients(told, "invitation") == {"a"}
    await e.later(shard, 1)
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back-2", requestId="1"))
    assert e.outcome(told, "inviteRejected") == (404, "not_found")


async def test_the_peer_that_asked_is_back_within_its_grace_and_is_rung_again(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.registered("phone"), e.registered("a", "alice"), e.request())
    await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    await shard.event(*e.disconnected("a", "alice"))
    assert await e.states(shard, "bob|back|alice") == {"a": "AWAY"}
    told = await shard.event(*e.registered("a", "alice"))
    assert e.one(told, "invitation").payload["resumed"] is True


async def test_a_request_is_stopped_like_an_invite(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request())
    told = await shard.event(*e.stop(e.ALICE))
    assert e.types(told) == ["INVITE_COMPLETED", "answer", "callMissed", "invitationCancel", "inviteRejected"]


async def test_a_repeat_of_a_request_rings_nobody_twice(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request())
    assert e.types(await shard.event(*e.request())) == ["inviteProgress"]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (e.stop(), (410, "cancelled")),
        (e.decline("phone"), (403, "forbidden")),
        (e.disconnected("a", "alice"), (480, "unreachable")),
    ],
)
async def test_an_answer_to_a_request_that_nobody_waits_for_rings_nobody(
    shard: Shard, end: e.Published, outcome: tuple[int, str]
) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("a", "alice"), e.request(), end)
    await e.later(shard, 10_000)
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert "invitation" not in e.types(told)
    assert e.outcome(told, "inviteRejected") == outcome
    assert e.one(told, "INVITE_COMPLETED").payload["state"] == "DECLINED"


async def test_an_answer_to_an_accepted_request_whose_guest_has_gone_since(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("phone"), e.request(), e.accept("phone"), e.disconnected("a", "alice")
    )
    await e.later(shard, 9_000)
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="soon", requestId="1"))
    assert e.recipients(told, "invitation") == {"a"}
    await e.later(shard, 1_000)
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="late", requestId="1"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_a_busy_device_may_answer_the_request_later(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request(), e.decline("phone", errorCode=486))
    told = await shard.event(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
    assert e.recipients(told, "invitation") == {"a"}


async def test_an_answer_that_comes_before_its_shard_has_heard_of_the_stopped_request(
    valkey_server: str,
) -> None:
    async with Redis.from_url(valkey_server) as client:
        await client.flushall()
        shard = await Apart.make_several(lambda _: client, Settings(), 5)
        for event in (e.registered("phone"), e.request(), e.stop()):
            await shard.at_home(*event)
        told = await shard.at_home(*e.invite(by=BOB, to="alice", invite_id="back", requestId="1"))
        assert e.outcome(told, "inviteRejected") == (410, "cancelled")
