"""How a rule uses sippo-server's answer about a callee."""

from __future__ import annotations

import pytest

from invites.lookup.result import LookupResult, Member
from invites.store.answers import Status
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard, peer

NUMBER = "+34600"
REACHABILITY = Settings(look_up="reachability")


@pytest.fixture(params=["all", "reachability"])
async def shard(request: pytest.FixtureRequest, make_shard: MakeShard) -> Shard:
    """A shard in both modes."""
    return await make_shard(Settings(look_up=request.param))


@pytest.fixture
async def reachable(make_shard: MakeShard) -> Shard:
    """A shard that asks the Reachability service."""
    return await make_shard(REACHABILITY)


async def _kinds(shard: Shard, ref: str = "alice|1|bob") -> dict[str, str]:
    found = await shard.candidates(ref)
    return {name: f"{one['type']} {one['address']}" for name, one in found.items()}


async def test_all_that_was_found_is_a_candidate_once(shard: Shard) -> None:
    shard.found["bob"] = LookupResult(known=True, peers=("desk", "far", "a"), push=("d1", "d2", "d2"))
    told = await e.in_order(shard, e.registered("desk"), e.registered("tablet", device="d1"), e.invite())
    assert groups.rung(told) == ["desk", "far", "tablet"]
    assert await _kinds(shard) == {
        "desk": "PEER bob",
        "tablet": "PEER bob",
        "far": "PEER bob",
        "d2": "PUSH bob",
    }


async def test_a_peer_elsewhere_that_registers_here_is_rung_once(shard: Shard) -> None:
    shard.found["bob"] = LookupResult(known=True, peers=("far",))
    assert groups.rung(await shard.event(*e.invite())) == ["far"]
    assert groups.rung(await shard.event(*e.registered("far"))) == []
    assert e.outcome(await shard.event(*e.disconnected("far")), "inviteRejected") == (480, "unreachable")


async def test_a_peer_elsewhere_that_went_after_the_invite_is_not_rung(shard: Shard) -> None:
    shard.found["bob"] = LookupResult(known=True, peers=("far", "near"))
    asked = await shard.publish(*e.invite())
    await shard.event(*e.disconnected("far"))
    await shard.settle(asked)
    assert groups.rung(await shard.told()) == ["near"]


async def test_a_peer_elsewhere_that_went_before_the_invite_is_there_again(shard: Shard) -> None:
    shard.found["bob"] = LookupResult(known=True, peers=("far",))
    assert groups.rung(await e.in_order(shard, e.registered("far"), e.disconnected("far"), e.invite())) == [
        "far"
    ]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (LookupResult(), (404, "not_found")),
        (LookupResult(known=True), (480, "unreachable")),
        (LookupResult(failed=True), (500, "internal")),
        (LookupResult(known=True, members=[]), (480, "unreachable")),
        (LookupResult(known=True, members=[Member("alice")]), (480, "unreachable")),
        (LookupResult(known=True, members=[Member("bob", failed=True)]), (500, "internal")),
        (
            LookupResult(known=True, members=[Member("bob"), Member("carol", failed=True)]),
            (480, "unreachable"),
        ),
    ],
)
async def test_with_nobody_to_ring_the_outcome_says_why(
    shard: Shard, found: LookupResult, said: tuple[int, str]
) -> None:
    shard.found["team"] = found
    assert e.outcome(await shard.event(*e.invite(to="team")), "inviteRejected") == said


async def test_a_callee_who_is_here_rings_whatever_else_failed(shard: Shard) -> None:
    shard.found["bob"] = LookupResult(failed=True)
    assert groups.rung(await e.in_order(shard, e.registered("phone"), e.invite())) == ["phone"]


async def test_the_number_of_a_callee_is_called_beside_its_devices(shard: Shard) -> None:
    shard.found["bob"] = LookupResult(known=True, phone=NUMBER)
    await e.in_order(shard, e.trunk("bobs", "bob"), e.trunk("spain", r"\+34\d+"), e.registered("phone"))
    assert groups.rung(await shard.event(*e.invite())) == ["phone", "spain"]
    assert (await _kinds(shard))["spain"] == f"PSTN {NUMBER}"


async def test_the_inviting_trunk_does_not_call_a_number_back(shard: Shard) -> None:
    shard.found["bob"] = LookupResult(known=True, phone=NUMBER)
    told = await e.in_order(shard, e.trunk("spain", r"\+34\d+"), e.invite(peer("spain", "sip")))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


@pytest.mark.parametrize(
    ("found", "called"),
    [
        (LookupResult(), False),
        (LookupResult(known=True), False),
        (LookupResult(failed=True), True),
        (LookupResult(phone="bob"), True),
    ],
)
async def test_the_service_says_who_is_a_number_as_long_as_it_answers(
    reachable: Shard, found: LookupResult, *, called: bool
) -> None:
    reachable.found["bob"] = found
    told = await e.in_order(reachable, e.trunk("any"), e.invite())
    assert groups.rung(told) == (["any"] if called else [])


async def test_members_are_called_over_a_trunk_only_where_they_are_numbers(reachable: Shard) -> None:
    members = [Member("bob"), Member(NUMBER, phone=True), Member("carol")]
    reachable.found["team"] = LookupResult(known=True, members=members)
    told = await e.in_order(reachable, e.trunk("any"), e.registered("c", "carol"), e.invite(to="team"))
    assert groups.rung(told) == ["any", "c"]
    assert await _kinds(reachable, f"alice|1|{NUMBER}") == {"any": f"PSTN {NUMBER}"}


@pytest.mark.one_shard
async def test_members_trunks_are_chosen_anew_when_the_trunks_have_changed(shard: Shard) -> None:
    shard.found["team"] = LookupResult(known=True, members=[Member(NUMBER, phone=True)])
    await e.in_order(shard, e.trunk("old"), e.invite(to="team", invite_id="0"))
    operation = await shard.publish(*e.invite(to="team"))
    [needs] = (await shard.committer.commit([operation])).outcomes
    completed = await shard.resolver.complete(operation, needs)
    await e.in_order(shard, e.disconnected("old", "sip"), e.trunk("new"))
    [refused] = (await shard.committer.commit([completed])).outcomes
    assert (refused.status, refused.detail) == (Status.NEEDS, "trunks")
    await shard.told()
    await shard.settle(await shard.resolver.complete(completed, refused))
    assert groups.rung(await shard.told()) == ["new"]


async def test_a_look_up_that_takes_longer_than_the_ring_time_rings_nobody(shard: Shard) -> None:
    shard.found["bob"] = LookupResult(known=True, push=("d1",))
    asked = await shard.publish(*e.invite())
    await e.later(shard, e.RING)
    await shard.settle(asked)
    assert e.outcome(await shard.told(), "inviteRejected") == (408, "timeout")
