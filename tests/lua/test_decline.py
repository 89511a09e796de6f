"""decline: one device is out, or the whole user is; the best response once nobody is left."""

import pytest

from tests.support import events as e
from tests.support.shard import Json, Shard, peer


@pytest.mark.parametrize("code", [600, 603, 604, 606, 699])
async def test_600_and_above_speaks_for_the_whole_user(shard: Shard, code: int) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.decline("phone", errorCode=code, transaction="t"))

    assert e.types(told) == ["INVITE_COMPLETED", "answer", "invitationCancel", "inviteRejected"]
    assert e.recipients(told, "invitationCancel") == {"tablet"}
    assert e.outcome(told, "invitationCancel") == (code, "declined_elsewhere")
    assert e.outcome(told, "inviteRejected") == (code, "declined")
    assert e.outcome(told, "answer") == (200, "declined")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"]) == ("DECLINED", code)
    assert e.end_reasons(told) == {"phone": code, "tablet": 487}


async def test_without_a_code_it_is_603(shard: Shard) -> None:
    told = await e.in_order(
        shard, e.registered("phone"), e.registered("tablet"), e.invite(), e.decline("phone")
    )
    assert e.outcome(told, "inviteRejected") == (603, "declined")


@pytest.mark.parametrize(
    ("code", "reason"), [(486, "busy"), (480, "declined"), (400, "declined"), (599, "declined")]
)
async def test_below_600_only_this_device_is_out(shard: Shard, code: int, reason: str) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.decline("phone", errorCode=code))

    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (200, reason)
    assert await e.states(shard) == {"phone": "DECLINED", "tablet": "CALLED"}


