"""Limits on what one user may have at the same time: `invites.limits`."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard, of_type, peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from tests.support.shard import Json, Notification

_OF_LIMITS = ("invite_refused", "device_dropped")
ALICE, CAROL = e.ALICE, peer("c", "carol")


async def _invite(shard: Shard, number: int, by: Json = ALICE, to: str = "bob") -> list[Notification]:
    return await shard.event(*e.invite(by=by, to=to, invite_id=str(number)))


def _refused(told: Sequence[Notification]) -> bool:
    """Whether the invite ended as too many, and rang nobody."""
    if not of_type(told, "inviteRejected"):
        return False
    assert e.outcome(told, "inviteRejected") == (403, "too_many")
    assert e.one(told, "INVITE_COMPLETED").payload["error"] == 403
    assert e.types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    return True


@pytest.fixture
async def narrow(make_shard: MakeShard) -> Shard:
    """A shard with low limits, and Bob's phone."""
    settings = Settings(per_pair=2, per_callee=3, per_caller=4, devices_per_user=2, redial="ring")
    shard = await make_shard(settings)
    await shard.event(*e.registered("phone"))
    return shard


async def test_an_inviter_may_have_so_many_invites_to_one_callee(narrow: Shard) -> None:
    assert [_refused(await _invite(narrow, number)) for number in range(4)] == [False, False, True, True]
    assert not _refused(await _invite(narrow, 5, CAROL))


async def test_what_has_ended_does_not_count(narrow: Shard) -> None:
    await _invite(narrow, 0)
    await _invite(narrow, 1)
    await narrow.event(*e.stop(invite_id="0"))
    assert not _refused(await _invite(narrow, 2))


async def test_a_repeat_is_no_further_invite(narrow: Shard) -> None:
    await _invite(narrow, 0)
    await _invite(narrow, 1)
    assert e.types(await _invite(narrow, 1)) == ["inviteProgress"]


async def test_a_refused_invite_repeats_its_outcome(narrow: Shard) -> None:
    for number in range(3):
        await _invite(narrow, number)
    told = await _invite(narrow, 2)
    assert e.types(told) == ["inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (403, "too_many")


async def test_a_callee_may_have_so_many_invites(narrow: Shard) -> None:
    callers = [ALICE, ALICE, CAROL, peer("d", "dave")]
    assert [_refused(await _invite(narrow, number, by)) for number, by in enumerate(callers)] == [
        False, False, False, True,
    ]  # fmt: skip


async def test_a_caller_may_have_so_many_invites(narrow: Shard) -> None:
    callees = [f"u{number}" for number in range(6)]
    await e.in_order(narrow, *(e.registered(f"of-{callee}", callee) for callee in callees))
    ended = []
    for callee in callees:
        told = await _invite(narrow, 0, to=callee)
        ended += [one.payload["reason"] for one in of_type(told, "inviteRejected")]
        if ended:
            # In another shard than the caller's the devices have begun to ring, and stop at once.
            assert {
                (one.payload["code"], one.payload["reason"]) for one in of_type(told, "invitationCancel")
            } <= {(403, "too_many")}
    assert ended == ["too_many"] * 2
    await narrow.event(*e.stop(callee="u0", invite_id="0"))
    assert e.recipients(await _invite(narrow, 1, to="u5"), "invitation") == {"of-u5"}


async def test_a_trunk_calls_for_many(narrow: Shard) -> None:
    await narrow.event(*e.trunk("t"))
    callees = [f"u{number}" for number in range(6)]
    await e.in_order(narrow, *(e.registered(f"of-{callee}", callee) for callee in callees))
    told = [await _invite(narrow, 0, peer("t", "sip"), to=callee) for callee in callees]
    assert all(of_type(one, "invitation") for one in told)


async def test_a_trunk_calls_one_callee_for_many(narrow: Shard) -> None:
    """Its user is the inviter of all who call from the phone network."""
    await narrow.event(*e.trunk("t"))
    told = [await _invite(narrow, number, peer("t", "sip")) for number in range(4)]
    assert [_refused(each) for each in told] == [False, False, False, True], "only perCallee counts"


async def test_a_trunk_calls_a_member_for_many(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(per_pair=1, look_up="all"))
    groups.team(shard, "bob")
    await e.in_order(shard, e.registered("phone"), e.trunk("t"))
    for number in range(2):
        told = await _invite(shard, number, peer("t", "sip"), to="team")
        assert e.recipients(told, "invitation") == {"phone"}


async def test_calls_that_a_trunk_carries_are_not_its_users_own(narrow: Shard) -> None:
    await e.in_order(narrow, e.trunk("t", user="bob"), e.unregistered("phone"))
    for number in range(5):
        assert of_type(await _invite(narrow, number, to=f"+4930{number}"), "invitation") or number >= 4
    await narrow.event(*e.registered("phone"))
    assert not _refused(await _invite(narrow, 9, CAROL))


async def test_names_that_look_like_patterns_count_for_themselves(narrow: Shard) -> None:
    await e.in_order(narrow, e.registered("star", "*"), e.registered("other", "b*"))
    stars = peer("s", "*")
    assert [_refused(await _invite(narrow, number, stars, "b*")) for number in range(3)] == [
        False,
        False,
        True,
    ]
    assert not _refused(await _invite(narrow, 3, peer("x", "?"), "b*"))


async def test_0_switches_a_limit_off(make_shard: MakeShard) -> None:
    shard = await make_shard(
        Settings(per_pair=0, per_callee=0, per_caller=0, devices_per_user=0, redial="ring")
    )
    await e.in_order(shard, *(e.registered(f"p{number}") for number in range(120)))
    for number in range(30):
        assert not _refused(await _invite(shard, number))
    assert await shard.client.hlen(shard.keys.registry("bob")) == 120


async def test_a_member_with_too_many_invites_is_left_out_of_a_group(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="groups", per_callee=1))
    groups.team(shard, "bob", "dave")
    await e.in_order(shard, e.registered("phone"), e.registered("desk", "dave"))
    await _invite(shard, 0, CAROL)
    told = await _invite(shard, 1, to="team")
    assert groups.rung(told) == ["desk"]
    told = await shard.event(*e.decline("desk", "dave", invite_id="1", errorCode=480))
    record = e.one(told, "INVITE_COMPLETED").payload
    reasons = {one["address"]: one["endReason"] for one in record["candidates"]}
    assert reasons == {"bob": 403, "dave": 480}


