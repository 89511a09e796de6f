"""An invite whose stop follows in the same commit is born ended: nothing rings."""

import pytest

from invites.keys import shard_of
from invites.store.answers import Status
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Notification, Shard
from tests.support.shards import Shards


async def _together(shard: Shard, *events: e.Published, to: str = "bob") -> list[Notification]:
    """Settle events in one commit of the callee's shard; return what all shards tell."""
    part = shard.parts[shard_of(to, len(shard.parts))] if isinstance(shard, Shards) else shard
    part.now = shard.now
    operations = [await part.publish(*event, shard.entry_id()) for event in events]
    outcomes = (await part.committer.commit(operations)).outcomes
    assert {outcome.status for outcome in outcomes} == {Status.DONE}
    return await shard.fire()


@pytest.fixture
async def at_home(shard: Shard) -> Shard:
    """A shard in which Bob has a phone."""
    await shard.event(*e.registered("phone"))
    return shard


async def test_no_phone_flashes(at_home: Shard) -> None:
    told = await _together(at_home, e.invite(), e.stop(errorCode=480, transaction="t"))
    assert e.types(told) == ["INVITE_COMPLETED", "answer", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (480, "cancelled")
    assert e.outcome(told, "answer") == (200, "cancelled")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["candidates"]) == ("DECLINED_BY_CREATOR", 480, [])


async def test_no_phone_flashes_for_a_service_that_stops_whatever_rings(at_home: Shard) -> None:
    told = await _together(at_home, e.invite(), e.stop(None))
    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (487, "cancelled")


async def test_nor_for_a_request(at_home: Shard) -> None:
    told = await _together(at_home, e.request(), e.stop())
    assert e.types(told) == ["INVITE_COMPLETED", "answer", "callMissed", "inviteRejected"]


async def test_an_accept_in_between_wins(at_home: Shard) -> None:
    told = await _together(at_home, e.invite(), e.accept("phone"), e.stop())
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"
    assert [one.payload["code"] for one in told if one.type == "answer"] == [200, 410]


async def test_a_decline_in_between_counts(at_home: Shard) -> None:
    told = await _together(at_home, e.invite(), e.decline("phone"), e.stop())
    assert e.outcome(told, "inviteRejected") == (603, "declined")


async def test_an_accept_after_the_stop_is_too_late(at_home: Shard) -> None:
    told = await _together(at_home, e.invite(), e.stop(), e.accept("phone"))
    assert "invitation" not in e.types(told)
    assert [(one.payload["code"], one.payload["reason"]) for one in told if one.type == "answer"] == [
        (200, "cancelled"),
        (410, "cancelled"),
    ]


async def test_what_rings_already_rings_until_its_stop(at_home: Shard) -> None:
    await at_home.event(*e.invite())
    told = await _together(at_home, e.invite(context="new"), e.stop())
    assert e.types(told) == [
        "INVITE_COMPLETED", "answer", "callMissed", "invitation", "invitationCancel", "inviteProgress",
        "inviteRejected",
    ]  # fmt: skip


async def test_a_repeat_in_between_hears_the_end(at_home: Shard) -> None:
    told = await _together(at_home, e.invite(), e.invite(context="new"), e.stop())
    assert e.types(told) == ["INVITE_COMPLETED", "answer", "callMissed", "inviteRejected", "inviteRejected"]


async def test_a_group_is_not_even_looked_up(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all"))
    groups.team(shard, "bob")
    await groups.at_home(shard, "bob-phone")
    told = await _together(shard, e.invite(to="team"), e.stop(callee="team"), to="team")
    assert e.types(told) == ["INVITE_COMPLETED", "answer", "callMissed", "inviteRejected"]
    assert await shard.client.exists(shard.keys.legs(groups.TEAM)) == 0
