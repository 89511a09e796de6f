"""removeAfter: a lost device stays for a while; if it is back in time nothing is lost, later it is out with 480."""

from collections.abc import Callable

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Shard, peer


@pytest.fixture
async def patient(make_shard: MakeShard) -> Shard:
    """A shard in which lost devices may come back within 5 s."""
    return await make_shard(e.GRACE)


@pytest.mark.parametrize("loss", [e.disconnected, e.unregistered])
async def test_without_grace_a_lost_device_is_out_at_once(
    shard: Shard, loss: Callable[..., e.Published]
) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    assert await shard.event(*loss("phone")) == []
    assert await e.states(shard) == {"phone": "GONE", "tablet": "CALLED"}
    assert not await shard.client.exists(shard.keys.grace("phone"))
    assert e.end_reasons(await shard.event(*e.accept("tablet"))) == {"phone": 480, "tablet": 200}


async def test_without_grace_the_last_lost_device_ends_the_invite(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.disconnected("phone"))
    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert e.end_reasons(told) == {"phone": 480}


@pytest.mark.parametrize("loss", [e.disconnected, e.unregistered])
async def test_a_lost_device_stays_for_its_grace(patient: Shard, loss: Callable[..., e.Published]) -> None:
    await e.bob_rings(patient, "phone")
    assert await patient.event(*loss("phone")) == []
    assert await e.states(patient) == {"phone": "AWAY"}
    assert await e.later(patient, 4_999) == []
    told = await e.later(patient, 1)
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert e.end_reasons(told) == {"phone": 480}


@pytest.mark.one_shard
async def test_the_key_grace_lives_as_long_as_the_device_may_come_back(patient: Shard) -> None:
    await e.bob_rings(patient, "phone")
    await patient.event(*e.disconnected("phone"))
    assert await patient.client.pexpiretime(patient.keys.grace("phone")) == patient.now + 5_000
    await patient.event(*e.registered("phone"))
    assert not await patient.client.exists(patient.keys.grace("phone"))


async def test_a_device_that_no_invite_rings_has_no_grace(patient: Shard) -> None:
    await e.in_order(patient, e.registered("phone"), e.disconnected("phone"))
    assert not await patient.client.exists(patient.keys.grace("phone"))


async def test_back_in_time_it_is_rung_again_with_the_time_that_is_left(patient: Shard) -> None:
    await e.bob_rings(patient, "phone")
    await e.in_order(patient, e.ringing("phone"), e.disconnected("phone"))
    await e.later(patient, 4_999)
    told = await patient.event(*e.registered("phone"))

    assert e.types(told) == ["invitation"]
    payload = e.one(told, "invitation").payload
    assert (payload["resumed"], payload["expiresIn"]) == (True, e.RING - 4_999)
    assert await e.later(patient, 1) == []
    assert await e.states(patient) == {"phone": "CALLED"}


async def test_back_in_time_under_a_new_peer_id_nothing_is_lost(patient: Shard) -> None:
    await e.in_order(patient, e.registered("p1", device="phone"), e.invite(), e.disconnected("p1"))
    told = await patient.event(*e.registered("p2", device="phone"))
    assert e.recipients(told, "invitation") == {"p2"}
    assert e.one(told, "invitation").payload["resumed"] is True
    assert not await patient.client.exists(patient.keys.grace("p1"))
    assert await e.later(patient, 5_000) == []
    assert await e.states(patient) == {"p2": "CALLED"}


async def test_back_after_its_grace_it_is_rung_again_while_others_ring(patient: Shard) -> None:
    await e.bob_rings(patient, "phone", "tablet")
    await patient.event(*e.disconnected("phone"))
    await e.later(patient, 5_000)
    assert await e.states(patient) == {"phone": "GONE", "tablet": "CALLED"}
    told = await patient.event(*e.registered("phone"))
    assert e.one(told, "invitation").payload["resumed"] is True


async def test_a_device_within_its_grace_still_counts_as_a_candidate(patient: Shard) -> None:
    await e.bob_rings(patient, "phone", "tablet")
    await e.in_order(patient, e.disconnected("phone"), e.decline("tablet", errorCode=486))
    assert (await patient.invite(e.REF))["state"] == "PENDING"
    assert e.one(await patient.event(*e.invite()), "inviteProgress").payload["candidates"] == 1
    assert e.outcome(await e.later(patient, 5_000), "inviteRejected") == (486, "busy")