async def test_a_user_with_too_many_devices_loses_the_one_unseen_longest(narrow: Shard) -> None:
    await e.in_order(narrow, e.registered("tablet"), e.registered("phone"))
    await _invite(narrow, 1)
    told = await narrow.event(*e.registered("watch"))
    assert {name.decode() for name in await narrow.client.hkeys(narrow.keys.registry("bob"))} == {
        "phone",
        "watch",
    }
    assert (await e.states(narrow))["tablet"] == "GONE"
    assert e.recipients(told, "invitation") == {"watch"}


async def test_a_device_under_a_new_peer_id_is_no_further_device(narrow: Shard) -> None:
    await e.in_order(narrow, e.registered("tablet", device="T"), e.registered("tablet-2", device="T"))
    assert {name.decode() for name in await narrow.client.hkeys(narrow.keys.registry("bob"))} == {
        "phone",
        "tablet-2",
    }


async def test_a_device_that_makes_room_stops_ringing_and_the_new_one_rings(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(devices_per_user=1, remove_after=5_000))
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.registered("tablet"))
    assert e.recipients(told, "invitation") == {"tablet"}
    assert e.recipients(told, "invitationCancel") == {"phone"}
    assert e.outcome(told, "invitationCancel") == (480, "unreachable")
    assert await e.states(shard) == {"phone": "GONE", "tablet": "CALLED"}


async def test_a_device_that_makes_room_has_its_grace_as_a_caller(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(devices_per_user=1))
    await e.in_order(shard, e.registered("c", "carol"), e.registered("phone"))
    await shard.event(*e.invite(by=peer("phone", "bob"), to="carol"))
    assert e.types(await shard.event(*e.registered("tablet"))) == []
    told = await e.later(shard, Settings().caller_grace)
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")


@pytest.mark.one_shard
async def test_a_call_that_ends_by_the_registration_that_drops_its_caller_waits_for_nobody(
    make_shard: MakeShard,
) -> None:
    shard = await make_shard(Settings(devices_per_user=1))
    await e.in_order(shard, e.registered("phone"), e.registered("c", "carol"), e.invite(by=CAROL))
    told = await shard.event(*e.registered("phone", "carol"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert await shard.client.zscore(shard.keys.timers, "caller|carol|c") is None


async def test_the_devices_that_were_renewed_last_stay_in_any_order(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(devices_per_user=2))
    for number, order in enumerate(permutations(("phone", "tablet", "watch"))):
        user = f"u{number}"
        names = [f"{user}-{name}" for name in ("phone", "tablet", "watch")]
        settled = [("phone", "tablet", "watch").index(name) for name in order]
        await e.arriving(shard, [e.registered(name, user) for name in names], settled)
        assert e.recipients(await shard.event(*e.invite(to=user)), "invitation") == set(names[1:]), order


async def test_a_trunk_that_becomes_a_device_counts(narrow: Shard) -> None:
    await e.in_order(narrow, e.registered("tablet"), e.trunk("watch", user="bob"), e.registered("watch"))
    assert e.recipients(await narrow.event(*e.invite()), "invitation") == {"tablet", "watch"}


async def test_limits_are_reported(client: Redis) -> None:
    shard = await Shard.make(
        client, Settings(redial="ring", per_pair=1, per_callee=2, per_caller=2, devices_per_user=1)
    )
    reported = []
    for event in (
        e.registered("phone"),
        e.registered("desk"),
        e.invite(invite_id="1"),
        e.invite(invite_id="2"),
        e.invite(by=CAROL),
        e.invite(by=peer("d", "dave")),
        e.registered("tablet", "erin"),
        e.registered("watch", "frank"),
        e.invite(to="erin"),
        e.invite(to="frank"),
    ):
        await shard.event(*event)
        reported += [fact for one in shard.outcomes for fact in one.facts if fact[0] in _OF_LIMITS]
    assert reported == [
        ("device_dropped", "devicesPerUser", "bob", "phone"),
        ("invite_refused", "perPair", "alice", "bob"),
        ("invite_refused", "perCallee", "dave", "bob"),
        ("invite_refused", "perCaller", "alice", "frank"),
    ]


@pytest.mark.one_shard
async def test_a_user_who_is_called_all_day_keeps_few_ended_calls(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    for number in range(60):
        await _invite(shard, number)
        await shard.event(*e.stop(invite_id=str(number)))
        shard.now += 7_001
    kept = await shard.client.zcard(shard.keys.base + "ended:bob")
    assert 1 < kept <= Settings().retain_after // 7_001 + 9
