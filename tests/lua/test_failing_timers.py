"""Timers that fail: they come back with back-off until they can be applied, and hold up no other."""

import json

import pytest

from invites.keys import CANDIDATE
from invites.queries.dead_letters import DeadLetters
from tests.support import events as e
from tests.support.shard import Shard

RING = f"ring|{e.REF}"
_PHONE = f"{CANDIDATE}phone"


async def _break(shard: Shard, key: str) -> None:
    """Let rules meet a key of the wrong type."""
    await shard.client.delete(key)
    await shard.client.set(key, "x", px=e.RING * 100)


async def _spoil(shard: Shard) -> None:
    """Let rules meet a candidate that they cannot read."""
    await shard.client.hset(shard.keys.invite(e.REF), _PHONE, "x")


async def _next_try(shard: Shard, timer: str) -> int | None:
    """In how many ms the timer fires."""
    at = await shard.client.zscore(shard.keys.timers, timer)
    return None if at is None else int(at) - shard.now


@pytest.fixture
async def failing(shard: Shard) -> Shard:
    """A shard in which the time-out of Alice's call to Bob has failed once."""
    await e.bob_rings(shard, "phone")
    await _spoil(shard)
    shard.now += e.RING
    await shard.fire()
    return shard


@pytest.mark.one_shard
async def test_a_timer_that_fails_is_told_and_stays(beside: Shard) -> None:
    await e.bob_rings(beside, "phone")
    await beside.event(*e.invite(invite_id="2"))
    await _spoil(beside)
    beside.now += e.RING
    fired = await beside.committer.fire()

    assert fired.count == 2
    [letter] = await beside.dead()
    assert (letter["type"], letter["payload"], letter["entry"]) == ("timer", RING, "")
    assert letter["due"] == str(beside.now)
    assert ("timer_failed", RING, letter["error"]) in fired.facts
    assert e.one(await beside.told(), "inviteRejected").payload["inviteId"] == "2"
    assert await _next_try(beside, RING) == 1_000


@pytest.mark.one_shard
async def test_it_comes_back_ever_later_and_makes_one_dead_letter(failing: Shard) -> None:
    waits, facts = [], []
    for _ in range(11):
        wait = await _next_try(failing, RING)
        assert wait is not None
        waits.append(wait)
        failing.now += wait - 1
        assert (await failing.committer.fire()).count == 0
        failing.now += 1
        facts += (await failing.committer.fire()).facts
    assert waits == [1_000 * 2**number for number in range(9)] + [300_000] * 2
    assert [fact[:3] for fact in facts] == [("timer_failed_again", RING, str(2 + n)) for n in range(11)]
    assert len(await failing.dead()) == 1


@pytest.mark.one_shard
async def test_once_the_cause_is_mended_it_is_applied_and_forgotten(failing: Shard) -> None:
    await failing.client.hdel(failing.keys.invite(e.REF), _PHONE)
    failing.now += 1_000
    fired = await failing.committer.fire()
    assert ("timer_recovered", RING, "1") in fired.facts
    assert e.outcome(await failing.told(), "inviteRejected") == (408, "timeout")
    assert await _next_try(failing, RING) is None
    assert not await failing.client.exists(failing.keys.retry(RING))


@pytest.mark.one_shard
async def test_its_rule_sees_when_it_was_due(shard: Shard) -> None:
    """A lapse counts from the deadline: what Bob's phone did after it still counts."""
    await shard.event(*e.registered("phone", expires=60_000))
    due = shard.now + 60_000
    aside = await shard.client.dump(shard.keys.registry("bob"))
    await _break(shard, shard.keys.registry("bob"))
    shard.now = due
    for _ in range(3):
        await shard.fire()
        shard.now += 10_000
    await shard.client.delete(shard.keys.registry("bob"))
    await shard.client.restore(shard.keys.registry("bob"), 0, aside)
    await shard.fire()
    lost = json.loads(await shard.client.get(shard.keys.base + "gone:bob|phone"))["lost"]
    assert lost == f"{due}-0"