async def test_a_device_within_its_grace_may_accept(patient: Shard) -> None:
    await e.bob_rings(patient, "phone", "tablet")
    told = await e.in_order(patient, e.disconnected("phone"), e.accept("phone"))
    assert e.one(told, "inviteAccepted").payload["peer"] == "phone"
    assert await e.later(patient, 5_000) == []


async def test_a_device_within_its_grace_is_cancelled_at_the_end(patient: Shard) -> None:
    await e.bob_rings(patient, "phone")
    told = await e.in_order(patient, e.disconnected("phone"), e.stop())
    assert e.recipients(told, "invitationCancel") == {"phone"}
    assert e.end_reasons(told) == {"phone": 487}


async def test_a_grace_that_outlasts_the_ring_time_ends_with_408(patient: Shard) -> None:
    await e.bob_rings(patient, "phone")
    await e.later(patient, e.RING - 1_000)
    await patient.event(*e.disconnected("phone"))
    told = await e.later(patient, 1_000)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert await e.later(patient, 4_000) == []


async def test_its_grace_counts_for_every_pending_invite(patient: Shard) -> None:
    await e.bob_rings(patient, "phone")
    await e.in_order(patient, e.invite(by=peer("c", "carol")), e.disconnected("phone"))
    told = await e.later(patient, 5_000)
    assert {found.payload["from"] for found in told if found.type == "inviteRejected"} == {"alice", "carol"}


async def test_a_new_invite_does_not_ring_a_device_within_its_grace(patient: Shard) -> None:
    await e.bob_rings(patient, "phone", "tablet")
    await patient.event(*e.disconnected("phone"))
    assert e.recipients(await patient.event(*e.invite(invite_id="2")), "invitation") == {"tablet"}


async def test_the_end_of_another_session_is_ignored(patient: Shard) -> None:
    await e.in_order(patient, e.registered("phone", session="s2"), e.invite())
    assert await patient.event(*e.disconnected("phone", session="s1")) == []
    assert await e.states(patient) == {"phone": "CALLED"}
    await patient.event(*e.disconnected("phone", session="s2"))
    assert await e.states(patient) == {"phone": "AWAY"}


async def test_the_loss_of_a_device_that_is_out_changes_nothing(patient: Shard) -> None:
    await e.bob_rings(patient, "phone", "tablet")
    await e.in_order(patient, e.decline("phone", errorCode=486), e.disconnected("phone"))
    assert await e.states(patient) == {"phone": "DECLINED", "tablet": "CALLED"}


async def test_a_loss_after_the_end_changes_nothing(patient: Shard) -> None:
    await e.in_order(patient, e.registered("phone"), e.invite(), e.accept("phone"))
    assert await patient.event(*e.disconnected("phone")) == []
    assert (await patient.invite(e.REF))["state"] == "ACCEPTED"
    assert not await patient.client.exists(patient.keys.grace("phone"))


async def test_a_peer_of_somebody_else_that_has_the_same_id_is_another_peer(patient: Shard) -> None:
    await e.bob_rings(patient, "phone")
    assert await patient.event(*e.disconnected("phone", "eve")) == []
    assert await e.states(patient) == {"phone": "CALLED"}
    assert set(await patient.hash(patient.keys.registry("bob"))) == {"phone"}


async def test_a_device_that_was_lost_for_good_may_still_accept_while_others_ring(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.in_order(shard, e.disconnected("phone"), e.accept("phone"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert e.recipients(told, "invitationCancel") == {"tablet"}
    assert e.end_reasons(told) == {"phone": 200, "tablet": 487}


async def test_a_device_that_signed_off_lapses_no_more(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", expires=5_000), e.unregistered("phone"))
    assert await shard.client.zcard(shard.keys.timers) == 0


async def test_what_a_device_said_within_its_grace_stays(patient: Shard) -> None:
    await e.bob_rings(patient, "phone", "tablet")
    await e.in_order(patient, e.disconnected("phone"), e.decline("phone", errorCode=486))
    await e.later(patient, 5_000)
    assert e.end_reasons(await patient.event(*e.accept("tablet"))) == {"phone": 486, "tablet": 200}
