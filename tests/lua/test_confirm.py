"""A trunk with `confirm` wins once its accept is confirmed: a mailbox that picks up first does not."""

import pytest

from invites.lookup.result import LookupResult
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import Json, MakeShard, Shard, of_type, peer

NUMBER = "+4930123456"
PICKED_UP = e.accept("gw", "sip", to="bob")
CONFIRMED = e.accept("gw", "sip", to="bob", confirmed=True)


@pytest.fixture
async def rings(make_shard: MakeShard) -> Shard:
    """Bob's phone rings over a trunk with `confirm`, and so does his tablet."""
    shard = await make_shard(Settings(look_up="reachability", remove_after=5_000))
    shard.found["bob"] = LookupResult(known=True, phone=NUMBER)
    await e.in_order(shard, e.trunk("gw", confirm=True), e.registered("tablet"), e.invite())
    return shard


async def test_who_picks_up_is_asked_to_confirm_and_all_ring_on(rings: Shard) -> None:
    kind, payload = PICKED_UP
    told = await rings.event(kind, payload | {"transaction": "t"})
    answer = e.one(told, "answer")
    assert e.types(told) == ["answer"]
    assert (answer.peers, answer.users) == (["gw"], ["sip"])
    assert answer.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "request": "accept", "transaction": "t", "code": 202,
        "reason": "confirm",
    }  # fmt: skip
    assert await e.states(rings) == {"gw": "CALLED", "tablet": "CALLED"}


async def test_who_confirms_wins(rings: Shard) -> None:
    await rings.event(*PICKED_UP)
    told = await rings.event(*CONFIRMED)
    assert e.outcome(told, "answer") == (200, "accepted")
    assert e.recipients(told, "invitationCancel") == {"tablet"}
    assert e.one(told, "inviteAccepted").payload["peer"] == "gw"
    assert e.outcome(await rings.event(*CONFIRMED), "answer") == (200, "accepted")


async def test_who_confirms_at_once_wins(rings: Shard) -> None:
    assert e.outcome(await rings.event(*CONFIRMED), "answer") == (200, "accepted")


@pytest.mark.parametrize("more", [{}, {"confirmed": False}, {"confirmed": None}])
async def test_an_accept_again_is_answered_again(rings: Shard, more: Json) -> None:
    told = await e.in_order(rings, PICKED_UP, e.accept("gw", "sip", to="bob", **more))
    assert [one.payload["code"] for one in told] == [202, 202]


async def test_a_decline_in_between_counts(rings: Shard) -> None:
    await e.in_order(rings, PICKED_UP, e.decline("gw", "sip", to="bob", errorCode=486))
    assert await e.states(rings) == {"gw": "DECLINED", "tablet": "CALLED"}
    told = await rings.event(*e.decline("tablet", errorCode=486))
    assert e.outcome(told, "inviteRejected") == (486, "busy")


async def test_a_loss_in_between_counts(rings: Shard) -> None:
    await e.in_order(rings, PICKED_UP, e.disconnected("gw", "sip"))
    assert await e.states(rings) == {"gw": "AWAY", "tablet": "CALLED"}
    await e.later(rings, 5_000)
    assert await e.states(rings) == {"gw": "GONE", "tablet": "CALLED"}


@pytest.mark.parametrize(
    "event", [e.decline("gw", "sip", to="bob", errorCode=503), e.disconnected("gw", "sip")]
)
async def test_a_failure_in_between_calls_the_next_trunk(make_shard: MakeShard, event: e.Published) -> None:
    shard = await make_shard()
    told = await e.in_order(
        shard, e.trunk("gw", "bob", confirm=True), e.trunk("gw2"), e.invite(), PICKED_UP, event
    )
    assert [one.peers for one in of_type(told, "invitation")] == [["gw"], ["gw2"]]
    assert e.outcome(await shard.event(*e.accept("gw2", "sip", to="bob")), "answer") == (200, "accepted")


