"""How long an invite rings, and how long what is over stays readable."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Json, MakeShard, Shard, of_type, peer

DAY = 86_400_000
RETAIN = 300_000


async def test_when_nobody_answers_in_time_it_ends_with_408(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.ringing("phone"))
    assert await e.later(shard, e.RING - 1) == []
    told = await e.later(shard, 1)

    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "invitationCancel", "inviteRejected"]
    assert e.recipients(told, "invitationCancel") == {"phone", "tablet"}
    assert e.outcome(told, "invitationCancel") == e.outcome(told, "inviteRejected") == (408, "timeout")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["whoAccepted"]) == ("DECLINED_BY_TIMEOUT", 408, None)
    assert record["endedAt"] - record["startedAt"] == e.RING


@pytest.mark.parametrize(
    ("settings", "expires", "rings"),
    [
        (Settings(), None, 60_000),
        (Settings(ring_timeout=20_000), None, 20_000),
        (Settings(), 1, 1),
        (Settings(), 5_000, 5_000),
        (Settings(), 120_000, 120_000),
        (Settings(), 120_001, 120_000),
        (Settings(), 2**53 - 1, 120_000),
        (Settings(max_ring_timeout=30_000), None, 30_000),
        (Settings(max_ring_timeout=30_000), 40_000, 30_000),
    ],
)
async def test_it_rings_for_expires_else_ring_timeout_and_never_longer_than_the_maximum(
    make_shard: MakeShard, settings: Settings, expires: int | None, rings: int
) -> None:
    shard = await make_shard(settings)
    asked: Json = {} if expires is None else {"expires": expires}
    told = await e.bob_rings(shard, "phone", **asked)
    assert e.one(told, "invitation").payload["expiresIn"] == rings
    assert await e.later(shard, rings - 1) == []
    assert e.outcome(await e.later(shard, 1), "inviteRejected") == (408, "timeout")


async def test_what_a_device_said_before_stays_in_the_record(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet", "desk")
    await e.in_order(shard, e.decline("phone", errorCode=486), e.disconnected("desk"))
    assert e.end_reasons(await e.later(shard, e.RING)) == {"phone": 486, "desk": 480, "tablet": 408}


async def test_a_time_out_fires_once(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert len(of_type(await e.later(shard, e.RING), "INVITE_COMPLETED")) == 1
    assert await e.later(shard, e.RING) == []


@pytest.mark.one_shard
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_many_time_outs_at_once_are_taken_in_pages(shard: Shard, limit: int) -> None:
    await shard.event(*e.registered("phone"))
    for number in range(7):
        await shard.event(*e.invite(peer(f"a{number}", "alice"), invite_id=str(number)))
    shard.now += e.RING

    counts: list[int] = []
    while counts[-1:] != [0]:
        fired = await shard.committer.fire(limit)
        counts.append(fired.count)
    assert sum(counts) == 7
    assert max(counts) <= limit
    assert len(of_type(await shard.told(), "INVITE_COMPLETED")) == 7


@pytest.mark.one_shard
async def test_the_worker_is_told_when_the_next_timer_is_due(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    operation = await shard.publish(*e.invite())
    settled = await shard.committer.commit([operation])
    assert (settled.next_due, settled.now) == (shard.now + e.RING, shard.now)
    fired = await shard.committer.fire()
    assert (fired.count, fired.next_due, fired.now) == (0, shard.now + e.RING, shard.now)
    await e.in_order(shard, e.stop())
    assert (await shard.committer.fire()).next_due is None


@pytest.mark.one_shard
async def test_without_a_clock_of_the_tests_the_time_is_the_servers(shard: Shard) -> None:
    shard.committer._clock = None
    seconds, micros = await shard.client.time()
    fired = await shard.committer.fire()
    assert 0 <= fired.now - (int(seconds) * 1000 + int(micros) // 1000) < 10_000


async def test_every_key_of_a_pending_invite_lives_until_a_day_after_its_deadline(shard: Shard) -> None:
    """A night without workers, and each invite still gets its outcome and record."""
    await e.bob_rings(shard, "phone")
    await e.in_order(shard, e.registered("tablet"), e.ringing("phone"), e.invite(context="new"))
    assert await shard.client.pexpiretime(shard.keys.invite(e.REF)) == shard.now + e.RING + DAY


async def test_after_a_night_without_workers_the_invite_gets_its_outcome_and_record(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await e.later(shard, e.RING + DAY - 1)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert e.end_reasons(told) == {"phone": 408}


@pytest.mark.one_shard
async def test_what_expired_by_itself_is_cleaned_out_of_the_indexes(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert await e.later(shard, e.RING + DAY) == []
    assert await shard.dead() == []
    for key in (shard.keys.pending("bob"), shard.keys.timers, shard.keys.base + "calls:alice"):
        assert not await shard.client.exists(key)


@pytest.mark.parametrize(
    "event",
    [e.accept("phone"), e.decline("phone"), e.stop(), e.disconnected("phone")],
    ids=lambda event: str(event[0]),
)
async def test_an_ended_invite_stays_readable_for_retain_after(shard: Shard, event: e.Published) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*event)
    assert await shard.client.pexpiretime(shard.keys.invite(e.REF)) == shard.now + RETAIN


async def test_what_is_born_ended_stays_readable_for_retain_after(shard: Shard) -> None:
    await shard.event(*e.invite())
    assert await shard.client.pexpiretime(shard.keys.invite(e.REF)) == shard.now + RETAIN
    assert (await shard.invite(e.REF))["state"] == "DECLINED"
    assert await shard.candidates(e.REF) == {}


async def test_a_device_told_again_after_the_end_makes_nothing_live_longer(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.disconnected("phone"), e.accept("tablet"))
    ended = shard.now
    await e.later(shard, 1_000)
    await e.in_order(shard, e.registered("phone"), e.accept("phone"), e.ringing("phone"), e.invite())
    assert await shard.client.pexpiretime(shard.keys.invite(e.REF)) == ended + RETAIN


@pytest.mark.one_shard
async def test_a_phone_that_wakes_up_late_learns_what_happened(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.in_order(shard, e.accept("phone"))
    await e.later(shard, RETAIN - 1)
    assert e.outcome(await shard.event(*e.ringing("woken")), "answer") == (410, "accepted")
    await e.later(shard, 1)
    assert e.outcome(await shard.event(*e.ringing("woken")), "answer") == (404, "not_found")


async def test_a_device_replaced_as_the_only_candidate_leaves_the_time_to_live(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("p1", device="phone"), e.invite(), e.registered("p2", device="phone")
    )
    assert await e.states(shard) == {"p2": "CALLED"}
    assert await shard.client.pexpiretime(shard.keys.invite(e.REF)) == shard.now + e.RING + DAY
