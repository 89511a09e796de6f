"""stopInvite: before, during and after the invite; by the inviter, by a service, by somebody else."""

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type, peer


async def test_the_inviter_stops_its_call(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.stop(transaction="t"))

    assert e.types(told) == ["INVITE_COMPLETED", "answer", "callMissed", "invitationCancel", "inviteRejected"]
    assert e.recipients(told, "invitationCancel") == {"phone", "tablet"}
    for kind in ("invitationCancel", "inviteRejected"):
        assert e.outcome(told, kind) == (487, "cancelled")
    assert e.outcome(told, "answer") == (200, "cancelled")
    assert e.one(told, "answer").payload["transaction"] == "t"
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"]) == ("DECLINED_BY_CREATOR", 487)
    assert e.end_reasons(told) == {"phone": 487, "tablet": 487}


async def test_a_code_of_its_own_is_everywhere(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.stop(errorCode=480))
    assert e.outcome(told, "invitationCancel") == e.outcome(told, "inviteRejected") == (480, "cancelled")
    assert e.one(told, "INVITE_COMPLETED").payload["error"] == 480


async def test_another_device_of_the_inviter_may_stop_it(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.stop(peer("a2", "alice")))
    assert e.one(told, "answer").peers == ["a2"]
    assert e.one(told, "inviteRejected").peers == ["a"]


async def test_a_service_stops_it_and_nobody_is_answered(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.stop(None, from_="alice"))
    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "invitationCancel", "inviteRejected"]


async def test_a_service_that_names_no_inviter_stops_every_pending_invite_of_that_id_to_the_callee(
    beside: Shard,
) -> None:
    await e.in_order(beside, e.registered("phone"), e.registered("d", "dave"))
    carol = peer("c", "carol")
    await e.in_order(
        beside,
        e.invite(),
        e.invite(by=carol),
        e.invite(invite_id="2"),
        e.invite(to="dave"),
        e.invite(by=carol, invite_id="2"),
    )
    told = await beside.event(*e.stop(None))

    stopped = {
        (found.payload["from"], found.payload["inviteId"]) for found in of_type(told, "inviteRejected")
    }
    assert stopped == {("alice", "1"), ("carol", "1")}
    for ref in ("alice|2|bob", "carol|2|bob", "alice|1|dave"):
        assert (await beside.invite(ref))["state"] == "PENDING"


async def test_somebody_else_may_not_stop_it(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.stop(peer("e", "eve"), from_="alice"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (403, "forbidden")
    assert (await shard.invite(e.REF))["state"] == "PENDING"


async def test_the_callee_may_not_stop_it(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.stop(peer("phone", "bob"), from_="alice"))
    assert e.outcome(told, "answer") == (403, "forbidden")


async def test_somebody_elses_stop_leaves_no_tombstone(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.stop(peer("e", "eve"), from_="alice"))
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"phone"}


async def test_devices_that_are_out_hear_nothing_and_those_in_their_grace_do(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "phone", "tablet", "desk")
    await e.in_order(shard, e.decline("phone", errorCode=486), e.disconnected("tablet"))
    assert e.recipients(await shard.event(*e.stop()), "invitationCancel") == {"tablet", "desk"}


async def test_a_repeat_is_answered_200_and_has_no_effect(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.stop())
    told = await shard.event(*e.stop())
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (200, "cancelled")


@pytest.mark.parametrize(
    ("event", "reason"), [(e.accept("phone"), "accepted"), (e.decline("phone"), "declined")]
)
async def test_after_another_end_it_is_answered_410(shard: Shard, event: e.Published, reason: str) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*event)
    told = await shard.event(*e.stop())
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (410, reason)


async def test_after_an_accept_the_answer_says_by_whom(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.accept("phone"))
    assert e.one(await shard.event(*e.stop()), "answer").payload["whoAccepted"] == "bob"


