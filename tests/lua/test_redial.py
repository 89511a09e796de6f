"""Calling again: an invite replaces earlier ones of its inviter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard, of_type, peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.shard import Json, Notification

SECOND = "alice|2|bob"
END = (487, "replaced")


@pytest.fixture
async def ringing(shard: Shard) -> Shard:
    """A shard in which Alice calls Bob."""
    await e.bob_rings(shard, "phone", "tablet")
    return shard


@dataclass(frozen=True)
class Heard:
    """The notifications about one invite."""

    told: Sequence[Notification]
    invite_id: str

    def of(self, kind: str) -> list[Notification]:
        return [each for each in of_type(self.told, kind) if each.payload["inviteId"] == self.invite_id]


def _is_replaced(told: Sequence[Notification], invite_id: str = "1") -> bool:
    """Whether the invite ends as replaced, for everybody."""
    heard = Heard(told, invite_id)
    ends = [*heard.of("inviteRejected"), *heard.of("invitationCancel")]
    assert {(one.payload["code"], one.payload["reason"]) for one in ends} <= {END}
    records = heard.of("INVITE_COMPLETED")
    assert len(records) == len(heard.of("inviteRejected"))
    assert all(
        (one.payload["state"], one.payload["error"]) == ("DECLINED_BY_CREATOR", 487) for one in records
    )
    return bool(records)


async def test_the_same_device_replaces_its_call(ringing: Shard) -> None:
    told = await ringing.event(*e.invite(invite_id="2"))
    new, old = e.one(told, "invitation"), e.one(told, "invitationCancel")
    assert set(new.peers) == set(old.peers) == {"phone", "tablet"}
    assert new.payload["replaces"] == e.REF
    assert told.index(new) < told.index(old)
    assert _is_replaced(told)
    assert e.recipients(told, "inviteRejected") == {"a"}
    assert (await ringing.invite(e.REF))["reason"] == "replaced"
    assert (await ringing.invite(SECOND))["state"] == "PENDING"


async def test_the_new_call_is_accepted_and_the_old_one_is_over(ringing: Shard) -> None:
    await ringing.event(*e.invite(invite_id="2"))
    assert e.outcome(await ringing.event(*e.accept("phone")), "answer") == (410, "replaced")
    assert e.outcome(await ringing.event(*e.accept("phone", invite_id="2")), "answer") == (200, "accepted")
    assert e.outcome(await ringing.event(*e.stop()), "answer") == (410, "replaced")


async def test_an_ordinary_invitation_replaces_nothing(shard: Shard) -> None:
    assert "replaces" not in e.one(await e.bob_rings(shard, "phone"), "invitation").payload


@pytest.mark.parametrize(
    ("first", "second", "replaces"),
    [
        (peer("a", "alice"), peer("a2", "alice"), False),
        (peer("a", "alice", "desk"), peer("a2", "alice", "desk"), True),
        (peer("a", "alice", "desk"), peer("a2", "alice", "car"), False),
        (peer("a", "alice", "desk"), peer("a", "alice"), True),
        (peer("a", "alice"), peer("a", "anna"), False),
    ],
)
async def test_what_the_same_device_is(shard: Shard, first: Json, second: Json, replaces: bool) -> None:
    await e.bob_rings(shard, "phone", by=first)
    told = await shard.event(*e.invite(second, invite_id="2"))
    assert _is_replaced(told) is replaces
    if replaces:
        assert e.recipients(told, "inviteRejected") == {second["id"]}


async def test_a_call_that_has_moved_is_its_new_peers(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("a", "alice", device="desk"), e.invite())
    await shard.event(*e.registered("a2", "alice", device="desk"))
    assert _is_replaced(await shard.event(*e.invite(peer("a2", "alice"), invite_id="2")))


async def test_a_trunk_calls_for_many_and_replaces_nothing(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.registered("phone"), e.invite(peer("t", "sip")))
    assert not _is_replaced(await shard.event(*e.invite(peer("t", "sip"), invite_id="2")))


async def test_another_callee_is_no_redial(ringing: Shard) -> None:
    await ringing.event(*e.registered("of-carol", "carol"))
    assert not _is_replaced(await ringing.event(*e.invite(to="carol", invite_id="2")))


async def test_both_ring_with_redial_ring(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(redial="ring"))
    await e.bob_rings(shard, "phone")
    assert not _is_replaced(await shard.event(*e.invite(invite_id="2")))
    told = await shard.event(*e.invite(invite_id="3", replaces=e.REF))
    assert _is_replaced(told)
    assert not _is_replaced(told, "2")


async def test_a_call_to_somebody_else_replaces_what_it_names(ringing: Shard) -> None:
    await ringing.event(*e.registered("of-carol", "carol"))
    told = await ringing.event(*e.invite(peer("a2", "alice"), to="carol", invite_id="2", replaces=e.REF))
    assert _is_replaced(told)
    assert e.one(told, "invitation").payload["replaces"] == e.REF
    assert e.recipients(told, "inviteRejected") == {"a"}


async def test_a_gateway_that_rings_for_both_hears_the_new_one_first(shard: Shard) -> None:
    await shard.event(*e.trunk("t"))
    await shard.event(*e.invite(to="001"))
    told = await shard.event(*e.invite(to="002", invite_id="2", replaces="alice|1|001"))
    new, old = e.one(told, "invitation"), e.one(told, "invitationCancel")
    assert (new.peers, old.peers) == (["t"], ["t"])
    assert told.index(new) < told.index(old)


async def test_anothers_call_is_not_replaced(ringing: Shard) -> None:
    told = await ringing.event(*e.invite(peer("c", "carol"), invite_id="2", replaces=e.REF))
    assert not _is_replaced(told)
    assert "replaces" not in e.one(told, "invitation").payload


async def test_a_call_that_was_accepted_is_not_replaced_and_the_new_one_rings(ringing: Shard) -> None:
    await ringing.event(*e.accept("phone"))
    told = await ringing.event(*e.invite(invite_id="2", replaces=e.REF))
    assert not _is_replaced(told)
    assert e.recipients(told, "invitation") == {"phone", "tablet"}


async def test_a_repeat_replaces_nothing(ringing: Shard) -> None:
    await ringing.event(*e.registered("of-carol", "carol"))
    await ringing.event(*e.invite(to="carol", invite_id="2"))
    assert not _is_replaced(await ringing.event(*e.invite(to="carol", invite_id="2", replaces=e.REF)))


async def test_a_replaced_call_repeats_its_outcome(ringing: Shard) -> None:
    await ringing.event(*e.invite(invite_id="2"))
    told = await ringing.event(*e.invite())
    assert e.types(told) == ["inviteRejected"]
    assert e.outcome(told, "inviteRejected") == END


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
async def test_the_last_of_three_calls_rings_in_whatever_order_they_are_settled(
    make_shard: MakeShard, order: tuple[int, ...]
) -> None:
    shard = await make_shard()
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(invite_id=str(number)) for number in range(3)], order)
    assert [_is_replaced(told, str(number)) for number in range(3)] == [True, True, False]
    assert (await shard.invite("alice|2|bob"))["state"] == "PENDING"
    assert e.types(told).count("INVITE_COMPLETED") == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_named_call_may_come_late(shard: Shard, order: tuple[int, ...]) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("of-carol", "carol"))
    calls = [e.invite(), e.invite(to="carol", invite_id="2", replaces=e.REF)]
    assert _is_replaced(await e.arriving(shard, calls, order))
    assert (await shard.invite("alice|2|carol"))["state"] == "PENDING"


async def test_a_call_that_reaches_nobody_replaces_all_the_same(ringing: Shard) -> None:
    told = await ringing.event(*e.invite(to="nobody", invite_id="2", replaces=e.REF))
    assert _is_replaced(told)
    rejected = Heard(told, "2").of("inviteRejected")
    assert [one.payload["code"] for one in rejected] == [404]


async def test_what_was_replaced_counts_for_a_while(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(per_pair=3))
    await e.bob_rings(shard, "phone", invite_id="0")
    for number in (1, 2):
        assert _is_replaced(await shard.event(*e.invite(invite_id=str(number))), str(number - 1))
    told = await shard.event(*e.invite(invite_id="3"))
    assert e.outcome(told, "inviteRejected") == (403, "too_many")
    await shard.event(*e.stop(invite_id="2"))
    assert not of_type(await shard.event(*e.invite(invite_id="4")), "inviteRejected")
    assert e.outcome(await shard.event(*e.invite(invite_id="5")), "inviteRejected") == (403, "too_many")
    await e.later(shard, 10_000)
    assert _is_replaced(await shard.event(*e.invite(invite_id="6")), "4")


async def test_a_redial_is_no_further_call_for_the_callee_and_the_caller(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(per_callee=1, per_caller=1))
    await e.bob_rings(shard, "phone")
    assert _is_replaced(await shard.event(*e.invite(invite_id="2")))
    assert (await shard.invite(SECOND))["state"] == "PENDING"


async def test_a_request_replaces_a_request(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request())
    assert not _is_replaced(await shard.event(*e.invite(invite_id="2")))
    assert _is_replaced(await shard.event(*e.request(invite_id="3")))
    told = await shard.event(*e.invite(peer("phone", "bob"), to="alice", invite_id="9", requestId="1"))
    assert e.outcome(told, "inviteRejected") == (410, "cancelled")


async def test_answers_to_requests_ring_side_by_side(shard: Shard) -> None:
    guests = [peer(f"g{number}", "guest") for number in (1, 2)]
    await e.in_order(shard, e.registered("phone"), *(e.request(one, invite_id=one["id"]) for one in guests))
    for one in guests:
        answer = e.invite(peer("phone", "bob"), to="guest", invite_id=f"to-{one['id']}", requestId=one["id"])
        told = await shard.event(*answer)
        assert e.recipients(told, "invitation") == {one["id"]}
        assert not of_type(told, "inviteRejected")


async def test_a_call_on_the_phone_network_is_replaced_there(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True))
    await e.in_order(shard, e.trunk("t"), e.invite())
    told = await shard.event(*e.invite(invite_id="2"))
    assert _is_replaced(told)
    assert e.recipients(told, "invitationCancel") == {"t"}


def _each_hears_the_new_call_first(told: Sequence[Notification], devices: set[str]) -> bool:
    first: dict[tuple[str, str], int] = {}
    for at, one in enumerate(told):
        if one.type in {"invitation", "invitationCancel"}:
            for device in one.peers:
                first.setdefault((device, one.type), at)
    return all(first[device, "invitation"] < first[device, "invitationCancel"] for device in devices)


@pytest.mark.parametrize("sequential", [False, True])
async def test_a_group_is_called_again(home: Shard, sequential: bool) -> None:
    groups.team(home, "bob", "carol", "dave", sequential=sequential)
    await home.event(*e.invite(to="team"))
    told = await home.event(*e.invite(to="team", invite_id="2"))
    rung = {"bob-phone", "bob-desk"} if sequential else {"bob-phone", "bob-desk", "carol-phone"}
    assert _is_replaced(told)
    assert set(groups.rung(told)) == set(groups.stopped(told)) == rung
    assert _each_hears_the_new_call_first(told, rung)
    assert {one.payload["replaces"] for one in of_type(told, "invitation")} == {groups.TEAM}
    assert "RINGING" not in (await groups.legs(home)).values()


async def test_a_group_of_which_a_member_has_accepted_is_called_again(called: Shard) -> None:
    await called.event(*e.invite(to="team", invite_id="2", ringMode="all"))
    await called.event(*e.accept("carol-phone", "carol", invite_id="2"))
    told = await called.event(*e.invite(to="team", invite_id="3"))
    assert set(groups.stopped(told)) == {"bob-phone", "bob-desk"}


async def test_a_large_group_rings_on_without_a_gap(make_shard: MakeShard) -> None:
    shard = await make_shard(groups.GROUPS)
    members = [f"m{number}" for number in range(45)]
    groups.team(shard, *members)
    await e.in_order(shard, *(e.registered(f"of-{member}", member) for member in members))
    await shard.event(*e.invite(to="team"))
    await shard.fire()
    told = await shard.event(*e.invite(to="team", invite_id="2"))
    told += await shard.fire()
    devices = {f"of-{member}" for member in members}
    assert _is_replaced(told)
    assert set(groups.rung(told)) == set(groups.stopped(told)) == devices
    assert _each_hears_the_new_call_first(told, devices)


async def test_a_group_call_gives_way_to_a_member_alone_and_back(called: Shard) -> None:
    told = await called.event(*e.invite(to="bob", invite_id="2", replaces=groups.TEAM))
    assert _is_replaced(told)
    assert set(groups.stopped(told)) == {"bob-phone", "bob-desk", "carol-phone"}
    assert _each_hears_the_new_call_first(told, {"bob-phone", "bob-desk"})
    told = await called.event(*e.invite(to="team", invite_id="3", replaces=SECOND))
    assert _is_replaced(told, "2")
    assert _each_hears_the_new_call_first(told, {"bob-phone", "bob-desk"})


async def test_a_leg_is_no_call_of_its_own(called: Shard) -> None:
    told = await called.event(*e.invite(to="carol", invite_id="2", replaces=e.REF))
    assert not _is_replaced(told)
    assert set((await groups.legs(called)).values()) == {"RINGING", "OVER"}
