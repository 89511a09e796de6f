"""registered: devices that come while a call rings, come back, come under another peer id, or come too late."""

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type, peer

END_BY_OTHER = [
    pytest.param(e.accept("tablet"), (200, "accepted_elsewhere"), id="accepted"),
    pytest.param(e.decline("tablet"), (603, "declined_elsewhere"), id="declined"),
    pytest.param(e.stop(), (487, "cancelled"), id="stopped"),
]


async def test_a_device_that_registers_while_it_rings_is_rung_with_the_time_that_is_left(
    shard: Shard,
) -> None:
    await e.bob_rings(shard, "phone", context={"n": 1})
    shard.now += 15_000
    told = await shard.event(*e.registered("tablet"))

    assert e.types(told) == ["invitation"]
    assert e.recipients(told, "invitation") == {"tablet"}
    payload = e.one(told, "invitation").payload
    assert (payload["expiresIn"], payload["resumed"], payload["context"]) == (
        e.RING - 15_000,
        False,
        {"n": 1},
    )
    assert await e.states(shard) == {"phone": "CALLED", "tablet": "CALLED"}


async def test_it_is_rung_for_every_pending_invite(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*e.invite(by=peer("c", "carol")))
    told = await shard.event(*e.registered("tablet"))
    assert {found.payload["from"] for found in of_type(told, "invitation")} == {"alice", "carol"}


async def test_a_device_of_somebody_else_is_not_rung(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert await shard.event(*e.registered("d", "dave")) == []


async def test_a_device_of_the_inviter_is_not_rung(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert await shard.event(*e.registered("a2", "alice")) == []


async def test_a_plain_repeat_rings_nothing_twice(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert await e.in_order(shard, e.registered("phone"), e.registered("phone", type="IOS")) == []
    await shard.event(*e.ringing("phone"))
    assert await shard.event(*e.registered("phone")) == []
    assert await e.states(shard) == {"phone": "RINGING"}


async def test_a_repeat_of_the_same_session_rings_nothing_twice(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", session="s1"), e.invite())
    assert await shard.event(*e.registered("phone", session="s1")) == []


async def test_a_new_session_is_rung_again(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", session="s1"), e.invite(), e.ringing("phone"))
    told = await shard.event(*e.registered("phone", session="s2"))

    assert e.recipients(told, "invitation") == {"phone"}
    assert e.one(told, "invitation").payload["resumed"] is True
    assert await e.states(shard) == {"phone": "CALLED"}


@pytest.mark.parametrize(("old", "new"), [(None, "s1"), ("s1", None)])
async def test_only_two_named_sessions_are_told_apart(shard: Shard, old: str | None, new: str | None) -> None:
    first, second = ({"session": name} if name else {} for name in (old, new))
    await e.in_order(shard, e.registered("phone", **first), e.invite())
    assert await shard.event(*e.registered("phone", **second)) == []


async def test_a_device_that_declined_is_not_rung_again(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.decline("phone", errorCode=486))
    assert await e.in_order(shard, e.disconnected("phone"), e.registered("phone", session="new")) == []
    assert await e.states(shard) == {"phone": "DECLINED", "tablet": "CALLED"}


async def test_a_device_that_declined_is_not_rung_again_under_a_new_peer_id(shard: Shard) -> None:
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("tablet"), e.invite())
    await shard.event(*e.decline("p1", errorCode=486))
    assert await e.in_order(shard, e.disconnected("p1"), e.registered("p2", device="phone")) == []
    told = await shard.event(*e.accept("tablet"))
    assert sorted(e.end_reasons(told).values()) == [200, 486]


async def test_the_same_device_under_a_new_peer_id_takes_the_place_of_the_old_one(shard: Shard) -> None:
    await e.in_order(shard, e.registered("p1", device="phone"), e.invite(), e.ringing("p1"))
    told = await shard.event(*e.registered("p2", device="phone"))

    assert e.recipients(told, "invitation") == {"p2"}
    assert e.one(told, "invitation").payload["resumed"] is True
    assert await e.states(shard) == {"p2": "CALLED"}
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"p2"}


async def test_only_the_new_peer_id_hears_of_the_end(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("p1", device="phone"), e.invite(), e.registered("p2", device="phone")
    )
    told = await shard.event(*e.stop())
    assert e.recipients(told, "invitationCancel") == {"p2"}
    assert e.end_reasons(told) == {"p2": 487}


async def test_the_end_of_the_old_connection_does_not_touch_the_new_one(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("p1", device="phone"), e.invite(), e.registered("p2", device="phone")
    )
    assert await shard.event(*e.disconnected("p1")) == []
    assert await e.states(shard) == {"p2": "CALLED"}


async def test_two_devices_of_one_user_are_not_the_same_without_a_device_id(shard: Shard) -> None:
    await e.in_order(shard, e.registered("p1"), e.invite())
    assert e.recipients(await shard.event(*e.registered("p2")), "invitation") == {"p2"}
    assert set(await e.states(shard)) == {"p1", "p2"}


async def test_the_same_device_id_of_another_user_is_another_device(shard: Shard) -> None:
    await e.in_order(shard, e.registered("p1", device="phone"), e.invite())
    assert await shard.event(*e.registered("q1", "dave", device="phone")) == []
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"p1"}


async def test_a_device_of_which_two_peer_ids_were_rung_is_one_candidate_once_it_is_known(
    shard: Shard,
) -> None:
    """`p2` said that it rings before it was known to be the phone."""
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("desk"), e.invite())
    await e.in_order(shard, e.ringing("p2"), e.registered("p2", device="phone"))
    assert set(await e.states(shard)) == {"p2", "desk"}
    told = await e.in_order(shard, e.decline("p2", errorCode=486), e.decline("desk", errorCode=486))
    assert e.outcome(told, "inviteRejected") == (486, "busy")


@pytest.mark.parametrize(
    "end", [e.disconnected("phone"), e.unregistered("phone")], ids=["disconnected", "unregistered"]
)
@pytest.mark.parametrize(("ending", "words"), END_BY_OTHER)
async def test_a_device_that_comes_back_after_the_end_gets_its_cancel_again_once(
    make_shard: MakeShard, end: e.Published, ending: e.Published, words: tuple[int, str]
) -> None:
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, end, ending)
    told = await shard.event(*e.registered("phone"))

    assert e.types(told) == ["invitationCancel"]
    assert e.recipients(told, "invitationCancel") == {"phone"}
    assert e.outcome(told, "invitationCancel") == words
    assert ("whoAccepted" in e.one(told, "invitationCancel").payload) == (words[0] == 200)
    assert await e.in_order(shard, e.registered("phone"), e.registered("phone", session="x")) == []


