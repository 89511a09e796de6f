"""Workers overtake each other: entry ids decide, not arrival. Each history is settled in every order."""

import json
from itertools import permutations

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type

ORDERS_OF_TWO = list(permutations(range(2)))
ORDERS_OF_THREE = list(permutations(range(3)))


async def _registry(shard: Shard) -> set[str]:
    return set(await shard.hash(shard.keys.registry("bob")))


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_a_peer_that_was_lost_last_is_gone(shard: Shard, order: tuple[int, ...]) -> None:
    await e.arriving(shard, [e.registered("phone"), e.disconnected("phone")], order)
    assert await _registry(shard) == set()


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_a_peer_that_registered_last_is_there(shard: Shard, order: tuple[int, ...]) -> None:
    await e.arriving(shard, [e.disconnected("phone"), e.registered("phone")], order)
    assert await _registry(shard) == {"phone"}


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_a_peer_that_was_lost_and_came_back_is_there_with_its_last_word(
    shard: Shard, order: tuple[int, ...]
) -> None:
    events = [e.registered("phone", type="OLD"), e.disconnected("phone"), e.registered("phone", type="NEW")]
    await e.arriving(shard, events, order)
    assert '"type":"NEW"' in (await shard.hash(shard.keys.registry("bob")))["phone"]


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_the_end_of_an_older_session_is_ignored_whenever_it_comes(
    shard: Shard, order: tuple[int, ...]
) -> None:
    events = [
        e.registered("phone", session="s1"),
        e.registered("phone", session="s2"),
        e.disconnected("phone", session="s1"),
    ]
    await e.arriving(shard, events, order)
    assert await _registry(shard) == {"phone"}


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_the_end_of_the_present_session_counts_whenever_it_comes(
    shard: Shard, order: tuple[int, ...]
) -> None:
    events = [
        e.registered("phone", session="s1"),
        e.registered("phone", session="s2"),
        e.disconnected("phone", session="s2"),
    ]
    await e.arriving(shard, events, order)
    assert await _registry(shard) == set()


async def test_an_end_without_a_session_ends_any(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", session="s1"), e.disconnected("phone"))
    assert await _registry(shard) == set()


async def test_an_end_with_a_session_ends_a_registration_without_one(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.disconnected("phone", session="s1"))
    assert await _registry(shard) == set()


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_of_two_peer_ids_of_one_device_the_later_one_stays(
    shard: Shard, order: tuple[int, ...]
) -> None:
    await e.arriving(shard, [e.registered("p1", device="phone"), e.registered("p2", device="phone")], order)
    assert await _registry(shard) == {"p2"}


@pytest.mark.parametrize("trunk", [False, True])
@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_a_device_that_is_gone_is_not_back_under_a_former_peer_id(
    shard: Shard, order: tuple[int, ...], *, trunk: bool
) -> None:
    events = [
        e.registered("p1", device="phone", trunk=trunk),
        e.registered("p2", device="phone", trunk=trunk),
        e.disconnected("p2"),
    ]
    await e.arriving(shard, events, order)
    assert await _registry(shard) == set()
    assert await shard.hash(shard.keys.trunks) == {}


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_a_peer_that_another_one_of_its_new_device_has_replaced_is_gone(
    shard: Shard, order: tuple[int, ...]
) -> None:
    events = [
        e.registered("p1", device="tablet"),
        e.registered("p1", device="phone"),
        e.registered("p2", device="phone"),
    ]
    await e.arriving(shard, events, order)
    assert await _registry(shard) == {"p2"}


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_a_peer_that_is_another_device_by_then_is_not_replaced(
    shard: Shard, order: tuple[int, ...]
) -> None:
    events = [
        e.registered("p1", device="phone"),
        e.registered("p1", device="tablet"),
        e.registered("p2", device="phone"),
    ]
    await e.arriving(shard, events, order)
    assert await _registry(shard) == {"p1", "p2"}


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_a_device_that_registers_beside_an_invite_is_rung_once(
    shard: Shard, order: tuple[int, ...]
) -> None:
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(), e.registered("tablet")], order)
    rung = [peer for invitation in of_type(told, "invitation") for peer in invitation.peers]
    assert sorted(rung) == ["phone", "tablet"]


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_a_device_lost_and_back_around_an_invite_rings_in_the_end(
    make_shard: MakeShard, order: tuple[int, ...]
) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.registered("phone"), e.registered("desk"))
    await e.arriving(shard, [e.disconnected("phone"), e.registered("phone"), e.invite()], order)
    assert await e.states(shard) == {"phone": "CALLED", "desk": "CALLED"}


