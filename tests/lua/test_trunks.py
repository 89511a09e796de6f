"""Trunks: numbers that nobody has registered for lead to the phone network."""

from collections.abc import Callable

import pytest

from invites.store.answers import Status
from tests.support import events as e
from tests.support.shard import MakeShard, Shard, peer

NUMBER = "+4930123456"
REF = f"alice|1|{NUMBER}"


async def test_a_number_rings_the_trunk(shard: Shard) -> None:
    told = await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER))

    invitation = e.one(told, "invitation")
    assert (invitation.peers, invitation.users) == (["t"], ["sip"])
    assert invitation.payload["to"] == NUMBER
    assert e.one(told, "inviteProgress").payload["candidates"] == 1
    candidate = (await shard.candidates(REF))["t"]
    assert (candidate["type"], candidate["address"]) == ("PSTN", NUMBER)


async def test_who_has_devices_is_not_called_over_the_trunk(shard: Shard) -> None:
    told = await e.in_order(shard, e.trunk("t"), e.registered("phone"), e.invite())
    assert e.recipients(told, "invitation") == {"phone"}


@pytest.mark.parametrize(
    ("match", "number", "fits"),
    [
        (r"\+49\d+", NUMBER, True),
        (r"\+49", NUMBER, False),
        (r"\d+", NUMBER, False),
        (r"\+43\d+|\+49\d+", NUMBER, True),
        (r"(?i)sales", "SALES", True),
        (r".*", "anything@all", True),
        (r"[0-9]{3}", "110", True),
        (r"[0-9]{3}", "1100", False),
    ],
)
async def test_the_match_must_fit_the_whole_of_the_number(
    shard: Shard, match: str, number: str, fits: bool
) -> None:
    told = await e.in_order(shard, e.trunk("t", match), e.invite(to=number))
    assert ("invitation" in e.types(told)) == fits
    if not fits:
        assert e.outcome(told, "inviteRejected") == (404, "not_found")


async def test_a_specific_match_goes_before_one_for_everything(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("a-any"), e.trunk("z-germany", r"\+49\d+"))
    assert e.recipients(await shard.event(*e.invite(to=NUMBER)), "invitation") == {"z-germany"}
    assert e.recipients(await shard.event(*e.invite(to="+431")), "invitation") == {"a-any"}


async def test_the_inviting_trunk_is_never_its_own_candidate(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t1"), e.trunk("t2"))
    told = await shard.event(*e.invite(by=peer("t1", "sip"), to=NUMBER))
    assert e.recipients(told, "invitation") == {"t2"}


async def test_the_only_trunk_calling_a_number_that_nobody_has_is_told_404(shard: Shard) -> None:
    told = await e.in_order(shard, e.trunk("t"), e.invite(by=peer("t", "sip"), to=NUMBER))
    assert e.outcome(told, "inviteRejected") == (404, "not_found")


async def test_a_known_user_without_devices_is_called_over_the_trunk(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.registered("phone"), e.disconnected("phone"))
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"t"}


async def test_a_trunk_that_signed_off_is_asked_no_more(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t1"), e.trunk("t2", r"\+49\d+"), e.disconnected("t2", "sip"))
    assert e.recipients(await shard.event(*e.invite(to=NUMBER)), "invitation") == {"t1"}
    await shard.event(*e.disconnected("t1", "sip"))
    assert e.outcome(await shard.event(*e.invite(to=NUMBER, invite_id="2")), "inviteRejected") == (
        404,
        "not_found",
    )


async def test_a_trunk_that_registers_anew_changes_its_match(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t", r"\+43\d+"), e.trunk("t", r"\+49\d+"))
    assert e.recipients(await shard.event(*e.invite(to=NUMBER)), "invitation") == {"t"}


async def test_a_trunk_whose_registration_lapsed_is_asked_no_more(shard: Shard) -> None:
    await shard.event(*e.trunk("t", expires=1_000))
    await e.later(shard, 1_000)
    assert e.outcome(await shard.event(*e.invite(to=NUMBER)), "inviteRejected") == (404, "not_found")


@pytest.mark.one_shard
async def test_a_choice_among_yesterdays_trunks_is_refused_and_made_again(shard: Shard) -> None:
    await shard.event(*e.trunk("old"))
    operation = await shard.publish(*e.invite(to=NUMBER))
    [asked] = (await shard.committer.commit([operation])).outcomes
    assert asked.status is Status.NEEDS
    completed = await shard.resolver.complete(operation, asked)
    await e.in_order(shard, e.disconnected("old", "sip"), e.trunk("new"))

    [refused] = (await shard.committer.commit([completed])).outcomes
    assert refused.status is Status.NEEDS
    assert await shard.told() == []
    await shard.settle(await shard.resolver.complete(operation, refused))
    assert e.recipients(await shard.told(), "invitation") == {"new"}


async def test_what_the_phone_side_accepts_was_accepted_by_the_number(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER), e.ringing("t", "sip", to=NUMBER))
    told = await shard.event(*e.accept("t", "sip", to=NUMBER))

    accepted = e.one(told, "inviteAccepted").payload
    assert (accepted["whoAccepted"], accepted["peer"]) == (NUMBER, "t")
    assert e.outcome(told, "answer") == (200, "accepted")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert record["whoAccepted"] == NUMBER
    assert record["candidates"] == [{"address": NUMBER, "peer": "t", "endReason": 200}]


async def test_when_the_phone_side_rings_the_inviter_hears_180(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER))
    told = await shard.event(*e.ringing("t", "sip", to=NUMBER))
    assert e.one(told, "inviteProgress").payload["code"] == 180