@pytest.mark.parametrize(
    "stopping",
    [e.stop(), e.stop(None, from_="alice"), e.stop(None)],
    ids=["inviter", "service", "any inviter"],
)
async def test_a_stop_that_is_processed_before_its_invite_makes_it_born_ended(
    shard: Shard, stopping: e.Published
) -> None:
    await shard.event(*e.registered("phone"))
    first = await shard.event(*stopping)
    assert e.types(first) in ([], ["answer"])
    told = await shard.event(*e.invite())

    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (487, "cancelled")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["candidates"]) == ("DECLINED_BY_CREATOR", 487, [])
    assert (await shard.invite(e.REF))["state"] == "DECLINED_BY_CREATOR"


async def test_a_stop_that_overtakes_its_invite_makes_it_born_ended(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(), e.stop()], [1, 0])
    assert e.types(told) == ["INVITE_COMPLETED", "answer", "callMissed", "inviteRejected"]
    assert e.outcome(told, "answer") == (200, "cancelled")


async def test_a_tombstone_keeps_the_code(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.stop(errorCode=603))
    assert e.outcome(await shard.event(*e.invite()), "inviteRejected") == (603, "cancelled")


async def test_the_tombstone_of_one_inviter_fits_no_other(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.stop())
    assert e.recipients(await shard.event(*e.invite(by=peer("c", "carol"))), "invitation") == {"phone"}


async def test_the_tombstone_of_one_callee_fits_no_other(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.stop(callee="dave"), e.stop(None, callee="dave"))
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"phone"}


async def test_a_tombstone_without_an_inviter_fits_any_and_is_not_used_up(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.stop(None))
    for by in (e.ALICE, peer("c", "carol")):
        assert e.outcome(await shard.event(*e.invite(by=by)), "inviteRejected") == (487, "cancelled")


async def test_a_stop_by_its_peer_with_a_foreign_inviter_is_no_tombstone_for_all(shard: Shard) -> None:
    """With a peer, `from` absent means that peer's user, never everybody."""
    await e.in_order(shard, e.registered("phone"), e.stop(peer("e", "eve")))
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"phone"}


@pytest.mark.one_shard
async def test_a_tombstone_lasts_for_the_longest_ring_time_and_the_retention(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.stop())
    await e.later(shard, 120_000 + 300_000 - 1)
    assert e.outcome(await shard.event(*e.invite()), "inviteRejected") == (487, "cancelled")
    await e.in_order(shard, e.stop(invite_id="2"))
    await e.later(shard, 120_000 + 300_000)
    assert e.recipients(await shard.event(*e.invite(invite_id="2")), "invitation") == {"phone"}


async def test_a_stop_of_what_is_born_ended_is_answered_200(shard: Shard) -> None:
    await e.in_order(shard, e.stop(), e.invite())
    assert e.outcome(await shard.event(*e.stop()), "answer") == (200, "cancelled")


async def test_a_stop_against_the_time_out_leaves_one_record(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    shard.now += e.RING
    told = await shard.event(*e.stop())
    told += await shard.fire()
    assert len(of_type(told, "INVITE_COMPLETED")) == 1
    assert e.outcome(told, "inviteRejected") == (487, "cancelled")


@pytest.mark.parametrize("before", [1, 0], ids=["before", "at"])
async def test_a_stop_from_before_the_deadline_counts_after_the_time_out(shard: Shard, before: int) -> None:
    await e.bob_rings(shard, "phone")
    shard.now += e.RING - before
    stop = await shard.publish(*e.stop())
    told = await e.later(shard, before) + await e.patience_ends(shard)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    await shard.settle(stop)
    told = await shard.told()
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == ((200, "cancelled") if before else (410, "timeout"))


async def test_a_service_stop_of_pending_invites_leaves_no_tombstone(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.stop(None))
    assert e.recipients(await shard.event(*e.invite(by=peer("c", "carol"))), "invitation") == {"phone"}


@pytest.mark.parametrize(
    ("event", "reason"), [(e.room_closed(), "room_closed"), (e.left("alice"), "caller_gone")]
)
async def test_after_another_end_on_the_inviters_side_it_is_answered_410(
    shard: Shard, event: e.Published, reason: str
) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*event)
    assert e.outcome(await shard.event(*e.stop()), "answer") == (410, reason)