async def test_another_device_that_accepts_in_between_wins(rings: Shard) -> None:
    await rings.event(*PICKED_UP)
    told = await rings.event(*e.accept("tablet"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert e.recipients(told, "invitationCancel") == {"gw"}
    for late in (PICKED_UP, CONFIRMED):
        told = await rings.event(*late)
        assert e.outcome(told, "answer") == (410, "accepted")
        assert e.one(told, "answer").payload["whoAccepted"] == "bob"


@pytest.mark.parametrize("late", [PICKED_UP, CONFIRMED], ids=["picked-up", "confirmed"])
async def test_after_the_end_it_is_too_late(rings: Shard, late: e.Published) -> None:
    told = await e.in_order(rings, PICKED_UP, e.stop())
    assert e.recipients(told, "invitationCancel") == {"gw", "tablet"}
    assert e.outcome(await rings.event(*late), "answer") == (410, "cancelled")


async def test_the_deadline_does_not_wait(rings: Shard) -> None:
    await rings.event(*PICKED_UP)
    told = await e.later(rings, e.RING)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")


async def test_a_confirmation_may_overtake(rings: Shard) -> None:
    told = await e.arriving(rings, [PICKED_UP, CONFIRMED], [1, 0])
    assert [one.payload["code"] for one in of_type(told, "answer")] == [200, 200]


async def test_the_gateway_may_confirm_under_another_peer_id(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.trunk("gw", confirm=True, device="box"), e.invite(), PICKED_UP)
    await e.in_order(shard, e.disconnected("gw", "sip"), e.trunk("gw2", confirm=True, device="box"))
    picked_up, confirmed = (e.accept("gw2", "sip", to="bob", confirmed=each) for each in (False, True))
    assert e.outcome(await shard.event(*picked_up), "answer") == (202, "confirm")
    assert e.outcome(await shard.event(*confirmed), "answer") == (200, "accepted")


async def test_others_need_not_confirm(rings: Shard) -> None:
    assert e.outcome(await rings.event(*e.accept("tablet", confirmed=False)), "answer") == (200, "accepted")


async def test_what_was_asked_when_it_was_rung_counts(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("gw", confirm=True), e.invite(), e.trunk("gw"))
    assert e.outcome(await shard.event(*PICKED_UP), "answer") == (202, "confirm")


async def test_a_call_to_the_phone_network_first(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True))
    await e.in_order(shard, e.trunk("gw", confirm=True), e.registered("tablet"), e.invite())
    assert e.types(await shard.event(*PICKED_UP)) == ["answer"]
    back = e.invite(by=peer("gw", "sip"), to="bob", invite_id="leg", returnOf=e.REF)
    assert e.recipients(await shard.event(*back), "invitation") == {"tablet"}
    assert e.recipients(await shard.event(*CONFIRMED), "invitationCancel") == {"tablet"}


# --- legs


@pytest.fixture
async def member(home: Shard) -> Shard:
    """A group in which a member is a number that a trunk with `confirm` leads to; Alice calls it."""
    groups.last_member_is(home, NUMBER)
    await e.in_order(home, e.trunk("gw", r"\+49\d+", confirm=True), e.invite(to="team"))
    return home


async def test_a_members_trunk_confirms(member: Shard) -> None:
    told = await member.event(*e.accept("gw", "sip", to=NUMBER))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (202, "confirm")
    told = await member.event(*e.accept("gw", "sip", to=NUMBER, confirmed=True))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == NUMBER


async def test_another_member_that_accepts_in_between_wins(member: Shard) -> None:
    await member.event(*e.accept("gw", "sip", to=NUMBER))
    told = await member.event(*e.accept("carol-phone", "carol"))
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "carol"
    late = await member.event(*e.accept("gw", "sip", to=NUMBER, confirmed=True))
    assert e.outcome(late, "answer") == (410, "accepted")
