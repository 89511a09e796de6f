"""Two users who call each other: one call, or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type, peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.shard import Json, Notification

MERGE = Settings(glare="merge")
BOB = peer("desk", "bob")
BACK = "bob|9|alice"


@pytest.fixture
async def merging(make_shard: MakeShard) -> Shard:
    """A shard in which Alice's call rings Bob's phone and desk. Alice has a phone, too."""
    shard = await make_shard(MERGE)
    await e.in_order(shard, e.registered("phone"), e.registered("desk"), e.registered("a", "alice"))
    await e.in_order(shard, e.registered("a-phone", "alice"), e.invite())
    return shard


def _back(by: Json = BOB, **more: object) -> e.Published:
    return e.invite(by, to="alice", invite_id="9", room="of-bob", **more)


def _of(told: Sequence[Notification], kind: str, invite_id: str) -> Notification:
    (found,) = [one for one in of_type(told, kind) if one.payload["inviteId"] == invite_id]
    return found


def _is_one_call(told: Sequence[Notification], *, first: str = "1", second: str = "9") -> None:
    """The second call has merged into the first one."""
    rooms = {"1": "r", "9": "of-bob"}
    peers = {"1": "a", "9": "desk"}
    users = {"1": "alice", "9": "bob"}
    accepted = _of(told, "inviteAccepted", first)
    assert (accepted.peers, accepted.payload["peer"]) == ([peers[first]], peers[second])
    assert "into" not in accepted.payload
    merged = _of(told, "inviteAccepted", second)
    assert (merged.peers, merged.payload["peer"]) == ([peers[second]], peers[first])
    assert merged.payload["room"] == rooms[first]
    assert (merged.payload["code"], merged.payload["reason"]) == (200, "merged")
    assert merged.payload["into"] == f"{users[first]}|{first}|{users[second]}"
    for invite_id in (first, second):
        record = _of(told, "INVITE_COMPLETED", invite_id).payload
        assert (record["state"], record["error"], record["room"]) == ("ACCEPTED", 200, rooms[first])


async def test_the_later_call_merges_into_the_earlier_one(merging: Shard) -> None:
    told = await merging.event(*_back(transaction="t"))
    _is_one_call(told)
    assert not of_type(told, "invitation"), "nobody is rung"
    cancel = e.one(told, "invitationCancel")
    assert cancel.peers == ["phone"]
    assert (cancel.payload["reason"], cancel.payload["peer"]) == ("accepted_elsewhere", "desk")


async def test_a_guest_and_an_unknown_callee_merge_as_well(make_shard: MakeShard) -> None:
    shard = await make_shard(MERGE)
    await e.in_order(shard, e.registered("phone"), e.invite())
    _is_one_call(await shard.event(*_back()))


async def test_a_repeat_hears_the_outcome_again(merging: Shard) -> None:
    await merging.event(*_back())
    again = e.one(await merging.event(*_back()), "inviteAccepted")
    assert (again.payload["into"], again.payload["room"]) == (e.REF, "r")


async def test_the_earlier_call_may_be_settled_last(make_shard: MakeShard) -> None:
    shard = await make_shard(MERGE)
    await e.in_order(shard, e.registered("phone"), e.registered("a-phone", "alice"))
    told = await e.arriving(shard, [e.invite(), _back()], (1, 0))
    _is_one_call(told)
    assert e.recipients(told, "invitation") == e.recipients(told, "invitationCancel") == {"a-phone"}


async def test_a_call_that_was_published_while_the_other_one_rang_merges_after_its_accept(
    merging: Shard,
) -> None:
    told = await e.arriving(merging, [_back(), e.accept("phone")], (1, 0))
    accepted = _of(told, "inviteAccepted", "9")
    assert (accepted.payload["into"], accepted.payload["room"]) == (e.REF, "r")
    assert not of_type(told, "invitation")


@pytest.mark.parametrize("end", [e.accept("phone"), e.decline("phone"), e.stop()])
async def test_a_call_after_the_end_of_the_other_one_rings(merging: Shard, end: e.Published) -> None:
    await merging.event(*end)
    assert e.recipients(await merging.event(*_back()), "invitation") == {"a", "a-phone"}


@pytest.mark.parametrize(
    "back",
    [
        e.request(BOB, to="alice", invite_id="9"),
        e.invite(BOB, to="alice", invite_id="9", requestId="x"),
        e.invite(peer("c", "carol"), to="alice", invite_id="9"),
    ],
)
async def test_requests_their_answers_and_others_calls_are_no_glare(
    merging: Shard, back: e.Published
) -> None:
    assert not of_type(await merging.event(*back), "inviteAccepted")


async def test_a_call_that_a_trunk_makes_is_no_glare(merging: Shard) -> None:
    await merging.event(*e.trunk("t", user="bob"))
    assert not of_type(await merging.event(*_back(peer("t", "bob"))), "inviteAccepted")


async def test_both_ring_with_glare_off(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("a-phone", "alice"), e.invite())
    assert e.recipients(await shard.event(*_back()), "invitation") == {"a-phone"}


async def test_a_call_to_a_busy_user_merges(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(glare="merge", only_one_device_with_invitations=True))
    await e.in_order(shard, e.registered("phone"), e.registered("desk"), e.invite())
    _is_one_call(await shard.event(*_back()))


async def test_a_redial_of_the_other_call_is_found(merging: Shard) -> None:
    await merging.event(*e.invite(invite_id="2"))
    merged = _of(await merging.event(*_back()), "inviteAccepted", "9")
    assert merged.payload["into"] == "alice|2|bob"


async def test_what_a_merged_call_replaces_ends(merging: Shard) -> None:
    await e.in_order(merging, e.registered("of-carol", "carol"), e.invite(BOB, to="carol", invite_id="8"))
    told = await merging.event(*_back(replaces="bob|8|carol"))
    _is_one_call(told)
    assert e.outcome(told, "inviteRejected") == (487, "replaced")