async def test_a_loss_that_was_overtaken_by_the_return_ends_nothing(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.registered("phone"), e.invite())
    await e.arriving(shard, [e.disconnected("phone"), e.registered("phone")], [1, 0])
    assert await e.states(shard) == {"phone": "CALLED"}
    assert await e.later(shard, 5_000) == []


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_who_joined_last_is_in_the_room(shard: Shard, order: tuple[int, ...]) -> None:
    await e.arriving(shard, [e.left("bob"), e.joined("bob")], order)
    assert set(await shard.hash(shard.keys.room_members("r"))) == {"bob"}


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_who_left_last_is_not_in_the_room(shard: Shard, order: tuple[int, ...]) -> None:
    await e.arriving(shard, [e.joined("bob"), e.left("bob")], order)
    assert await shard.hash(shard.keys.room_members("r")) == {}


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_who_joined_before_the_room_closed_is_not_in_it_and_who_joined_after_is(
    shard: Shard, order: tuple[int, ...]
) -> None:
    await e.arriving(shard, [e.joined("early"), e.room_closed(), e.joined("late")], order)
    assert set(await shard.hash(shard.keys.room_members("r"))) == {"late"}


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_an_invite_older_than_the_close_of_its_room_ends_in_either_order(
    shard: Shard, order: tuple[int, ...]
) -> None:
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(), e.room_closed()], order)

    assert e.outcome(told, "inviteRejected") == (487, "room_closed")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"]) == ("DECLINED_BY_CREATOR", 487)
    # Only what was rung is cancelled.
    assert e.types(told).count("invitation") == e.types(told).count("invitationCancel") == (order == (0, 1))


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_an_invite_younger_than_the_close_of_its_room_rings_in_either_order(
    shard: Shard, order: tuple[int, ...]
) -> None:
    await shard.event(*e.registered("phone"))
    await e.arriving(shard, [e.room_closed(), e.invite()], order)
    assert await e.states(shard) == {"phone": "CALLED"}


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_an_invite_older_than_its_inviters_leaving_ends_in_any_order(
    shard: Shard, order: tuple[int, ...]
) -> None:
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(), e.left("alice"), e.joined("alice")], order)
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")


@pytest.mark.parametrize("order", ORDERS_OF_TWO)
async def test_an_invite_younger_than_its_inviters_leaving_rings_in_either_order(
    shard: Shard, order: tuple[int, ...]
) -> None:
    await shard.event(*e.registered("phone"))
    await e.arriving(shard, [e.left("alice"), e.invite()], order)
    assert await e.states(shard) == {"phone": "CALLED"}


@pytest.mark.one_shard
@pytest.mark.parametrize(
    ("event", "key"),
    [
        (e.disconnected("phone"), "gone:bob|phone"),
        (e.left("bob"), "left:r|bob"),
        (e.room_closed(), "closed:r"),
    ],
)
async def test_order_is_remembered_for_an_hour(shard: Shard, event: e.Published, key: str) -> None:
    await shard.event(*event)
    assert await shard.client.pexpiretime(shard.keys.base + key) == shard.now + 3_600_000


async def test_ids_within_one_millisecond_are_ordered_by_their_second_part(shard: Shard) -> None:
    """As numbers: 10 is later than 9."""
    at = shard.now
    nine = await shard.publish(*e.registered("phone", type="NINE"), entry=f"{at}-9")
    ten = await shard.publish(*e.registered("phone", type="TEN"), entry=f"{at}-10")
    await shard.settle(ten)
    await shard.settle(nine)
    assert '"type":"TEN"' in (await shard.hash(shard.keys.registry("bob")))["phone"]


async def test_a_peer_that_is_reported_gone_after_its_invite_was_published_is_not_its_caller_for_long(
    shard: Shard,
) -> None:
    """The loss overtook the invite: it still rings, and the caller has its grace from then on."""
    await e.in_order(shard, e.registered("a", "alice"), e.registered("phone"))
    told = await e.arriving(shard, [e.invite(by=e.ALICE), e.disconnected("a", "alice")], [1, 0])
    assert e.types(told) == ["invitation", "inviteProgress"]
    assert e.outcome(await e.later(shard, 10_000), "inviteRejected") == (487, "caller_gone")
    assert (await shard.invite(e.REF))["reason"] == "caller_gone"


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_who_left_and_joined_again_is_in_the_room(shard: Shard, order: tuple[int, ...]) -> None:
    await e.arriving(shard, [e.joined("bob"), e.left("bob"), e.joined("bob")], order)
    assert set(await shard.hash(shard.keys.room_members("r"))) == {"bob"}


@pytest.mark.parametrize("order", ORDERS_OF_THREE)
async def test_who_joined_again_and_left_is_not_in_the_room(shard: Shard, order: tuple[int, ...]) -> None:
    await e.arriving(shard, [e.joined("bob"), e.joined("bob"), e.left("bob")], order)
    assert await shard.hash(shard.keys.room_members("r")) == {}


@pytest.mark.one_shard
async def test_the_mark_of_a_peer_does_not_grow_with_its_sessions(shard: Shard) -> None:
    late = [await shard.publish(*e.registered("phone", session=f"s{number}")) for number in (0, 59)]
    for number in range(60):
        await shard.event(*e.disconnected("phone", session=f"s{number}"))
    mark = json.loads(await shard.client.get(f"{shard.keys.base}gone:bob|phone"))
    assert set(mark["ends"]) == {f"s{number}" for number in range(40, 60)}
    await shard.settle(*late)
    assert await _registry(shard) == set()
    await shard.event(*e.registered("phone", session="s0"))
    assert await _registry(shard) == {"phone"}
