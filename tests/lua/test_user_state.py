"""userState: nothing rings for a user who does not want it, or who has blocked the inviter."""

import pytest

from invites.store.answers import Status
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard, of_type, peer

DND = e.user_state(dnd=True)
HOUR = 3_600_000


async def _is_rung(shard: Shard, event: e.Published | None = None) -> bool:
    """Whether a call of Alice, or another one, rings Bob's phone; it is stopped again."""
    told = await shard.event(*(event or e.invite()))
    await shard.event(*e.stop())
    return "invitation" in e.types(told)


@pytest.fixture
async def at_home(shard: Shard) -> Shard:
    """A shard in which Bob has a phone."""
    await shard.event(*e.registered("phone"))
    return shard


async def test_nothing_rings_for_a_user_who_wants_quiet(at_home: Shard) -> None:
    assert await at_home.event(*DND) == []
    told = await at_home.event(*e.invite())
    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["candidates"]) == ("DECLINED", 480, [])


async def test_a_request_does_not_ring_either(at_home: Shard) -> None:
    told = await e.in_order(at_home, DND, e.request())
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_a_blocked_inviter_hears_the_same_and_others_ring(at_home: Shard) -> None:
    await at_home.event(*e.user_state(block=["mallory", "alice"]))
    told = await at_home.event(*e.invite())
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    told = await at_home.event(*e.invite(by=peer("c", "carol")))
    assert e.recipients(told, "invitation") == {"phone"}


@pytest.mark.parametrize("user", ["ali", "lice", "alice2", "ALICE", 'al"ice', "al.ce", "al%ace"])
async def test_only_the_very_user_is_blocked(at_home: Shard, user: str) -> None:
    await at_home.event(*e.user_state(block=[user, "x"]))
    assert await _is_rung(at_home)
    assert not await _is_rung(at_home, e.invite(by=peer("m", user), invite_id="2"))


async def test_each_event_has_the_whole_state(at_home: Shard) -> None:
    await e.in_order(at_home, DND, e.user_state(block=["alice"]), e.user_state())
    assert await _is_rung(at_home)


async def test_quiet_ends_at_its_time(at_home: Shard) -> None:
    await at_home.event(*e.user_state(dnd=True, until=at_home.now + 5_000))
    await e.later(at_home, 4_999)
    assert not await _is_rung(at_home)
    await e.later(at_home, 1)
    assert await _is_rung(at_home, e.invite(invite_id="2"))


async def test_the_end_of_quiet_does_not_end_a_block(at_home: Shard) -> None:
    await at_home.event(*e.user_state(dnd=True, until=at_home.now + 5_000, block=["alice"]))
    await e.later(at_home, 2 * HOUR)
    assert not await _is_rung(at_home)
    assert await _is_rung(at_home, e.invite(by=peer("c", "carol")))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_later_entry_counts_whatever_the_order_of_arrival(
    at_home: Shard, order: tuple[int, int]
) -> None:
    await e.arriving(at_home, [DND, e.user_state()], order)
    assert await _is_rung(at_home)
    await e.arriving(at_home, [e.user_state(), DND], order)
    assert not await _is_rung(at_home, e.invite(invite_id="2"))


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        (e.user_state(), False),
        (e.user_state(dnd=True, until=1), False),
        (DND, True),
        (e.user_state(block=["alice"]), True),
        (e.user_state(dnd=True, until=2**53 - 1), True),
    ],
)
async def test_what_wants_nothing_is_forgotten_once_no_earlier_state_can_come(
    at_home: Shard, state: e.Published, kept: bool
) -> None:
    await at_home.event(*state)
    await e.later(at_home, HOUR - 1)
    assert await at_home.client.exists(at_home.keys.user_state("bob")) == 1
    await e.later(at_home, 1)
    assert await at_home.client.exists(at_home.keys.user_state("bob")) == kept


async def test_what_rings_already_goes_on(at_home: Shard) -> None:
    await at_home.event(*e.invite())
    told = await e.in_order(
        at_home, e.user_state(dnd=True, block=["alice"]), e.registered("tablet"), e.invite(context="new")
    )
    assert "invitationCancel" not in e.types(told)
    assert [one.payload["resumed"] for one in of_type(told, "invitation")] == [False, True]
    assert e.outcome(await at_home.event(*e.accept("phone")), "answer") == (200, "accepted")


async def test_who_has_asked_for_an_invite_is_rung(shard: Shard) -> None:
    """Alice asks Bob, and blocks all others, even him."""
    await e.in_order(shard, e.registered("phone"), e.registered("a", "alice"), e.request())
    await e.in_order(shard, e.accept("phone"), e.user_state("alice", dnd=True, block=["bob"]))
    told = await shard.event(*e.invite(peer("phone", "bob"), to="alice", invite_id="2", requestId="1"))
    assert e.recipients(told, "invitation") == {"a"}


@pytest.mark.one_shard
async def test_sippo_server_is_not_asked(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all"))
    for state, status in ((DND, Status.DONE), (e.user_state(), Status.NEEDS)):
        await shard.event(*state)
        operation = await shard.publish(*e.invite(invite_id=status.value))
        assert (await shard.committer.commit([operation])).outcomes[0].status is status
        await shard.settle(operation)


async def test_the_phone_network_does_not_ring(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True))
    told = await e.in_order(shard, e.trunk("gw"), DND, e.invite())
    assert "invitation" not in e.types(told)
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_a_leg_that_comes_back_meanwhile_ends_the_call(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True))
    await e.in_order(shard, e.registered("phone"), e.trunk("gw"), e.invite(), DND)
    told = await shard.event(*e.invite(peer("gw", "sip"), invite_id="2", returnOf=e.REF))
    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "invitationCancel", "inviteRejected"]
    assert e.recipients(told, "inviteRejected") == {"a", "gw"}
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert e.recipients(told, "invitationCancel") == {"gw"}
    assert await shard.client.exists(shard.keys.parallel("bob")) == 0


async def test_a_blocked_trunk_rings_nobody(at_home: Shard) -> None:
    await e.in_order(at_home, e.trunk("gw"), e.user_state(block=["sip"]))
    assert not await _is_rung(at_home, e.invite(peer("gw", "sip")))


@pytest.mark.parametrize("state", [e.user_state("bob", dnd=True), e.user_state("bob", block=["alice"])])
async def test_a_member_that_wants_quiet_is_out_of_a_call_to_the_group(
    home: Shard, state: e.Published
) -> None:
    await home.event(*state)
    told = await home.event(*e.invite(to="team"))
    assert groups.rung(told) == ["carol-phone"]
    told = await home.event(*e.accept("carol-phone", "carol", to="team"))
    assert groups.record_of(told) == {"bob": 480, "carol": 200, "dave": 480}


async def test_the_turn_of_a_member_that_wants_quiet_is_the_next_ones(make_shard: MakeShard) -> None:
    shard = await make_shard(groups.GROUPS)
    groups.team(shard, "bob", "carol", sequential=True)
    await groups.at_home(shard, "bob-phone", "carol-phone")
    told = await e.in_order(shard, e.user_state(dnd=True), e.invite(to="team"))
    assert groups.rung(told) == ["carol-phone"]


async def test_a_group_without_a_member_that_may_ring_ends(home: Shard) -> None:
    await e.in_order(home, e.user_state("bob", dnd=True), e.user_state("carol", block=["alice"]))
    told = await home.event(*e.invite(to="team"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert groups.record_of(told) == {"bob": 480, "carol": 480, "dave": 480}