@pytest.mark.one_shard
async def test_a_timer_that_was_set_again_begins_anew(failing: Shard) -> None:
    """Its rule must see the new time."""
    first = failing.now
    await failing.client.zadd(failing.keys.timers, {RING: first + 500})
    failing.now += 500
    fired = await failing.committer.fire()
    assert [fact[0] for fact in fired.facts] == ["timer_failed"]
    assert [letter["due"] for letter in await failing.dead()] == [str(first), str(first + 500)]
    assert await _next_try(failing, RING) == 1_000


@pytest.mark.one_shard
async def test_a_timer_that_is_no_longer_wanted_does_not_come_back(failing: Shard) -> None:
    await failing.client.hdel(failing.keys.invite(e.REF), _PHONE)
    assert e.outcome(await failing.event(*e.stop()), "answer")[0] == 200
    assert await _next_try(failing, RING) is None
    assert await e.later(failing, e.RING) == []


@pytest.mark.one_shard
async def test_failing_timers_hold_up_no_other(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    poison = {f"ring|alice|poison-{number}|bob": shard.now - 1 for number in range(25)}
    for member in poison:
        await shard.client.set(shard.keys.invite(member.removeprefix("ring|")), "x", px=e.RING * 100)
    shard.now += e.RING
    await shard.client.zadd(shard.keys.timers, poison)
    for _ in range(3):
        await shard.committer.fire(10)
    assert e.outcome(await shard.told(), "inviteRejected") == (408, "timeout")
    assert await shard.client.zcount(shard.keys.timers, "-inf", shard.now) == 0


@pytest.mark.one_shard
async def test_dead_letters_of_the_wrong_type_hold_up_no_timer(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.client.set(shard.keys.dead, "x")
    await shard.client.zadd(shard.keys.timers, {"dance|x": shard.now})
    assert e.outcome(await e.later(shard, e.RING), "inviteRejected") == (408, "timeout")
    assert await _next_try(shard, "dance|x") == 1_000
    await shard.client.delete(shard.keys.dead)


@pytest.mark.one_shard
@pytest.mark.parametrize("member", ["nonsense", "dance|x", "ring|", "|", "é|ü"])
async def test_a_timer_of_an_unknown_kind_is_kept(shard: Shard, member: str) -> None:
    """It may be another release's."""
    await shard.client.zadd(shard.keys.timers, {member: shard.now})
    await shard.fire()
    assert [letter["payload"] for letter in await shard.dead()] == [member]
    assert await _next_try(shard, member) == 1_000


@pytest.mark.one_shard
@pytest.mark.parametrize(
    "member",
    [
        "ring|a",
        "ring|a|b",
        "grace|x",
        "caller|",
        "caller|a",
        "lapse|a",
        "close|r",
        "step|nothing",
        "ring|\n|\x00|\x7f",
    ],
)
async def test_a_timer_that_makes_no_sense_stops_nothing(shard: Shard, member: str) -> None:
    await e.bob_rings(shard, "phone")
    await shard.client.zadd(shard.keys.timers, {member: shard.now})
    told = await e.later(shard, e.RING)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    failed = [letter["payload"] for letter in await shard.dead()]
    kept = [timer.decode() for timer in await shard.client.zrange(shard.keys.timers, 0, -1)]
    assert kept == failed
    assert kept in ([], [member])


@pytest.mark.one_shard
async def test_a_retried_letter_fires_the_timer_at_once(failing: Shard) -> None:
    [(letter, _)] = await failing.client.xrange(failing.keys.dead)
    due = failing.now
    failing.now += 100
    assert await DeadLetters(failing.client, failing.keys).retry(letter.decode()) == "now"
    assert await failing.dead() == []
    fired = await failing.committer.fire()
    assert [fact[0] for fact in fired.facts] == ["timer_failed"]
    assert [again["due"] for again in await failing.dead()] == [str(due)]
