"""How long ended invites are kept: for `retainAfter`, and for as long as the work of their end needs them."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.shard import MakeShard, peer

MINUTE, HOUR = 60_000, 3_600_000
MEMBERS = [f"m{at:02}" for at in range(25)]

each_retain_after = pytest.mark.parametrize("retain_after", [0, 1, 4 * HOUR])


@each_retain_after
@pytest.mark.one_shard
@pytest.mark.parametrize(
    "end",
    [e.accept("m00-phone", "m00"), e.stop(callee="team")],
    ids=lambda event: str(event[0]),
)
async def test_every_member_of_a_large_group_stops(
    make_shard: MakeShard, retain_after: int, end: e.Published
) -> None:
    """A page ends twenty legs, so the second page reads the group's invite after the end."""
    shard = await make_shard(Settings(look_up="all", retain_after=retain_after))
    groups.team(shard, *MEMBERS)
    await groups.at_home(shard, *(f"{member}-phone" for member in MEMBERS))
    rung = groups.rung(await shard.event(*e.invite(to="team")) + await shard.relay())
    assert len(rung) == len(MEMBERS)

    told = await shard.event(*end)
    told += await e.later(shard, 2_000)
    winner = ["m00-phone"] if end[0] == "accept" else []
    assert sorted(groups.stopped(told) + winner) == rung


@each_retain_after
@pytest.mark.one_shard
@pytest.mark.parametrize("after", [1_000, e.RING])
async def test_a_cancel_push_is_wanted_while_the_phone_may_ring(
    make_shard: MakeShard, retain_after: int, after: int
) -> None:
    shard = await make_shard(Settings(look_up="push", retain_after=retain_after))
    push_jobs.sleeps(shard, "bob", "phone")
    await shard.event(*e.invite())
    deadline = shard.now + e.RING
    await push_jobs.taken(shard)
    await e.later(shard, after)
    if after < e.RING:
        await shard.event(*e.stop())
    [job] = await push_jobs.jobs(shard)
    assert (job["type"], int(job["deadline"])) == (
        "invitationCancel", max(deadline, shard.now + max(retain_after, MINUTE)),
    )  # fmt: skip


@each_retain_after
@pytest.mark.one_shard
async def test_what_is_over_is_kept_until_its_deadline_and_a_minute_at_least(
    make_shard: MakeShard, retain_after: int
) -> None:
    shard = await make_shard(Settings(retain_after=retain_after))
    await e.bob_rings(shard, "phone")
    deadline = shard.now + e.RING
    await e.later(shard, 1_000)
    await shard.event(*e.accept("phone"))
    kept = await shard.client.pexpiretime(shard.keys.invite(e.REF))
    assert kept == max(deadline, shard.now + max(retain_after, MINUTE))


@each_retain_after
@pytest.mark.one_shard
async def test_who_has_not_heard_the_end_gets_the_outcome_and_rings_nobody(
    make_shard: MakeShard, retain_after: int
) -> None:
    shard = await make_shard(Settings(retain_after=retain_after))
    await e.bob_rings(shard, "phone")
    await e.later(shard, e.RING - 1)
    await shard.event(*e.decline("phone"))
    await e.later(shard, MINUTE - 1)
    assert e.outcome(await shard.event(*e.invite()), "inviteRejected") == (603, "declined")
    assert e.outcome(await shard.event(*e.accept("phone")), "answer") == (410, "declined")


@each_retain_after
@pytest.mark.one_shard
async def test_a_device_that_comes_back_after_the_end_stops(make_shard: MakeShard, retain_after: int) -> None:
    shard = await make_shard(Settings(retain_after=retain_after, remove_after=50_000))
    await e.bob_rings(shard, "phone")
    await e.in_order(shard, e.disconnected("phone"), e.stop())
    await e.later(shard, e.RING - 1)
    assert e.recipients(await shard.event(*e.registered("phone")), "invitationCancel") == {"phone"}


@each_retain_after
async def test_a_request_accepted_at_its_deadline_can_be_answered_by_an_invite(
    make_shard: MakeShard, retain_after: int
) -> None:
    shard = await make_shard(Settings(retain_after=retain_after))
    await e.in_order(shard, e.registered("phone"), e.registered("a", "alice"), e.registered("a2", "alice"))
    await shard.event(*e.request())
    await e.later(shard, e.RING - 1)
    await shard.event(*e.accept("phone"))
    await e.later(shard, MINUTE)
    told = await shard.event(*e.invite(by=peer("phone", "bob"), to="alice", invite_id="2", requestId="1"))
    assert e.recipients(told, "invitation") == {"a"}


@each_retain_after
@pytest.mark.one_shard
async def test_a_stop_waits_for_its_invite(make_shard: MakeShard, retain_after: int) -> None:
    shard = await make_shard(Settings(retain_after=retain_after, ring_timeout=1, max_ring_timeout=1))
    await shard.event(*e.stop())
    await e.later(shard, MINUTE)
    assert e.outcome(await shard.event(*e.invite()), "inviteRejected") == (487, "cancelled")


@pytest.mark.one_shard
async def test_a_device_is_known_for_as_long_as_its_calls_wait_for_it(make_shard: MakeShard) -> None:
    shard = await make_shard(
        Settings(caller_grace=3 * HOUR, ring_timeout=4 * HOUR, max_ring_timeout=4 * HOUR)
    )
    await e.in_order(shard, e.registered("a", "alice", device="laptop"), e.registered("phone"), e.invite())
    await shard.event(*e.disconnected("a", "alice"))
    await e.later(shard, 3 * HOUR - 1)
    await shard.event(*e.registered("a2", "alice", device="laptop"))
    await e.later(shard, 1)
    assert e.one(await shard.event(*e.accept("phone")), "inviteAccepted").peers == ["a2"]
