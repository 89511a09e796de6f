"""A user who joins the room of invites that ring has answered them."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.shard import MakeShard, Notification, Shard, of_type, peer

PHONE = peer("phone", "bob")
LINK = peer("browser", "bob", "laptop")
CAROL = peer("c", "carol")


def outcome_of(told: list[Notification]) -> tuple[str, str | None]:
    """Who has accepted, as which peer, by the only `inviteAccepted`."""
    accepted = e.one(told, "inviteAccepted").payload
    assert accepted["code"] == 200
    return accepted["whoAccepted"], accepted["peer"]


def stopped(told: list[Notification]) -> dict[str, tuple[object, ...]]:
    """Peer -> code, reason, who and which peer (None where the cancel has none), by the cancels."""
    return {
        name: tuple(each.payload.get(field) for field in ("code", "reason", "whoAccepted", "peer"))
        for each in of_type(told, "invitationCancel")
        for name in each.peers
    }


async def answers(shard: Shard, *events: e.Published) -> list[tuple[int, str]]:
    """Code and reason of the answer to each."""
    return [e.outcome(await shard.event(*event), "answer") for event in events]


async def test_a_join_by_a_device_that_rings_is_its_accept(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.joined("bob", peer=PHONE))
    assert outcome_of(told) == ("bob", "phone")
    assert stopped(told) == {"tablet": (200, "accepted_elsewhere", "bob", "phone")}
    assert of_type(told, "answer") == []
    assert e.end_reasons(told) == {"phone": 200, "tablet": 487}
    assert await e.states(shard) == {"phone": "ACCEPTED", "tablet": "CANCELLED"}
    later = await answers(shard, e.accept("tablet"), e.accept("phone"))
    assert later == [(410, "accepted"), (200, "accepted")]


async def test_a_join_by_a_link_stops_all_devices(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.joined("bob", peer=LINK))
    assert outcome_of(told) == ("bob", "browser")
    assert set(stopped(told)) == {"phone", "tablet"}
    assert e.end_reasons(told) == {"browser": 200, "phone": 487, "tablet": 487}
    assert (await shard.candidates(e.REF))["browser"]["device"] == "laptop"


async def test_a_join_by_a_device_under_another_peer_id_is_that_devices(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", device="d"), e.invite())
    told = await shard.event(*e.joined("bob", peer=peer("conference-leg", "bob", "d")))
    assert outcome_of(told) == ("bob", "conference-leg")
    assert stopped(told) == {}


@pytest.mark.one_shard
async def test_a_phone_that_was_pushed_joins_and_gets_no_cancel_push(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*e.joined("bob", peer=peer("p", "bob", "phone")))
    assert outcome_of(told) == ("bob", "p")
    assert await push_jobs.jobs(bob_pushed) == []


async def test_a_join_without_a_peer_stops_all_devices_and_the_first_accept_is_named(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.joined("bob"))
    assert outcome_of(told) == ("bob", None)
    ended = (200, "accepted_elsewhere", "bob", None)
    assert stopped(told) == {"phone": ended, "tablet": ended}
    assert e.end_reasons(told) == {"phone": 487, "tablet": 487}

    told = await shard.event(*e.accept("tablet", context="here"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (200, "accepted")
    assert (await shard.invite(e.REF))["acceptedBy"] == "tablet"
    assert (await e.states(shard))["tablet"] == "ACCEPTED"
    later = await answers(shard, e.accept("phone"), e.accept("tablet"), e.decline("phone"))
    assert later == [(410, "accepted"), (200, "accepted"), (410, "accepted")]
    assert outcome_of(await shard.event(*e.invite())) == ("bob", "tablet")


async def test_a_device_that_was_not_rung_may_be_named_as_well(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*e.joined("bob"))
    assert await answers(shard, e.accept("browser")) == [(200, "accepted")]
    assert (await shard.invite(e.REF))["acceptedBy"] == "browser"


async def test_nobody_but_the_callee_is_named(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("gw"), e.registered("phone"), e.invite(), e.joined("bob"))
    refused = await answers(shard, e.accept("gw", "sip", to="bob"), e.accept("a", "alice", to="bob"))
    assert refused == [(403, "forbidden"), (403, "forbidden")]


async def test_naming_keeps_the_time_to_live(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", device="d"), e.invite(), e.joined("bob"))
    before = await shard.client.pexpiretime(shard.keys.invite(e.REF))
    shard.now += 5_000
    await shard.event(*e.accept("other", to="bob"))
    await shard.event(*e.said_by("d", e.accept("new")))
    assert await shard.client.pexpiretime(shard.keys.invite(e.REF)) == before


async def test_two_invites_into_one_room_both_end_and_others_ring_on(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.in_order(shard, e.invite(CAROL), e.invite(peer("d", "dave"), room="other"))
    told = await shard.event(*e.joined("bob", peer=PHONE))
    accepted = of_type(told, "inviteAccepted")
    assert {tuple(each.peers) for each in accepted} == {("a",), ("c",)}
    assert len(of_type(told, "INVITE_COMPLETED")) == 2
    assert (await shard.invite("dave|1|bob"))["state"] == "PENDING"


async def test_two_invites_into_one_room_both_end_although_one_device_is_busy(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.invite(CAROL), e.invite(peer("d", "dave"), room="other"))
    told = await shard.event(*e.joined("bob", peer=LINK))
    assert len(of_type(told, "inviteAccepted")) == 2
    assert e.outcome(told, "inviteRejected") == (486, "busy")
    assert e.one(told, "inviteRejected").peers == ["d"]


async def test_repeats_of_a_join_tell_nothing_twice(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*e.joined("bob", peer=PHONE))
    assert await e.in_order(shard, e.joined("bob", peer=PHONE), e.joined("bob")) == []


async def test_a_join_of_somebody_else_or_of_another_room_answers_nothing(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await e.in_order(
        shard, e.joined("alice", peer=e.ALICE), e.joined("carol"), e.joined("bob", "other")
    )
    assert set(e.types(told)) <= {"userJoined", "userBusy"}
    assert (await shard.invite(e.REF))["state"] == "PENDING"


async def test_a_call_to_oneself_is_answered_by_another_peer_alone(shard: Shard) -> None:
    await e.in_order(shard, e.registered("a", "alice"), e.registered("a2", "alice"))
    await e.in_order(shard, e.trunk("gw"), e.invite(to="alice"))
    own = await e.in_order(shard, e.joined("alice", peer=e.ALICE), e.joined("alice"))
    assert of_type(own, "inviteAccepted") == []
    told = await shard.event(*e.joined("alice", peer=peer("a2", "alice")))
    assert outcome_of(told) == ("alice", "a2")


async def test_a_request_has_no_room_to_join(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request())
    assert e.types(await shard.event(*e.joined("bob", peer=PHONE))) == ["userBusy"]


async def test_with_join_accepts_off_a_join_answers_nothing(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(join_accepts=False))
    await e.bob_rings(shard, "phone")
    assert e.types(await shard.event(*e.joined("bob", peer=PHONE))) == ["userBusy"]
    assert e.recipients(await shard.event(*e.invite(CAROL)), "invitation") == {"phone"}


async def test_a_call_that_went_to_the_phone_network_ends_too(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True))
    await e.in_order(shard, e.registered("phone"), e.trunk("gw"), e.invite())
    told = await shard.event(*e.joined("bob", peer=PHONE))
    assert outcome_of(told) == ("bob", "phone")
    assert set(stopped(told)) == {"gw"}
    assert await answers(shard, e.accept("phone"), e.accept("tablet")) == [
        (200, "accepted"),
        (410, "accepted"),
    ]


@pytest.mark.parametrize("first", [3, 12])
async def test_a_join_reaches_every_one_of_many_invites(
    make_shard: MakeShard, request: pytest.FixtureRequest, first: int
) -> None:
    if "fakeredis" in request.node.name:
        pytest.skip("fakeredis makes no copy of a key, but a second name")
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.in_order(shard, e.registered("phone"), e.registered("tablet"))
    for number in range(first):
        await shard.event(*e.invite(peer("x", f"user{number}")))
    told = await shard.event(*e.joined("bob", peer=LINK)) + await shard.fire()
    assert len(of_type(told, "inviteAccepted")) == first
    assert of_type(told, "inviteRejected") == []


# -- who is in the room already


async def test_a_member_whose_peer_is_registered_is_not_rung(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("tablet"), e.joined("bob", peer=PHONE))
    told = await shard.event(*e.invite())
    assert e.types(told) == ["INVITE_COMPLETED", "inviteAccepted"]
    assert outcome_of(told) == ("bob", "phone")
    assert e.end_reasons(told) == {"phone": 200}
    assert await answers(shard, e.accept("phone"), e.accept("tablet")) == [
        (200, "accepted"),
        (410, "accepted"),
    ]
    assert outcome_of(await shard.event(*e.invite())) == ("bob", "phone")


@pytest.mark.parametrize("named", [None, "D"])
async def test_a_member_whose_device_has_another_peer_id_by_now_is_not_rung(
    shard: Shard, named: str | None
) -> None:
    join = e.joined("bob", peer=peer("phone", "bob", named))
    await e.in_order(shard, e.registered("phone", device="D"), join, e.registered("phone-2", device="D"))
    told = await shard.event(*e.invite())
    assert not of_type(told, "invitation")
    assert e.one(told, "inviteAccepted").payload["peer"] == "phone"


async def test_a_repeat_of_the_join_without_a_peer_leaves_the_peer(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.joined("bob", peer=PHONE), e.joined("bob"))
    assert outcome_of(await shard.event(*e.invite())) == ("bob", "phone")


@pytest.mark.parametrize(
    "since",
    [
        [e.joined("bob")],
        [e.joined("bob", peer=LINK)],
        [e.joined("bob", peer=PHONE), e.disconnected("phone")],
        [e.joined("bob", peer=PHONE), e.left("bob")],
        [e.joined("bob", peer=PHONE), e.room_closed()],
        [e.joined("bob", peer=PHONE), e.left("bob"), e.joined("bob")],
        [e.joined("bob", "other", peer=PHONE)],
    ],
    ids=["no peer", "not registered", "gone", "left", "closed", "joined again", "another room"],
)
async def test_others_are_rung(shard: Shard, since: list[e.Published]) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("tablet"), *since)
    assert "tablet" in e.recipients(await shard.event(*e.invite()), "invitation")


@pytest.mark.one_shard
async def test_a_join_that_was_published_after_the_invite_has_answered_it_before_it_rings(
    shard: Shard,
) -> None:
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(), e.joined("bob")], (1, 0))
    assert outcome_of(told) == ("bob", None)
    assert of_type(told, "invitation") == []
    assert await answers(shard, e.accept("phone")) == [(200, "accepted")]


async def test_a_join_that_a_leaving_has_overtaken_answers_nothing(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    told = await e.arriving(shard, [e.joined("bob", peer=PHONE), e.left("bob")], (1, 0))
    assert told == []
    assert (await shard.invite(e.REF))["state"] == "PENDING"


# -- groups


async def test_a_members_join_is_the_members_accept(called: Shard) -> None:
    told = await called.event(*e.joined("bob", peer=peer("bob-phone", "bob")))
    assert outcome_of(told) == ("bob", "bob-phone")
    assert groups.stopped(told) == ["bob-desk", "carol-phone"]
    assert groups.record_of(told) == {"bob": 200, "carol": 487, "dave": 480}
    assert of_type(told, "answer") == []


async def test_a_members_join_without_a_peer_leaves_the_name_open(called: Shard) -> None:
    told = await called.event(*e.joined("carol"))
    assert outcome_of(told) == ("carol", None)
    assert groups.stopped(told) == ["bob-desk", "bob-phone", "carol-phone"]
    refused = await answers(called, e.accept("bob-phone"))
    assert refused == [(410, "accepted")]
    assert await answers(called, e.accept("carol-phone", "carol")) == [(200, "accepted")]
    assert outcome_of(await called.event(*e.invite(to="team"))) == ("carol", "carol-phone")
    assert await answers(called, e.accept("carol-desk", "carol")) == [(410, "accepted")]


async def test_with_ring_mode_all_each_member_that_joins_has_accepted(home: Shard) -> None:
    await home.event(*e.invite(to="team", ringMode="all"))
    told = await home.event(*e.joined("bob"))
    assert outcome_of(told) == ("bob", None)
    assert groups.stopped(told) == ["bob-desk", "bob-phone"]
    told = await home.event(*e.joined("carol", peer=peer("carol-phone", "carol")))
    assert outcome_of(told) == ("carol", "carol-phone")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert [(each["address"], each["peer"], each["endReason"]) for each in record["candidates"]] == [
        ("bob", None, 200), ("carol", "carol-phone", 200), ("dave", None, 480)
    ]  # fmt: skip


async def test_members_who_were_in_the_room_before_are_left_out(home: Shard) -> None:
    await home.event(*e.joined("bob", peer=peer("bob-phone", "bob")))
    told = await home.event(*e.invite(to="team"))
    assert groups.rung(told) == ["carol-phone"]


# -- roomGrace

GRACE = Settings(room_grace=5_000)


async def test_an_inviter_that_leaves_has_its_grace(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await e.bob_rings(shard, "phone")
    assert await e.in_order(shard, e.joined("alice"), e.left("alice")) == []
    assert await e.later(shard, 4_999) == []
    told = await e.later(shard, 1)
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")


async def test_an_inviter_that_joins_again_keeps_its_call(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await e.bob_rings(shard, "phone")
    await e.in_order(shard, e.joined("alice"), e.left("alice"))
    await e.later(shard, 4_000)
    assert await shard.event(*e.joined("alice")) == []
    assert await e.later(shard, 40_000) == []
    await shard.event(*e.left("alice"))
    assert e.outcome(await e.later(shard, 5_000), "inviteRejected") == (487, "caller_gone")


async def test_leaving_twice_does_not_lengthen_the_grace(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await e.bob_rings(shard, "phone")
    await shard.event(*e.left("alice"))
    await e.later(shard, 4_000)
    await shard.event(*e.left("alice"))
    assert e.outcome(await e.later(shard, 1_000), "inviteRejected") == (487, "caller_gone")


async def test_an_invite_that_comes_late_shares_the_grace(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await shard.event(*e.registered("phone"))
    told = await e.arriving(shard, [e.invite(), e.left("alice")], (1, 0))
    assert e.recipients(told, "invitation") == {"phone"}
    assert e.outcome(await e.later(shard, 5_000), "inviteRejected") == (487, "caller_gone")


async def test_an_invite_that_comes_after_the_grace_never_rings(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await shard.event(*e.registered("phone"))
    operations = [await shard.publish(*event) for event in (e.invite(), e.left("alice"))]
    await shard.settle(operations[1])
    shard.now += 5_000
    await shard.settle(operations[0])
    told = await shard.told() + await shard.fire()
    assert of_type(told, "invitation") == []
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")


async def test_a_leaving_that_a_join_has_overtaken_ends_nothing(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await e.bob_rings(shard, "phone")
    await e.arriving(shard, [e.left("alice"), e.joined("alice")], (1, 0))
    assert await e.later(shard, 10_000) == []


async def test_calls_made_within_the_grace_go_on(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await e.in_order(shard, e.registered("phone"), e.left("alice"), e.invite())
    assert await e.later(shard, 10_000) == []
    assert (await shard.invite(e.REF))["state"] == "PENDING"
