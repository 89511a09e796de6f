"""What a commit reports for the log: the right facts, filled in rightly, and no more than the log level asks for."""

import json

import pytest

from invites.logs.messages import TEMPLATES, render
from invites.store.answers import Fact
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.measured import MeasuringCommitter
from tests.support.shard import MakeShard, Shard, peer

pytestmark = pytest.mark.one_shard


async def _facts(shard: Shard, event: e.Published) -> list[Fact]:
    await shard.event(*event)
    [outcome] = shard.outcomes
    return outcome.facts


async def _rendered(shard: Shard, event: e.Published) -> list[str]:
    return [render(fact) for fact in await _facts(shard, event)]


async def test_an_invite_reports_whom_it_found_and_what_it_sent(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    facts = await _facts(shard, e.invite())
    assert [fact[0] for fact in facts] == ["resolving", "got_candidates", "send_invitation"]
    assert facts[0] == ("resolving", "bob")
    assert [found["address"] for found in json.loads(facts[1][1])] == ["bob"]
    assert json.loads(facts[2][1])["inviteId"] == "1"
    assert json.loads(facts[2][2])["type"] == "PEER"


async def test_candidates_in_the_log_are_told_apart_by_their_peers_and_name_the_invite(shard: Shard) -> None:
    for phone in ("phone", "tablet"):
        await shard.event("registered", {"registry": {"id": phone, "user": "bob"}})
    facts = await _facts(shard, e.invite())
    [found] = [fact for fact in facts if fact[0] == "got_candidates"]
    assert {candidate["peer"] for candidate in json.loads(found[1])} == {"phone", "tablet"}
    sent = [fact for fact in facts if fact[0] == "send_invitation"]
    assert {json.loads(fact[2])["peer"] for fact in sent} == {"phone", "tablet"}
    cancelled = [fact for fact in await _facts(shard, e.stop()) if fact[0] == "send_cancel"]
    assert {json.loads(fact[2])["peer"] for fact in cancelled} == {"phone", "tablet"}
    assert [fact[-1] for fact in (found, *sent, *cancelled)] == ["1"] * 5


async def test_the_members_of_a_group_are_logged_with_the_invite(home: Shard) -> None:
    facts = await _facts(home, e.invite(to="team"))
    found = [fact for fact in facts if fact[0] == "got_candidates"]
    assert ("got_candidates", '["bob","carol","dave"]', "1") in found


async def test_an_invite_that_finds_nobody_is_a_warning(shard: Shard) -> None:
    assert "No candidates found for resource: bob" in await _rendered(shard, e.invite())


async def test_an_accept_reports_who_accepted(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    texts = await _rendered(shard, e.accept("phone"))
    assert "Notifying that invite 1 for room r was accepted by bob" in texts
    assert "INVITE_COMPLETED will be notified" in texts
    assert sum(text.startswith("send invitation cancel {") for text in texts) == 1


async def test_rooms_report_their_coming_and_going(shard: Shard) -> None:
    assert await _rendered(shard, e.joined("bob")) == ["Notifying that user bob joins to the room r"]
    assert await _rendered(shard, e.left("bob")) == ["Notifying user bob leaves r"]
    assert await _rendered(shard, e.room_closed()) == ["Cleaning data for room: r"]


async def test_a_device_that_joins_a_call_is_reported(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    texts = await _rendered(shard, e.registered("tablet"))
    assert [text.split(" {")[0] for text in texts] == [
        "will update invite candidates with registry",
        "send invitation",
    ]


async def test_a_device_that_is_rung_again_is_reported(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", session="s1"), e.invite())
    facts = await _facts(shard, e.registered("phone", session="s2"))
    assert ("resuming", "invite") in [fact[:2] for fact in facts]


async def test_a_lost_device_is_reported_with_what_it_is_lost_for(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    assert await _rendered(shard, e.disconnected("phone")) == [
        f'onPeerDisconnected will remove as candidate from ["{e.REF}"]'
    ]


async def test_a_lost_device_that_nothing_rings_is_not_reported(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    assert await _facts(shard, e.disconnected("phone")) == []


async def test_who_is_busy_now_is_reported(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.bob_rings(shard, "phone")
    texts = await _rendered(shard, e.accept("phone"))
    assert 'will reject pending invitations of bob except {"id":"phone","user":"bob"}' in texts


async def test_a_dead_letter_is_reported(shard: Shard) -> None:
    [fact] = await _facts(shard, ("joined", {}))
    assert fact[0] == "dead_letter"
    assert "field userId is missing" in render(fact)


@pytest.mark.parametrize("verbosity", [0, 1, 2])
async def test_no_more_is_reported_than_the_log_level_asks_for(shard: Shard, verbosity: int) -> None:
    """Levels are those of the templates: 10 debug, 20 info, 30 warn."""
    shard.committer = MeasuringCommitter(
        shard.client,
        shard.keys,
        shard.settings,
        shard.committer._scripts,
        verbosity=verbosity,
        clock=lambda: shard.now,
    )
    reported = set()
    for event in (
        e.registered("phone", session="s1"), e.registered("tablet"), e.joined("bob"), e.invite(), e.invite(context=1),
        e.registered("phone", session="s2"), e.decline("tablet", errorCode=486), e.accept("phone"),
        e.invite(invite_id="2"),
        e.stop(invite_id="2"), e.invite(by=peer("c", "carol"), to="nobody"), e.disconnected("phone"), e.left("bob"),
        e.room_closed(),
    ):  # fmt: skip
        reported |= {TEMPLATES[fact[0]][0] for fact in await _facts(shard, event)}
    assert reported == {0: {30}, 1: {20, 30}, 2: {10, 20, 30}}[verbosity]
