"""Invites that a release before 0.2.0 began: candidates in JSON, also in a hash of their own; every field is stored."""

import pytest

from invites.keys import CANDIDATE
from tests.support import events as e
from tests.support.candidates import candidates_in
from tests.support.shard import Shard

pytestmark = pytest.mark.one_shard


@pytest.fixture(params=["in the invite", "in their own hash"])
async def former(shard: Shard, request: pytest.FixtureRequest) -> Shard:
    """A shard in which an older release rings Bob's devices."""
    await e.bob_rings(shard, "phone", "tablet")
    invite = await shard.invite(e.REF)
    await shard.client.hset(shard.keys.invite(e.REF), mapping=dict(invite))
    candidates = candidates_in(invite)
    names = {CANDIDATE + name: value for name, value in candidates.items()}
    if request.param == "in the invite":
        await shard.client.hset(shard.keys.invite(e.REF), mapping=dict(names))
    else:
        await shard.client.hdel(shard.keys.invite(e.REF), *names)
        await shard.client.hset(_kept(shard), mapping=dict(candidates))
    return shard


def _kept(shard: Shard) -> str:
    return f"{shard.keys.base}candidates:{e.REF}"


async def test_they_move_into_the_invite(former: Shard) -> None:
    await former.event(*e.ringing("phone"))
    assert await e.states(former) == {"phone": "RINGING", "tablet": "CALLED"}
    assert not await former.client.exists(_kept(former))


async def test_an_accept_stops_the_other_devices(former: Shard) -> None:
    told = await former.event(*e.accept("phone"))
    assert e.one(told, "invitationCancel").peers == ["tablet"]
    assert await e.states(former) == {"phone": "ACCEPTED", "tablet": "CANCELLED"}


async def test_their_time_out_stops_all(former: Shard) -> None:
    told = await e.later(former, e.RING)
    assert sorted(e.one(told, "invitationCancel").peers) == ["phone", "tablet"]
    assert not await former.client.exists(_kept(former))


async def test_one_that_is_over_answers_late_events(former: Shard) -> None:
    await former.event(*e.accept("phone"))
    over = {"code": "200", "reason": "accepted", "whoAccepted": "bob"}
    await former.client.hset(former.keys.invite(e.REF), mapping=dict(over))
    assert e.outcome(await former.event(*e.accept("phone")), "answer") == (200, "accepted")
    told = await former.event(*e.accept("tablet"))
    assert e.outcome(told, "answer") == (410, "accepted")
    assert e.one(told, "answer").payload["whoAccepted"] == "bob"
    assert e.one(await former.event(*e.invite()), "inviteAccepted").payload["peer"] == "phone"