async def test_a_device_that_was_lost_for_good_gets_its_cancel_when_it_comes_back(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.disconnected("phone"), e.accept("tablet"))
    assert e.outcome(await shard.event(*e.registered("phone")), "invitationCancel") == (
        200,
        "accepted_elsewhere",
    )


async def test_it_gets_its_cancel_under_a_new_peer_id_too(shard: Shard) -> None:
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("tablet"), e.invite())
    await e.in_order(shard, e.disconnected("p1"), e.accept("tablet"))
    assert e.recipients(await shard.event(*e.registered("p2", device="phone")), "invitationCancel") == {"p2"}


async def test_it_gets_its_cancel_with_a_new_session_although_nobody_saw_it_go(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("phone", session="s1"), e.registered("tablet"), e.invite(), e.accept("tablet")
    )
    assert await shard.event(*e.registered("phone", session="s1")) == []
    assert e.recipients(await shard.event(*e.registered("phone", session="s2")), "invitationCancel") == {
        "phone"
    }


@pytest.mark.parametrize("back", ["phone", "other"])
@pytest.mark.parametrize("sessions", [{}, {"session": "s1"}], ids=["no session", "a session"])
async def test_a_device_that_was_connected_at_the_end_does_not_hear_it_twice(
    shard: Shard, back: str, sessions: dict[str, str]
) -> None:
    await e.in_order(shard, e.registered("phone", device="d", **sessions), e.registered("tablet"), e.invite())
    assert e.recipients(await shard.event(*e.accept("tablet")), "invitationCancel") == {"phone"}
    await e.later(shard, e.NOTICED + 1)
    await shard.event(*e.disconnected("phone", **sessions))
    assert await shard.event(*e.registered(back, device="d", session="s2")) == []


async def test_a_device_that_may_have_been_dead_at_the_end_hears_it_again(shard: Shard) -> None:
    """A gateway notices a dead connection some time after the cancel has gone into it."""
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.accept("tablet"))
    await e.later(shard, e.NOTICED)
    await shard.event(*e.disconnected("phone"))
    assert e.recipients(await shard.event(*e.registered("phone")), "invitationCancel") == {"phone"}


async def test_a_device_that_is_reported_gone_again_after_the_end_hears_it(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.disconnected("phone"), e.accept("tablet"))
    shard.now += 1
    await shard.event(*e.unregistered("phone"))
    assert e.recipients(await shard.event(*e.registered("phone")), "invitationCancel") == {"phone"}


