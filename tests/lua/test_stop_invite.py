"""stopInvite: before, while and after the invite is there; by the inviter, by a service, by somebody else."""

import pytest

from tests.conftest import MakeShard
from tests.support.events import (
    ALICE,
    GRACE,
    REF,
    RING,
    Published,
    accept,
    arriving,
    bob_rings,
    decline,
    disconnected,
    end_reasons,
    in_order,
    invite,
    later,
    left,
    one,
    outcome,
    recipients,
    registered,
    room_closed,
    stop,
    types,
)
from tests.support.shard import Shard, of_type, peer


async def test_the_inviter_stops_its_call(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    told = await shard.event(*stop(transaction="t"))

    assert types(told) == ["INVITE_COMPLETED", "answer", "invitationCancel", "inviteRejected"]
    assert recipients(told, "invitationCancel") == {"phone", "tablet"}
    for kind in ("invitationCancel", "inviteRejected"):
        assert outcome(told, kind) == (487, "cancelled")
    assert outcome(told, "answer") == (200, "cancelled")
    assert one(told, "answer").payload["transaction"] == "t"
    record = one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"]) == ("DECLINED_BY_CREATOR", 487)
    assert end_reasons(told) == {"phone": 487, "tablet": 487}


async def test_a_code_of_its_own_is_everywhere(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    told = await shard.event(*stop(errorCode=480))
    assert outcome(told, "invitationCancel") == outcome(told, "inviteRejected") == (480, "cancelled")
    assert one(told, "INVITE_COMPLETED").payload["error"] == 480


async def test_another_device_of_the_inviter_may_stop_it(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    told = await shard.event(*stop(peer("a2", "alice")))
    assert one(told, "answer").peers == ["a2"]
    assert one(told, "inviteRejected").peers == ["a"]


async def test_a_service_stops_it_and_nobody_is_answered(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    told = await shard.event(*stop(None, from_="alice"))
    assert types(told) == ["INVITE_COMPLETED", "invitationCancel", "inviteRejected"]


async def test_a_service_that_names_no_inviter_stops_every_pending_invite_of_that_id_to_the_callee(
    shard: Shard,
) -> None:
    await in_order(shard, registered("phone"), registered("d", "dave"))
    carol = peer("c", "carol")
    await in_order(
        shard,
        invite(),
        invite(by=carol),
        invite(invite_id="2"),
        invite(to="dave"),
        invite(by=carol, invite_id="2"),
    )
    told = await shard.event(*stop(None))

    stopped = {
        (found.payload["from"], found.payload["inviteId"]) for found in of_type(told, "inviteRejected")
    }
    assert stopped == {("alice", "1"), ("carol", "1")}
    for ref in ("alice|2|bob", "carol|2|bob", "alice|1|dave"):
        assert (await shard.invite(ref))["state"] == "PENDING"


async def test_somebody_else_may_not_stop_it(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    told = await shard.event(*stop(peer("e", "eve"), from_="alice"))
    assert types(told) == ["answer"]
    assert outcome(told, "answer") == (403, "forbidden")
    assert (await shard.invite(REF))["state"] == "PENDING"


async def test_the_callee_may_not_stop_it(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    told = await shard.event(*stop(peer("phone", "bob"), from_="alice"))
    assert outcome(told, "answer") == (403, "forbidden")


async def test_somebody_elses_stop_leaves_no_tombstone(shard: Shard) -> None:
    await in_order(shard, registered("phone"), stop(peer("e", "eve"), from_="alice"))
    assert recipients(await shard.event(*invite()), "invitation") == {"phone"}


async def test_devices_that_are_out_hear_nothing_and_those_in_their_grace_do(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await bob_rings(shard, "phone", "tablet", "desk")
    await in_order(shard, decline("phone", errorCode=486), disconnected("tablet"))
    assert recipients(await shard.event(*stop()), "invitationCancel") == {"tablet", "desk"}


async def test_a_repeat_is_answered_200_and_has_no_effect(shard: Shard) -> None:
    await in_order(shard, registered("phone"), invite(), stop())
    told = await shard.event(*stop())
    assert types(told) == ["answer"]
    assert outcome(told, "answer") == (200, "cancelled")


@pytest.mark.parametrize(("event", "reason"), [(accept("phone"), "accepted"), (decline("phone"), "declined")])
async def test_after_another_end_it_is_answered_410(shard: Shard, event: Published, reason: str) -> None:
    await bob_rings(shard, "phone")
    await shard.event(*event)
    told = await shard.event(*stop())
    assert types(told) == ["answer"]
    assert outcome(told, "answer") == (410, reason)


async def test_after_an_accept_the_answer_says_by_whom(shard: Shard) -> None:
    await in_order(shard, registered("phone"), invite(), accept("phone"))
    assert one(await shard.event(*stop()), "answer").payload["whoAccepted"] == "bob"


@pytest.mark.parametrize(
    "stopping",
    [stop(), stop(None, from_="alice"), stop(None)],
    ids=["inviter", "service", "any inviter"],
)
async def test_a_stop_that_is_processed_before_its_invite_makes_it_born_ended(
    shard: Shard, stopping: Published
) -> None:
    await shard.event(*registered("phone"))
    first = await shard.event(*stopping)
    assert types(first) in ([], ["answer"])
    told = await shard.event(*invite())

    assert types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert outcome(told, "inviteRejected") == (487, "cancelled")
    record = one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["candidates"]) == ("DECLINED_BY_CREATOR", 487, [])
    assert (await shard.invite(REF))["state"] == "DECLINED_BY_CREATOR"


async def test_a_stop_that_overtakes_its_invite_makes_it_born_ended(shard: Shard) -> None:
    await shard.event(*registered("phone"))
    told = await arriving(shard, [invite(), stop()], [1, 0])
    assert types(told) == ["INVITE_COMPLETED", "answer", "inviteRejected"]
    assert outcome(told, "answer") == (200, "cancelled")


async def test_a_tombstone_keeps_the_code(shard: Shard) -> None:
    await in_order(shard, registered("phone"), stop(errorCode=603))
    assert outcome(await shard.event(*invite()), "inviteRejected") == (603, "cancelled")


async def test_the_tombstone_of_one_inviter_fits_no_other(shard: Shard) -> None:
    await in_order(shard, registered("phone"), stop())
    assert recipients(await shard.event(*invite(by=peer("c", "carol"))), "invitation") == {"phone"}


async def test_the_tombstone_of_one_callee_fits_no_other(shard: Shard) -> None:
    await in_order(shard, registered("phone"), stop(callee="dave"), stop(None, callee="dave"))
    assert recipients(await shard.event(*invite()), "invitation") == {"phone"}


async def test_a_tombstone_without_an_inviter_fits_any_and_is_not_used_up(shard: Shard) -> None:
    await in_order(shard, registered("phone"), stop(None))
    for by in (ALICE, peer("c", "carol")):
        assert outcome(await shard.event(*invite(by=by)), "inviteRejected") == (487, "cancelled")


async def test_a_stop_by_its_peer_with_a_foreign_inviter_is_no_tombstone_for_all(shard: Shard) -> None:
    """With a peer, `from` absent means that peer's user, never everybody."""
    await in_order(shard, registered("phone"), stop(peer("e", "eve")))
    assert recipients(await shard.event(*invite()), "invitation") == {"phone"}


@pytest.mark.one_shard
async def test_a_tombstone_lasts_for_the_longest_ring_time_and_the_retention(shard: Shard) -> None:
    await in_order(shard, registered("phone"), stop())
    await later(shard, 120_000 + 300_000 - 1)
    assert outcome(await shard.event(*invite()), "inviteRejected") == (487, "cancelled")
    await in_order(shard, stop(invite_id="2"))
    await later(shard, 120_000 + 300_000)
    assert recipients(await shard.event(*invite(invite_id="2")), "invitation") == {"phone"}


async def test_a_stop_of_what_is_born_ended_is_answered_200(shard: Shard) -> None:
    await in_order(shard, stop(), invite())
    assert outcome(await shard.event(*stop()), "answer") == (200, "cancelled")


async def test_a_stop_against_the_time_out_leaves_one_record(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    shard.now += RING
    told = await shard.event(*stop())
    told += await shard.fire()
    assert len(of_type(told, "INVITE_COMPLETED")) == 1
    assert outcome(told, "inviteRejected") == (487, "cancelled")


async def test_a_service_stop_of_pending_invites_leaves_no_tombstone(shard: Shard) -> None:
    await in_order(shard, registered("phone"), invite(), stop(None))
    assert recipients(await shard.event(*invite(by=peer("c", "carol"))), "invitation") == {"phone"}


@pytest.mark.parametrize(
    ("event", "reason"), [(room_closed(), "room_closed"), (left("alice"), "caller_gone")]
)
async def test_after_another_end_on_the_inviters_side_it_is_answered_410(
    shard: Shard, event: Published, reason: str
) -> None:
    await bob_rings(shard, "phone")
    await shard.event(*event)
    assert outcome(await shard.event(*stop()), "answer") == (410, reason)