async def test_what_the_phone_side_declines_ends_the_call(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER))
    told = await shard.event(*e.decline("t", "sip", to=NUMBER, errorCode=486))
    assert e.outcome(told, "inviteRejected") == (486, "busy")


async def test_another_peer_of_the_trunks_user_may_not_accept(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER))
    told = await shard.event(*e.accept("other", "sip", to=NUMBER))
    assert e.outcome(told, "answer") == (403, "forbidden")


async def test_a_stopped_call_is_cancelled_at_the_trunk(shard: Shard) -> None:
    told = await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER), e.stop(callee=NUMBER))
    cancel = e.one(told, "invitationCancel")
    assert (cancel.peers, cancel.users) == (["t"], ["sip"])


async def test_a_call_over_the_trunk_times_out(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER))
    told = await e.later(shard, e.RING)
    assert e.recipients(told, "invitationCancel") == {"t"}
    assert e.end_reasons(told) == {"t": 408}


async def test_a_lost_trunk_ends_its_calls(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER))
    assert e.outcome(await shard.event(*e.disconnected("t", "sip")), "inviteRejected") == (480, "unreachable")


async def test_a_trunk_back_within_its_grace_is_rung_again(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER), e.disconnected("t", "sip"))
    told = await shard.event(*e.trunk("t"))
    assert e.one(told, "invitation").payload["resumed"] is True
    assert await e.states(shard, REF) == {"t": "CALLED"}


async def test_a_trunk_back_under_a_new_peer_id_takes_over_its_calls(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.trunk("t1", device="gateway"), e.invite(to=NUMBER), e.disconnected("t1", "sip"))
    told = await shard.event(*e.trunk("t2", device="gateway"))
    assert e.recipients(told, "invitation") == {"t2"}
    assert await e.states(shard, REF) == {"t2": "CALLED"}


async def test_a_trunk_that_its_gateway_replaces_takes_over_its_calls_though_there_is_no_grace(
    shard: Shard,
) -> None:
    await e.in_order(shard, e.trunk("t", device="gateway"), e.invite(to=NUMBER))
    told = await shard.event(*e.trunk("t2", device="gateway"))
    assert e.recipients(told, "invitation") == {"t2"}
    assert (
        e.one(await shard.event(*e.accept("t2", "sip", to=NUMBER)), "inviteAccepted").payload["peer"] == "t2"
    )


async def test_a_trunk_that_registers_as_none_leads_nowhere(shard: Shard) -> None:
    told = await e.in_order(shard, e.trunk("t"), e.registered("t", "sip"), e.invite(to=NUMBER))
    assert e.outcome(told, "inviteRejected") == (404, "not_found")


async def test_a_trunk_that_registers_while_it_rings_becomes_no_candidate(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite())
    assert await e.in_order(shard, e.trunk("t"), e.trunk("t2", user="bob")) == []


async def test_a_trunk_is_no_device_of_its_user(shard: Shard) -> None:
    told = await e.in_order(shard, e.trunk("t", r"\+49\d+"), e.invite(to="sip"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


async def test_the_trunks_user_can_ask_what_rings_it(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t"), e.invite(to=NUMBER))
    [item] = e.one(await shard.event(*e.invitations("t", "sip")), "answer").payload["invitations"]
    assert item["to"] == NUMBER


@pytest.mark.parametrize(
    "event", [e.disconnected("t", "eve"), e.registered("t", "eve")], ids=lambda event: str(event[0])
)
async def test_a_peer_of_somebody_else_that_has_the_trunks_id_leaves_it_alone(
    shard: Shard, event: e.Published
) -> None:
    await e.in_order(shard, e.trunk("t"), event)
    assert e.recipients(await shard.event(*e.invite(to=NUMBER)), "invitation") == {"t"}


@pytest.mark.parametrize("event", [e.accept, e.decline, e.silence, e.ringing])
async def test_a_device_of_the_callee_with_the_peer_id_of_a_trunk_does_not_speak_for_it(
    shard: Shard, event: Callable[..., e.Published]
) -> None:
    await e.in_order(shard, e.trunk("gw"), e.invite(to="007"))
    told = await shard.event(*event("gw", "007"))
    assert e.outcome(told, "answer") == (403, "forbidden")
    assert e.types(await shard.event(*e.registered("gw", "007"))) == []
    told = await shard.event(*e.accept("gw", "sip", to="007"))
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "007"


async def test_a_join_as_a_peer_with_the_id_of_a_trunk_stops_the_trunk(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("gw"), e.invite(to="007"))
    told = await shard.event(*e.joined("007", peer=peer("gw", "007")))
    assert (e.one(told, "inviteAccepted").payload["peer"], e.recipients(told, "invitationCancel")) == (
        None,
        {"gw"},
    )