async def test_a_device_whose_loss_before_the_end_is_settled_late_hears_the_end(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    lost = await shard.publish(*e.disconnected("phone"))
    shard.now += 1
    assert e.recipients(await shard.event(*e.accept("tablet")), "invitationCancel") == {"phone"}
    await shard.settle(lost)
    assert e.recipients(await shard.event(*e.registered("phone")), "invitationCancel") == {"phone"}


async def test_a_device_whose_registration_has_lapsed_since_the_end_hears_it_again(shard: Shard) -> None:
    """Nobody has seen its connection end: it may have been dead."""
    await e.in_order(shard, e.registered("phone", expires=10_000), e.registered("tablet"), e.invite())
    await shard.event(*e.accept("tablet"))
    await e.later(shard, 10_000)
    assert e.recipients(await shard.event(*e.registered("phone")), "invitationCancel") == {"phone"}


@pytest.mark.parametrize("own", [e.accept("phone"), e.decline("phone")], ids=["accepted", "declined"])
async def test_a_device_that_ended_the_call_itself_gets_no_cancel(shard: Shard, own: e.Published) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    assert e.types(await e.in_order(shard, own, e.disconnected("phone"))).count("invitationCancel") == 1
    assert await shard.event(*e.registered("phone")) == []


async def test_a_device_that_was_never_rung_gets_no_cancel(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.stop())
    assert await shard.event(*e.registered("tablet")) == []


@pytest.mark.one_shard
async def test_nobody_is_told_of_an_end_that_is_forgotten(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.disconnected("phone"), e.accept("tablet"))
    await e.later(shard, 300_000)
    assert await shard.event(*e.registered("phone")) == []


async def test_a_device_that_is_back_past_the_deadline_but_before_the_time_out_hears_of_the_time_out(
    shard: Shard,
) -> None:
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("tablet"), e.invite())
    shard.now += e.RING + 1
    told = await shard.event(*e.registered("p2", device="phone"))
    assert [(each.type, each.peers) for each in told] == [("invitationCancel", ["p1"])]
    assert e.recipients(await shard.fire(), "invitationCancel") == {"p2", "tablet"}


async def test_a_device_that_is_new_past_the_deadline_is_not_rung(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    shard.now += e.RING
    assert await shard.event(*e.registered("tablet")) == []
    assert e.end_reasons(await shard.fire()) == {"phone": 408}


async def test_a_registration_lapses_unless_it_is_repeated(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", expires=10_000), e.registered("tablet"), e.invite())
    await e.later(shard, 9_999)
    await shard.event(*e.registered("phone", expires=10_000))
    assert await e.later(shard, 9_999) == []
    assert await e.states(shard) == {"phone": "CALLED", "tablet": "CALLED"}
    assert await e.later(shard, 1) == []
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"tablet"}
    told = await shard.event(*e.invite(invite_id="2"))
    assert e.recipients(told, "invitation") == {"tablet"}


async def test_the_time_of_a_registration_counts_from_its_entry(shard: Shard) -> None:
    await shard.event(*e.registered("tablet"))
    late = await shard.publish(*e.registered("phone", expires=10_000))
    shard.now += 9_000
    await shard.settle(late)
    await shard.event(*e.invite())
    await e.later(shard, 999)
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"phone", "tablet"}
    await e.later(shard, 1)
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"tablet"}


async def test_a_device_whose_registration_lapses_rings_on_and_hears_its_cancel(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", expires=10_000), e.invite())
    assert await e.later(shard, 10_000) == []
    assert await e.states(shard) == {"phone": "CALLED"}
    assert e.recipients(await shard.event(*e.stop()), "invitationCancel") == {"phone"}


async def test_a_device_whose_registration_has_lapsed_may_still_be_lost(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", expires=10_000), e.invite())
    await e.later(shard, 10_001)
    told = await shard.event(*e.disconnected("phone"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_a_registration_without_expires_lasts_also_when_the_one_before_had_one(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", expires=10_000), e.registered("phone"))
    assert await shard.client.zcard(shard.keys.timers) == 0
    await e.later(shard, 100_000_000)
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"phone"}


async def test_a_registration_says_what_it_was_given(shard: Shard) -> None:
    await shard.event(*e.registered("phone", device="d", session="s", type="IOS", unknown="ignored"))
    raw = (await shard.hash(shard.keys.registry("bob")))["phone"]
    for part in ('"device":"d"', '"session":"s"', '"type":"IOS"', '"user":"bob"', '"id":"phone"'):
        assert part in raw
    assert "ignored" not in raw


async def test_a_device_that_registers_makes_no_progress(shard: Shard) -> None:
    """The inviter is told when it asks again."""
    await e.bob_rings(shard, "phone")
    assert "inviteProgress" not in e.types(await shard.event(*e.registered("tablet")))
    assert e.one(await shard.event(*e.invite()), "inviteProgress").payload["candidates"] == 2
    assert (await shard.invite(e.REF))["state"] == "PENDING"


async def test_a_session_that_is_named_later_is_the_one_that_the_next_is_told_from(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert await shard.event(*e.registered("phone", session="s1")) == []
    assert e.recipients(await shard.event(*e.registered("phone", session="s2")), "invitation") == {"phone"}


async def test_a_cancel_is_told_again_only_once_however_often_the_device_comes_back(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.disconnected("phone"), e.accept("tablet"))
    told = await e.in_order(
        shard,
        e.registered("phone", session="s1"),
        e.registered("phone", session="s2"),
        e.disconnected("phone"),
        e.registered("phone", session="s3"),
    )
    assert e.types(told) == ["invitationCancel"]


@pytest.mark.one_shard
async def test_the_grace_of_a_peer_id_that_was_replaced_is_over(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(
        shard, e.registered("p1", device="phone"), e.invite(), e.ringing("p2"), e.disconnected("p1")
    )
    assert await shard.client.exists(shard.keys.grace("p1"))
    await shard.event(*e.registered("p2", device="phone"))
    assert not await shard.client.exists(shard.keys.grace("p1"))
    assert await e.later(shard, 5_000) == []
    assert await e.states(shard) == {"p2": "RINGING"}