async def test_the_last_device_ends_the_invite(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.in_order(shard, e.decline("phone", errorCode=486), e.decline("tablet", errorCode=480))
    assert e.outcome(told, "inviteRejected") == (486, "busy")
    assert e.end_reasons(told) == {"phone": 486, "tablet": 480}
    assert "invitationCancel" not in e.types(told)


@pytest.mark.parametrize(
    ("codes", "best"),
    [
        ((486, 480), (486, "busy")),
        ((480, 486), (486, "busy")),
        ((503, 480), (480, "declined")),
        ((503, 486), (486, "busy")),
        ((404, 480), (404, "declined")),
        ((599, 500), (500, "declined")),
        ((486,), (486, "busy")),
        ((480,), (480, "declined")),
    ],
)
async def test_the_best_response_is_of_the_lowest_class_and_busy_before_others(
    shard: Shard, codes: tuple[int, ...], best: tuple[int, str]
) -> None:
    devices = [f"device-{code}" for code in codes]
    await e.bob_rings(shard, *devices)
    told = await e.in_order(
        shard, *(e.decline(device, errorCode=code) for device, code in zip(devices, codes, strict=True))
    )
    assert e.outcome(told, "inviteRejected") == best


async def test_a_device_that_was_lost_counts_less_than_what_a_device_of_its_class_said(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.in_order(shard, e.decline("phone", errorCode=499), e.disconnected("tablet"))
    assert e.outcome(told, "inviteRejected") == (499, "declined")
    assert e.end_reasons(told) == {"phone": 499, "tablet": 480}


async def test_a_lost_device_goes_before_what_a_device_of_a_higher_class_said(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.in_order(shard, e.decline("phone", errorCode=503), e.disconnected("tablet"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_a_6xx_of_a_device_that_is_out_ends_the_invite_too(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.in_order(shard, e.decline("phone", errorCode=486), e.decline("phone", errorCode=603))
    assert e.outcome(told, "inviteRejected") == (603, "declined")
    assert e.recipients(told, "invitationCancel") == {"tablet"}


async def test_after_the_end_it_changes_nothing_and_is_answered_410(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("tablet"), e.invite(), e.accept("phone"))
    before = await shard.invite(e.REF)
    told = await shard.event(*e.decline("tablet"))

    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (410, "accepted")
    assert e.one(told, "answer").payload["whoAccepted"] == "bob"
    assert await shard.invite(e.REF) == before


async def test_the_winner_cannot_take_its_accept_back(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.accept("phone"))
    assert e.outcome(await shard.event(*e.decline("phone")), "answer") == (410, "accepted")


@pytest.mark.parametrize(("code", "reason"), [(603, "declined"), (486, "busy")])
async def test_a_repeat_by_the_device_whose_decline_counted_is_answered_200(
    shard: Shard, code: int, reason: str
) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*e.decline("phone", errorCode=code))
    told = await shard.event(*e.decline("phone", errorCode=code, transaction="again"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (200, reason)
    assert e.one(told, "answer").payload["transaction"] == "again"


async def test_a_repeat_while_it_is_pending_is_answered_200(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await e.in_order(shard, *[e.decline("phone", errorCode=486)] * 2)
    assert e.types(told) == ["answer", "answer"]
    assert {answer.payload["code"] for answer in told} == {200}


async def test_it_is_answered_410_after_the_time_out(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.later(shard, e.RING)
    assert e.outcome(await shard.event(*e.decline("phone")), "answer") == (410, "timeout")


async def test_a_peer_of_the_callee_that_just_woke_up_may_decline_for_the_user(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.decline("woken"))
    assert e.recipients(told, "invitationCancel") == {"phone"}
    assert e.end_reasons(told) == {"woken": 603, "phone": 487}


async def test_a_peer_that_just_woke_up_and_is_busy_does_not_end_the_ringing(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert e.types(await shard.event(*e.decline("woken", errorCode=486))) == ["answer"]
    assert await e.states(shard) == {"phone": "CALLED", "woken": "DECLINED"}


async def test_somebody_else_may_not_decline(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.decline("e", "eve", to="bob"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (403, "forbidden")
    assert (await shard.invite(e.REF))["state"] == "PENDING"


@pytest.mark.parametrize(("given", "code"), [({}, 487), ({"errorCode": 603}, 603), ({"errorCode": 480}, 480)])
async def test_by_the_inviter_it_is_a_stop(shard: Shard, given: Json, code: int) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.decline("a", "alice", to="bob", **given))

    assert e.outcome(told, "invitationCancel") == (code, "cancelled")
    assert e.outcome(told, "inviteRejected") == (code, "cancelled")
    assert e.outcome(told, "answer") == (200, "cancelled")
    assert e.one(told, "answer").payload["request"] == "decline"
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"]) == ("DECLINED_BY_CREATOR", code)


async def test_by_another_device_of_the_inviter_it_is_a_stop_too(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await shard.event(*e.decline("a2", "alice", to="bob"))
    assert e.outcome(told, "inviteRejected") == (487, "cancelled")
    assert (e.one(told, "inviteRejected").peers, e.one(told, "answer").peers) == (["a"], ["a2"])


async def test_by_the_inviter_after_the_end_it_is_answered_410(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.accept("phone"))
    assert e.outcome(await shard.event(*e.decline("a", "alice", to="bob")), "answer") == (410, "accepted")


async def test_by_the_inviter_of_an_unknown_invite_it_leaves_no_tombstone(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    assert e.outcome(await shard.event(*e.decline("a", "alice", to="bob")), "answer") == (404, "not_found")
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"phone"}


async def test_a_device_that_rang_and_declines_rings_no_more(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.ringing("phone"), e.decline("phone", errorCode=486))
    payload = e.one(await shard.event(*e.invite()), "inviteProgress").payload
    assert (payload["code"], payload["candidates"], payload["ringing"]) == (100, 1, 0)


async def test_a_device_that_declined_is_sent_no_cancel(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.decline("phone", errorCode=486))
    assert e.recipients(await shard.event(*e.stop(e.ALICE)), "invitationCancel") == {"tablet"}


async def test_in_a_call_to_oneself_the_other_devices_decline_for_the_callee(shard: Shard) -> None:
    """Only the inviting peer stands for the inviter then."""
    await shard.event(*e.registered("gateway", "sip", trunk=True, type="PSTN"))
    await shard.event(*e.invite(by=peer("b1", "bob")))
    told = await shard.event(*e.decline("b2", from_="bob"))
    assert e.outcome(told, "inviteRejected") == (603, "declined")


async def test_by_a_device_that_was_never_rung_it_is_answered_410_after_the_end(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.decline("phone"))
    assert e.outcome(await shard.event(*e.decline("woken")), "answer") == (410, "declined")
