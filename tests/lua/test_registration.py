"""registered: devices that come while it rings, come back, come under another peer id, or come too late."""

import pytest

from tests.conftest import MakeShard
from tests.support.events import (
    GRACE,
    REF,
    RING,
    Published,
    accept,
    bob_rings,
    decline,
    disconnected,
    end_reasons,
    in_order,
    invite,
    later,
    one,
    outcome,
    recipients,
    registered,
    ringing,
    states,
    stop,
    types,
    unregistered,
)
from tests.support.shard import Shard, of_type, peer

END_BY_OTHER = [
    pytest.param(accept("tablet"), (200, "accepted_elsewhere"), id="accepted"),
    pytest.param(decline("tablet"), (603, "declined_elsewhere"), id="declined"),
    pytest.param(stop(), (487, "cancelled"), id="stopped"),
]


async def test_a_device_that_registers_while_it_rings_is_rung_with_the_time_that_is_left(
    shard: Shard,
) -> None:
    await bob_rings(shard, "phone", context={"n": 1})
    shard.now += 15_000
    told = await shard.event(*registered("tablet"))

    assert types(told) == ["invitation"]
    assert recipients(told, "invitation") == {"tablet"}
    payload = one(told, "invitation").payload
    assert (payload["expiresIn"], payload["resumed"], payload["context"]) == (RING - 15_000, False, {"n": 1})
    assert await states(shard) == {"phone": "CALLED", "tablet": "CALLED"}


