"""removeAfter: a lost device stays for a while, back in time nothing is lost, afterwards it is out with 480."""

from collections.abc import Callable

import pytest

from tests.conftest import MakeShard
from tests.support.events import (
    GRACE,
    REF,
    RING,
    Published,
    accept,
    bob_rings,
    decline,
    disconnected,
    end_reasons,
    in_order,
    invite,
    later,
    one,
    outcome,
    recipients,
    registered,
    ringing,
    states,
    stop,
    types,
    unregistered,
)
from tests.support.shard import Shard, peer


@pytest.fixture
async def patient(make_shard: MakeShard) -> Shard:
    """A shard in which lost devices may come back within 5 s."""
    return await make_shard(GRACE)


@pytest.mark.parametrize("loss", [disconnected, unregistered])
async def test_without_grace_a_lost_device_is_out_at_once(
    shard: Shard, loss: Callable[..., Published]
) -> None:
    await bob_rings(shard, "phone", "tablet")
    assert await shard.event(*loss("phone")) == []
    assert await states(shard) == {"phone": "GONE", "tablet": "CALLED"}
    assert not await shard.client.exists(shard.keys.grace("phone"))
    assert end_reasons(await shard.event(*accept("tablet"))) == {"phone": 480, "tablet": 200}


async def test_without_grace_the_last_lost_device_ends_the_invite(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    told = await shard.event(*disconnected("phone"))
    assert types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert outcome(told, "inviteRejected") == (480, "unreachable")
    assert end_reasons(told) == {"phone": 480}


@pytest.mark.parametrize("loss", [disconnected, unregistered])
async def test_a_lost_device_stays_for_its_grace(patient: Shard, loss: Callable[..., Published]) -> None:
    await bob_rings(patient, "phone")
    assert await patient.event(*loss("phone")) == []
    assert await states(patient) == {"phone": "AWAY"}
    assert await later(patient, 4_999) == []
    told = await later(patient, 1)
    assert outcome(told, "inviteRejected") == (480, "unreachable")
    assert end_reasons(told) == {"phone": 480}


@pytest.mark.one_shard
async def test_the_key_grace_lives_as_long_as_the_device_may_come_back(patient: Shard) -> None:
    await bob_rings(patient, "phone")
    await patient.event(*disconnected("phone"))
    assert await patient.client.pexpiretime(patient.keys.grace("phone")) == patient.now + 5_000
    await patient.event(*registered("phone"))
    assert not await patient.client.exists(patient.keys.grace("phone"))


async def test_a_device_that_no_invite_rings_has_no_grace(patient: Shard) -> None:
    await in_order(patient, registered("phone"), disconnected("phone"))
    assert not await patient.client.exists(patient.keys.grace("phone"))
    assert outcome(await patient.event(*invite()), "inviteRejected") == (480, "unreachable")


async def test_back_in_time_it_is_rung_again_with_the_time_that_is_left(patient: Shard) -> None:
    await bob_rings(patient, "phone")
    await in_order(patient, ringing("phone"), disconnected("phone"))
    await later(patient, 4_999)
    told = await patient.event(*registered("phone"))

    assert types(told) == ["invitation"]
    payload = one(told, "invitation").payload
    assert (payload["resumed"], payload["expiresIn"]) == (True, RING - 4_999)
    assert await later(patient, 1) == []
    assert await states(patient) == {"phone": "CALLED"}


async def test_back_in_time_under_a_new_peer_id_nothing_is_lost(patient: Shard) -> None:
    await in_order(patient, registered("p1", device="phone"), invite(), disconnected("p1"))
    told = await patient.event(*registered("p2", device="phone"))
    assert recipients(told, "invitation") == {"p2"}
    assert one(told, "invitation").payload["resumed"] is True
    assert not await patient.client.exists(patient.keys.grace("p1"))
    assert await later(patient, 5_000) == []
    assert await states(patient) == {"p2": "CALLED"}


async def test_back_after_its_grace_it_is_rung_again_while_others_ring(patient: Shard) -> None:
    await bob_rings(patient, "phone", "tablet")
    await patient.event(*disconnected("phone"))
    await later(patient, 5_000)
    assert await states(patient) == {"phone": "GONE", "tablet": "CALLED"}
    told = await patient.event(*registered("phone"))
    assert one(told, "invitation").payload["resumed"] is True


async def test_a_device_within_its_grace_still_counts_as_a_candidate(patient: Shard) -> None:
    await bob_rings(patient, "phone", "tablet")
    await in_order(patient, disconnected("phone"), decline("tablet", errorCode=486))
    assert (await patient.invite(REF))["state"] == "PENDING"
    assert one(await patient.event(*invite()), "inviteProgress").payload["candidates"] == 1
    assert outcome(await later(patient, 5_000), "inviteRejected") == (486, "busy")


async def test_a_device_within_its_grace_may_accept(patient: Shard) -> None:
    await bob_rings(patient, "phone", "tablet")
    told = await in_order(patient, disconnected("phone"), accept("phone"))
    assert one(told, "inviteAccepted").payload["peer"] == "phone"
    assert await later(patient, 5_000) == []


async def test_a_device_within_its_grace_is_cancelled_at_the_end(patient: Shard) -> None:
    await bob_rings(patient, "phone")
    told = await in_order(patient, disconnected("phone"), stop())
    assert recipients(told, "invitationCancel") == {"phone"}
    assert end_reasons(told) == {"phone": 487}


async def test_a_grace_that_outlasts_the_ring_time_ends_with_408(patient: Shard) -> None:
    await bob_rings(patient, "phone")
    await later(patient, RING - 1_000)
    await patient.event(*disconnected("phone"))
    told = await later(patient, 1_000)
    assert outcome(told, "inviteRejected") == (408, "timeout")
    assert await later(patient, 4_000) == []


async def test_its_grace_counts_for_every_pending_invite(patient: Shard) -> None:
    await bob_rings(patient, "phone")
    await in_order(patient, invite(by=peer("c", "carol")), disconnected("phone"))
    told = await later(patient, 5_000)
    assert {found.payload["from"] for found in told if found.type == "inviteRejected"} == {"alice", "carol"}


async def test_a_new_invite_does_not_ring_a_device_within_its_grace(patient: Shard) -> None:
    await bob_rings(patient, "phone", "tablet")
    await patient.event(*disconnected("phone"))
    assert recipients(await patient.event(*invite(invite_id="2")), "invitation") == {"tablet"}


async def test_the_end_of_another_session_is_ignored(patient: Shard) -> None:
    await in_order(patient, registered("phone", session="s2"), invite())
    assert await patient.event(*disconnected("phone", session="s1")) == []
    assert await states(patient) == {"phone": "CALLED"}
    await patient.event(*disconnected("phone", session="s2"))
    assert await states(patient) == {"phone": "AWAY"}


async def test_the_loss_of_a_device_that_is_out_changes_nothing(patient: Shard) -> None:
    await bob_rings(patient, "phone", "tablet")
    await in_order(patient, decline("phone", errorCode=486), disconnected("phone"))
    assert await states(patient) == {"phone": "DECLINED", "tablet": "CALLED"}


async def test_a_loss_after_the_end_changes_nothing(patient: Shard) -> None:
    await in_order(patient, registered("phone"), invite(), accept("phone"))
    assert await patient.event(*disconnected("phone")) == []
    assert (await patient.invite(REF))["state"] == "ACCEPTED"
    assert not await patient.client.exists(patient.keys.grace("phone"))


async def test_a_peer_of_somebody_else_that_has_the_same_id_is_another_peer(patient: Shard) -> None:
    await bob_rings(patient, "phone")
    assert await in_order(patient, registered("phone", "eve"), disconnected("phone", "eve")) == []
    assert await states(patient) == {"phone": "CALLED"}
    assert set(await patient.hash(patient.keys.registry("bob"))) == {"phone"}


async def test_a_device_that_was_lost_for_good_may_still_accept_while_others_ring(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    told = await in_order(shard, disconnected("phone"), accept("phone"))
    assert outcome(told, "answer") == (200, "accepted")
    assert recipients(told, "invitationCancel") == {"tablet"}
    assert end_reasons(told) == {"phone": 200, "tablet": 487}


async def test_a_device_that_signed_off_lapses_no_more(shard: Shard) -> None:
    await in_order(shard, registered("phone", expires=5_000), unregistered("phone"))
    assert await shard.client.zcard(shard.keys.timers) == 0


async def test_what_a_device_said_within_its_grace_stays(patient: Shard) -> None:
    await bob_rings(patient, "phone", "tablet")
    await in_order(patient, disconnected("phone"), decline("phone", errorCode=486))
    await later(patient, 5_000)
    assert end_reasons(await patient.event(*accept("tablet"))) == {"phone": 486, "tablet": 200}
