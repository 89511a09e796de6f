"""The context of an accept or a decline reaches the inviter."""

from typing import Any

import pytest

from tests.support import events as e
from tests.support import groups
from tests.support.events import said_by
from tests.support.shard import MakeShard, Notification, Shard

WORDS: Any = {"text": 'in a "meeting"', "empty": [], "no": {}, "ü": "\u0000\n"}


def told_in_record(told: list[Notification]) -> dict[str, Any]:
    """Address -> context of the candidates of the only record that have one."""
    record = e.one(told, "INVITE_COMPLETED").payload
    return {each["address"]: each["context"] for each in record["candidates"] if "context" in each}


@pytest.mark.parametrize("context", [WORDS, "busy", 0, False, [1, 2]])
async def test_an_accept_tells_the_inviter(shard: Shard, context: Any) -> None:
    await e.bob_rings(shard, "phone", "tablet", context="of the invite")
    told = await shard.event(*e.accept("phone", context=context))
    assert e.one(told, "inviteAccepted").payload["context"] == context
    assert told_in_record(told) == {"bob": context}
    again = await shard.event(*e.invite())
    assert e.one(again, "inviteAccepted").payload["context"] == context


@pytest.mark.parametrize("code", [486, 603])
async def test_a_decline_that_ends_the_invite_tells_the_inviter(shard: Shard, code: int) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.decline("phone", errorCode=code, context=WORDS))
    assert e.one(told, "inviteRejected").payload["context"] == WORDS
    assert told_in_record(told) == {"bob": WORDS}


async def test_the_context_of_the_best_response_is_told(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.decline("phone", errorCode=486, context="in a meeting"))
    told = await shard.event(*e.decline("tablet", errorCode=480, context="no battery"))
    assert e.one(told, "inviteRejected").payload["context"] == "in a meeting"
    record = e.one(told, "INVITE_COMPLETED").payload
    assert {each["peer"]: each["context"] for each in record["candidates"]} == {
        "phone": "in a meeting", "tablet": "no battery",
    }  # fmt: skip


@pytest.mark.parametrize("end", [e.accept("tablet"), e.stop(), e.decline("tablet")], ids=lambda one: one[0])
async def test_another_end_has_no_context(shard: Shard, end: e.Published) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.decline("phone", errorCode=486, context="in a meeting"))
    told = await shard.event(*end)
    kind = "inviteAccepted" if end[0] == "accept" else "inviteRejected"
    assert "context" not in e.one(told, kind).payload
    assert told_in_record(told) == {"bob": "in a meeting"}


async def test_a_device_that_changes_its_mind_says_something_else(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.decline("phone", errorCode=486, context="in a meeting"))
    told = await shard.event(*e.accept("phone"))
    assert "context" not in e.one(told, "inviteAccepted").payload
    assert told_in_record(told) == {}


async def test_a_context_of_null_is_none(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.accept("phone", context=None))
    assert "context" not in e.one(told, "inviteAccepted").payload


async def test_what_comes_after_the_end_is_not_told(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.in_order(
        shard, e.accept("phone", context=1), e.accept("phone", context=2), e.accept("x", context=3)
    )
    told = await shard.event(*e.invite())
    assert e.one(told, "inviteAccepted").payload["context"] == 1


@pytest.mark.one_shard
async def test_a_woken_phone_declines_with_a_context(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*said_by("phone", e.decline("p1", errorCode=488, context=WORDS)))
    assert e.one(told, "inviteRejected").payload["context"] == WORDS


# -- groups


async def test_the_member_that_accepts_tells_the_inviter(called: Shard) -> None:
    await called.event(*e.decline("bob-phone", context="bob says no"))
    told = await called.event(*e.accept("carol-phone", "carol", context=WORDS))
    assert e.one(told, "inviteAccepted").payload["context"] == WORDS
    assert told_in_record(told) == {"bob": "bob says no", "carol": WORDS}
    again = await called.event(*e.invite(to="team"))
    assert e.one(again, "inviteAccepted").payload["context"] == WORDS


async def test_members_that_decline_tell_the_inviter(called: Shard) -> None:
    told = await called.event(*e.decline("bob-phone", errorCode=603, context="never", to="team"))
    assert "inviteRejected" not in e.types(told)
    told = await called.event(*e.decline("carol-phone", "carol", errorCode=486, context=WORDS))
    assert e.one(told, "inviteRejected").payload["context"] == "never"
    assert told_in_record(told) == {"bob": "never", "carol": WORDS}


async def test_the_devices_of_a_member_tell_their_best_response(called: Shard) -> None:
    await called.event(*e.decline("bob-phone", errorCode=480, context="no battery"))
    await called.event(*e.decline("bob-desk", errorCode=486, context="in a meeting"))
    told = await called.event(*e.stop(callee="team"))
    assert "context" not in e.one(told, "inviteRejected").payload
    assert told_in_record(told) == {"bob": "in a meeting"}


async def test_a_sequence_tells_of_the_best_member(make_shard: MakeShard) -> None:
    shard = await make_shard(groups.GROUPS)
    groups.team(shard, "bob", "carol", sequential=True, push={"bob": ["phone"]})
    await groups.at_home(shard, "carol-phone")
    await shard.event(*e.invite(to="team"))
    await shard.event(*said_by("phone", e.decline("p1", errorCode=488, context="no battery")))
    told = await shard.event(*e.decline("carol-phone", "carol", errorCode=486, context="in a meeting"))
    assert e.one(told, "inviteRejected").payload["context"] == "in a meeting"