async def test_it_is_rung_for_every_pending_invite(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    await shard.event(*invite(by=peer("c", "carol")))
    told = await shard.event(*registered("tablet"))
    assert {found.payload["from"] for found in of_type(told, "invitation")} == {"alice", "carol"}


async def test_a_device_of_somebody_else_is_not_rung(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    assert await shard.event(*registered("d", "dave")) == []


async def test_a_device_of_the_inviter_is_not_rung(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    assert await shard.event(*registered("a2", "alice")) == []


async def test_a_plain_repeat_rings_nothing_twice(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    assert await in_order(shard, registered("phone"), registered("phone", type="IOS")) == []
    await shard.event(*ringing("phone"))
    assert await shard.event(*registered("phone")) == []
    assert await states(shard) == {"phone": "RINGING"}


async def test_a_repeat_of_the_same_session_rings_nothing_twice(shard: Shard) -> None:
    await in_order(shard, registered("phone", session="s1"), invite())
    assert await shard.event(*registered("phone", session="s1")) == []


async def test_a_new_session_is_rung_again(shard: Shard) -> None:
    await in_order(shard, registered("phone", session="s1"), invite(), ringing("phone"))
    told = await shard.event(*registered("phone", session="s2"))

    assert recipients(told, "invitation") == {"phone"}
    assert one(told, "invitation").payload["resumed"] is True
    assert await states(shard) == {"phone": "CALLED"}


@pytest.mark.parametrize(("old", "new"), [(None, "s1"), ("s1", None)])
async def test_only_two_named_sessions_are_told_apart(shard: Shard, old: str | None, new: str | None) -> None:
    first, second = ({"session": name} if name else {} for name in (old, new))
    await in_order(shard, registered("phone", **first), invite())
    assert await shard.event(*registered("phone", **second)) == []


async def test_a_device_that_declined_is_not_rung_again(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    await shard.event(*decline("phone", errorCode=486))
    assert await in_order(shard, disconnected("phone"), registered("phone", session="new")) == []
    assert await states(shard) == {"phone": "DECLINED", "tablet": "CALLED"}


async def test_a_device_that_declined_is_not_rung_again_under_a_new_peer_id(shard: Shard) -> None:
    await in_order(shard, registered("p1", device="phone"), registered("tablet"), invite())
    await shard.event(*decline("p1", errorCode=486))
    assert await in_order(shard, disconnected("p1"), registered("p2", device="phone")) == []
    told = await shard.event(*accept("tablet"))
    assert sorted(end_reasons(told).values()) == [200, 486]


async def test_the_same_device_under_a_new_peer_id_takes_the_place_of_the_old_one(shard: Shard) -> None:
    await in_order(shard, registered("p1", device="phone"), invite(), ringing("p1"))
    told = await shard.event(*registered("p2", device="phone"))

    assert recipients(told, "invitation") == {"p2"}
    assert one(told, "invitation").payload["resumed"] is True
    assert await states(shard) == {"p2": "CALLED"}
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"p2"}


async def test_only_the_new_peer_id_hears_of_the_end(shard: Shard) -> None:
    await in_order(shard, registered("p1", device="phone"), invite(), registered("p2", device="phone"))
    told = await shard.event(*stop())
    assert recipients(told, "invitationCancel") == {"p2"}
    assert end_reasons(told) == {"p2": 487}


async def test_the_end_of_the_old_connection_does_not_touch_the_new_one(shard: Shard) -> None:
    await in_order(shard, registered("p1", device="phone"), invite(), registered("p2", device="phone"))
    assert await shard.event(*disconnected("p1")) == []
    assert await states(shard) == {"p2": "CALLED"}


async def test_two_devices_of_one_user_are_not_the_same_without_a_device_id(shard: Shard) -> None:
    await in_order(shard, registered("p1"), invite())
    assert recipients(await shard.event(*registered("p2")), "invitation") == {"p2"}
    assert set(await states(shard)) == {"p1", "p2"}


async def test_the_same_device_id_of_another_user_is_another_device(shard: Shard) -> None:
    await in_order(shard, registered("p1", device="phone"), invite())
    assert await shard.event(*registered("q1", "dave", device="phone")) == []
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"p1"}


async def test_a_device_of_which_two_peer_ids_were_rung_is_one_candidate_once_it_is_known(
    shard: Shard,
) -> None:
    """`p2` said that it rings before it was known to be the phone."""
    await in_order(shard, registered("p1", device="phone"), registered("desk"), invite())
    await in_order(shard, ringing("p2"), registered("p2", device="phone"))
    assert set(await states(shard)) == {"p2", "desk"}
    told = await in_order(shard, decline("p2", errorCode=486), decline("desk", errorCode=486))
    assert outcome(told, "inviteRejected") == (486, "busy")


@pytest.mark.parametrize(
    "end", [disconnected("phone"), unregistered("phone")], ids=["disconnected", "unregistered"]
)
@pytest.mark.parametrize(("ending", "words"), END_BY_OTHER)
async def test_a_device_that_comes_back_after_the_end_gets_its_cancel_again_once(
    make_shard: MakeShard, end: Published, ending: Published, words: tuple[int, str]
) -> None:
    shard = await make_shard(GRACE)
    await bob_rings(shard, "phone", "tablet")
    await in_order(shard, end, ending)
    told = await shard.event(*registered("phone"))

    assert types(told) == ["invitationCancel"]
    assert recipients(told, "invitationCancel") == {"phone"}
    assert outcome(told, "invitationCancel") == words
    assert ("whoAccepted" in one(told, "invitationCancel").payload) == (words[0] == 200)
    assert await in_order(shard, registered("phone"), registered("phone", session="x")) == []


async def test_a_device_that_was_lost_for_good_gets_its_cancel_when_it_comes_back(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    await in_order(shard, disconnected("phone"), accept("tablet"))
    assert outcome(await shard.event(*registered("phone")), "invitationCancel") == (200, "accepted_elsewhere")


async def test_it_gets_its_cancel_under_a_new_peer_id_too(shard: Shard) -> None:
    await in_order(shard, registered("p1", device="phone"), registered("tablet"), invite())
    await in_order(shard, disconnected("p1"), accept("tablet"))
    assert recipients(await shard.event(*registered("p2", device="phone")), "invitationCancel") == {"p2"}


async def test_it_gets_its_cancel_with_a_new_session_although_nobody_saw_it_go(shard: Shard) -> None:
    await in_order(shard, registered("phone", session="s1"), registered("tablet"), invite(), accept("tablet"))
    assert await shard.event(*registered("phone", session="s1")) == []
    assert recipients(await shard.event(*registered("phone", session="s2")), "invitationCancel") == {"phone"}


@pytest.mark.parametrize("own", [accept("phone"), decline("phone")], ids=["accepted", "declined"])
async def test_a_device_that_ended_the_call_itself_gets_no_cancel(shard: Shard, own: Published) -> None:
    await bob_rings(shard, "phone", "tablet")
    assert types(await in_order(shard, own, disconnected("phone"))).count("invitationCancel") == 1
    assert await shard.event(*registered("phone")) == []


async def test_a_device_that_was_never_rung_gets_no_cancel(shard: Shard) -> None:
    await in_order(shard, registered("phone"), invite(), stop())
    assert await shard.event(*registered("tablet")) == []


@pytest.mark.one_shard
async def test_nobody_is_told_of_an_end_that_is_forgotten(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    await in_order(shard, disconnected("phone"), accept("tablet"))
    await later(shard, 300_000)
    assert await shard.event(*registered("phone")) == []


async def test_a_device_that_is_back_past_the_deadline_but_before_the_time_out_hears_of_the_time_out(
    shard: Shard,
) -> None:
    await in_order(shard, registered("p1", device="phone"), registered("tablet"), invite())
    shard.now += RING + 1
    assert await shard.event(*registered("p2", device="phone")) == []
    assert recipients(await shard.fire(), "invitationCancel") == {"p2", "tablet"}


async def test_a_device_that_is_new_past_the_deadline_is_not_rung(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    shard.now += RING
    assert await shard.event(*registered("tablet")) == []
    assert end_reasons(await shard.fire()) == {"phone": 408}


async def test_a_registration_lapses_like_a_disconnect_unless_it_is_repeated(shard: Shard) -> None:
    await in_order(shard, registered("phone", expires=10_000), registered("tablet"), invite())
    await later(shard, 9_999)
    await shard.event(*registered("phone", expires=10_000))
    assert await later(shard, 9_999) == []
    assert await states(shard) == {"phone": "CALLED", "tablet": "CALLED"}
    assert await later(shard, 1) == []
    assert await states(shard) == {"phone": "GONE", "tablet": "CALLED"}
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"tablet"}


async def test_when_the_only_registration_lapses_the_invite_ends(shard: Shard) -> None:
    await in_order(shard, registered("phone", expires=10_000), invite())
    assert outcome(await later(shard, 10_000), "inviteRejected") == (480, "unreachable")


async def test_a_registration_without_expires_lasts_also_when_the_one_before_had_one(shard: Shard) -> None:
    await in_order(shard, registered("phone", expires=10_000), registered("phone"))
    assert await shard.client.zcard(shard.keys.timers) == 0
    await later(shard, 100_000_000)
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"phone"}


async def test_a_registration_says_what_it_was_given(shard: Shard) -> None:
    await shard.event(*registered("phone", device="d", session="s", type="IOS", unknown="ignored"))
    raw = (await shard.hash(shard.keys.registry("bob")))["phone"]
    for part in ('"device":"d"', '"session":"s"', '"type":"IOS"', '"user":"bob"', '"id":"phone"'):
        assert part in raw
    assert "ignored" not in raw


async def test_a_device_that_registers_makes_no_progress(shard: Shard) -> None:
    """The inviter is told when it asks again."""
    await bob_rings(shard, "phone")
    assert "inviteProgress" not in types(await shard.event(*registered("tablet")))
    assert one(await shard.event(*invite()), "inviteProgress").payload["candidates"] == 2
    assert (await shard.invite(REF))["state"] == "PENDING"


async def test_a_session_that_is_named_later_is_the_one_that_the_next_is_told_from(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    assert await shard.event(*registered("phone", session="s1")) == []
    assert recipients(await shard.event(*registered("phone", session="s2")), "invitation") == {"phone"}


async def test_a_cancel_is_told_again_only_once_however_often_the_device_comes_back(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    await in_order(shard, disconnected("phone"), accept("tablet"))
    told = await in_order(
        shard,
        registered("phone", session="s1"),
        registered("phone", session="s2"),
        disconnected("phone"),
        registered("phone", session="s3"),
    )
    assert types(told) == ["invitationCancel"]


@pytest.mark.one_shard
async def test_the_grace_of_a_peer_id_that_was_replaced_is_over(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await in_order(shard, registered("p1", device="phone"), invite(), ringing("p2"), disconnected("p1"))
    assert await shard.client.exists(shard.keys.grace("p1"))
    await shard.event(*registered("p2", device="phone"))
    assert not await shard.client.exists(shard.keys.grace("p1"))
    assert await later(shard, 5_000) == []
    assert await states(shard) == {"p2": "RINGING"}
