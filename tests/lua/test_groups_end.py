"""Groups: who wins, how else a group call ends, and its record."""

import pytest

from tests.support import events as e
from tests.support import groups
from tests.support.shard import Shard, of_type

BOBS, CAROLS = "alice|1|bob", "alice|1|carol"
BUSY = (486, "busy")


# -- who wins


async def test_the_first_member_to_accept_wins_and_all_others_stop(called: Shard) -> None:
    told = await called.event(*e.accept("carol-phone", "carol", transaction="t"))

    expected = ["INVITE_COMPLETED", "answer", "invitationCancel", "inviteAccepted"]
    assert e.types(told) == expected
    accepted = e.one(told, "inviteAccepted")
    assert accepted.peers == ["a"]
    payload = {"inviteId": "1", "from": "alice", "to": "team", "room": "r", "code": 200}
    assert accepted.payload == payload | {"whoAccepted": "carol", "peer": "carol-phone"}
    cancel = e.one(told, "invitationCancel")
    assert sorted(cancel.peers) == ["bob-desk", "bob-phone"]
    assert (cancel.payload["to"], cancel.payload["code"]) == ("bob", 200)
    assert (cancel.payload["reason"], cancel.payload["whoAccepted"]) == ("accepted_elsewhere", "carol")
    answer = e.one(told, "answer").payload
    assert (answer["code"], answer["to"], answer["whoAccepted"], answer["transaction"]) == (
        200,
        "carol",
        "carol",
        "t",
    )


async def test_one_record_has_the_end_of_each_member(called: Shard) -> None:
    told = await called.event(*e.accept("carol-phone", "carol"))
    assert groups.record_of(told) == {"bob": 487, "carol": 200, "dave": 480}
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"], record["whoAccepted"]) == ("ACCEPTED", 200, "carol")
    assert {each["address"]: each["peer"] for each in record["candidates"]} == {
        "bob": None,
        "carol": "carol-phone",
        "dave": None,
    }


async def test_other_devices_of_the_winner_stop_too(called: Shard) -> None:
    told = await called.event(*e.accept("bob-phone"))
    assert groups.stopped(told) == ["bob-desk", "carol-phone"]
    cancels = {tuple(each.peers): each.payload for each in of_type(told, "invitationCancel")}
    assert {payload["whoAccepted"] for payload in cancels.values()} == {"bob"}
    assert {payload["reason"] for payload in cancels.values()} == {"accepted_elsewhere"}


@pytest.mark.parametrize("late", ["bob-desk", "carol-phone"])
async def test_whoever_accepts_later_hears_who_was_faster(called: Shard, late: str) -> None:
    await called.event(*e.accept("bob-phone"))
    told = await called.event(*e.accept(late, late.partition("-")[0]))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (410, "accepted")
    assert e.one(told, "answer").payload["whoAccepted"] == "bob"


async def test_a_repeat_by_the_winner_gets_200(called: Shard) -> None:
    await called.event(*e.accept("bob-phone"))
    assert e.outcome(await called.event(*e.accept("bob-phone")), "answer") == (200, "accepted")


async def test_a_member_that_was_not_rung_may_not_accept(called: Shard) -> None:
    told = await e.in_order(called, e.registered("dave-phone", "dave"), e.accept("dave-phone", "dave"))
    assert e.outcome(told, "answer") == (410, "unreachable")


async def test_who_is_no_member_may_not_accept(called: Shard) -> None:
    assert e.outcome(await called.event(*e.accept("x", "mallory", to="team")), "answer") == (404, "not_found")


async def test_a_member_who_was_left_out_has_no_part_in_the_group(home: Shard) -> None:
    await e.in_order(home, e.invite(to="bob"), e.invite(to="team"))
    assert e.outcome(await home.event(*e.accept("bob-phone", to="team")), "answer") == (404, "not_found")
    told = await home.event(*e.accept("bob-phone", to="bob"))
    assert e.one(told, "inviteAccepted").payload["to"] == "bob"


async def test_an_answer_to_the_group_has_no_effect_on_a_members_own_invite(home: Shard) -> None:
    await groups.at_home(home, "carol-desk")
    await e.in_order(home, e.invite(to="carol"), e.invite(to="team"))
    for answer in (e.ringing, e.accept, e.decline):
        told = await home.event(*answer("carol-desk", "carol", to="team"))
        assert e.types(told) == ["answer"]
        assert e.outcome(told, "answer") == (404, "not_found")
    assert (await home.invite(CAROLS))["state"] == "PENDING"


@pytest.mark.parametrize("named", ["team", "carol"])
async def test_what_a_members_devices_hear_names_the_member(called: Shard, named: str) -> None:
    invited = await called.event(*e.registered("carol-desk", "carol"))
    told = await called.event(*e.decline("carol-phone", "carol", to=named))
    assert e.one(invited, "invitation").payload["to"] == "carol"
    assert e.one(told, "answer").payload["to"] == "carol"
    assert e.one(told, "invitationCancel").payload["to"] == "carol"


async def test_a_woken_device_of_a_member_may_accept(called: Shard) -> None:
    told = await called.event(*e.accept("carol-new", "carol"))
    assert e.one(told, "inviteAccepted").payload["peer"] == "carol-new"
    assert groups.stopped(told) == ["bob-desk", "bob-phone", "carol-phone"]


@pytest.mark.parametrize("named", ["team", "bob"])
async def test_answers_name_the_group_or_the_member(called: Shard, named: str) -> None:
    told = await e.in_order(
        called,
        e.ringing("bob-phone", to=named),
        e.decline("bob-desk", errorCode=486, to=named),
        e.accept("bob-phone", to=named),
    )
    assert e.one(told, "inviteProgress").payload["ringing"] == 1
    assert [each.payload["code"] for each in of_type(told, "answer")] == [200, 200]
    assert {each.payload["to"] for each in of_type(told, "answer")} == {"bob"}
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"


# -- how else it ends


async def test_nobody_answers_in_time(called: Shard) -> None:
    told = await e.later(called, 60_000)
    stops = ["invitationCancel"] * 2
    assert e.types(told) == ["INVITE_COMPLETED", *["callMissed"] * 3, *stops, "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert groups.stopped(told) == ["bob-desk", "bob-phone", "carol-phone"]
    assert groups.record_of(told) == {"bob": 408, "carol": 408, "dave": 480}
    assert (await called.invite(BOBS))["state"] == "DECLINED_BY_TIMEOUT"
    assert await e.later(called, 60_000) == []


@pytest.mark.parametrize("ms", [60_001, 63_000, 3_600_000])
async def test_a_time_out_that_is_noticed_late_is_one_all_the_same(called: Shard, ms: int) -> None:
    told = await e.later(called, ms)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert groups.stopped(told) == ["bob-desk", "bob-phone", "carol-phone"]
    assert {each.payload["code"] for each in of_type(told, "invitationCancel")} == {408}
    assert len(of_type(told, "INVITE_COMPLETED")) == 1


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (e.stop(callee="team"), "cancelled"),
        (e.stop(None, from_="alice", callee="team"), "cancelled"),
        (e.stop(None, callee="team"), "cancelled"),
        (e.decline("a", "alice", to="team"), "cancelled"),
        (e.room_closed(), "room_closed"),
        (e.left("alice"), "caller_gone"),
    ],
)
async def test_the_caller_or_the_room_ends_all_legs(called: Shard, ending: e.Published, reason: str) -> None:
    told = await called.event(*ending)
    assert e.outcome(told, "inviteRejected") == (487, reason)
    assert groups.stopped(told) == ["bob-desk", "bob-phone", "carol-phone"]
    assert {each.payload["reason"] for each in of_type(told, "invitationCancel")} == {reason}
    assert groups.record_of(told) == {"bob": 487, "carol": 487, "dave": 480}
    assert (await called.invite(CAROLS))["state"] == "DECLINED_BY_CREATOR"
    assert await e.later(called, 100_000) == []


async def test_a_caller_that_does_not_come_back_ends_all_legs(called: Shard) -> None:
    await e.in_order(called, e.registered("a", "alice"), e.disconnected("a", "alice"))
    told = await e.later(called, 10_000)
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")
    assert groups.stopped(told) == ["bob-desk", "bob-phone", "carol-phone"]


async def test_a_caller_that_is_back_under_another_peer_id_hears_the_outcome(called: Shard) -> None:
    await e.in_order(called, e.registered("a", "alice", device="d"), e.disconnected("a", "alice"))
    await called.event(*e.registered("a2", "alice", device="d"))
    assert await e.later(called, 10_000) == []
    assert e.one(await called.event(*e.accept("bob-phone")), "inviteAccepted").peers == ["a2"]


async def test_a_leg_can_be_stopped_alone(called: Shard) -> None:
    told = await called.event(*e.stop(callee="bob"))
    assert e.types(told) == ["answer", "invitationCancel"]
    assert groups.stopped(told) == ["bob-desk", "bob-phone"]
    assert e.outcome(told, "invitationCancel") == (487, "cancelled")
    assert e.outcome(await called.event(*e.accept("bob-phone")), "answer") == (410, "cancelled")
    told = await called.event(*e.accept("carol-phone", "carol"))
    assert groups.record_of(told) == {"bob": 487, "carol": 200, "dave": 480}


async def test_all_legs_stopped_is_the_group_stopped(home: Shard) -> None:
    groups.team(home, "bob", "carol")
    told = await e.in_order(home, e.invite(to="team"), e.stop(callee="bob"), e.stop(callee="carol"))
    assert e.outcome(told, "inviteRejected") == (487, "cancelled")
    assert e.one(told, "INVITE_COMPLETED").payload["state"] == "DECLINED_BY_CREATOR"


async def test_a_group_that_was_stopped_before_it_was_called_calls_nobody(home: Shard) -> None:
    told = await e.in_order(home, e.stop(callee="team"), e.invite(to="team"))
    assert groups.rung(told) == []
    assert e.outcome(told, "inviteRejected") == (487, "cancelled")


async def test_a_member_that_was_stopped_before_it_was_called_is_not_rung(home: Shard) -> None:
    told = await e.in_order(home, e.stop(callee="bob"), e.invite(to="team"))
    assert groups.rung(told) == ["carol-phone"]
    told = await home.event(*e.accept("carol-phone", "carol"))
    assert groups.record_of(told) == {"bob": 487, "carol": 200, "dave": 480}


async def test_once_it_is_over_a_repeat_hears_the_outcome(called: Shard) -> None:
    await called.event(*e.accept("bob-phone"))
    told = await called.event(*e.invite(to="team"))
    assert e.types(told) == ["inviteAccepted"]
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"


@pytest.mark.parametrize("to", ["bob", "carol"])
async def test_an_invite_that_names_a_leg_is_refused(called: Shard, to: str) -> None:
    told = await called.event(*e.invite(to=to))
    assert e.types(told) == ["inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (400, "invalid")
    await called.event(*e.accept("bob-phone"))
    told = await called.event(*e.invite(to=to))
    assert e.outcome(told, "inviteRejected") == (400, "invalid")


# -- what is kept


@pytest.mark.one_shard
async def test_every_key_of_a_group_call_expires(called: Shard) -> None:
    deadline = called.now + 60_000 + 86_400_000
    kinds = (
        f"invite:{groups.TEAM}",
        f"legs:{groups.TEAM}",
        f"invite:{BOBS}",
        f"invite:{CAROLS}",
    )
    for name in kinds:
        assert await called.client.pexpiretime(called.keys.base + name) == deadline, name
    await called.event(*e.accept("bob-phone"))
    for name in kinds:
        assert await called.client.pexpiretime(called.keys.base + name) == called.now + 300_000, name
    assert await called.client.zcard(called.keys.timers) == 0
    assert not await called.client.exists(called.keys.pending("bob"))
    assert not await called.client.exists(called.keys.pending("team"))


async def test_a_lapse_of_all_time_leaves_nothing(called: Shard) -> None:
    await e.later(called, 100_000)
    await e.later(called, 400_000)
    names = [
        name.decode()
        for keys in called.all_keys
        async for name in called.client_of(keys).scan_iter(match=f"{keys.base}*")
    ]
    left_over = [name for name in names if "team" in name or "legs" in name or "invite:" in name]
    assert left_over == []


@pytest.mark.one_shard
async def test_the_log_names_the_winner_once(called: Shard) -> None:
    await called.event(*e.accept("bob-phone"))
    facts = [fact for fact in called.outcomes[0].facts if fact[0] == "accepted"]
    assert facts == [("accepted", "1", "r", "bob")]


@pytest.mark.one_shard
async def test_what_was_looked_up_is_asked_for_once(home: Shard) -> None:
    operation = await home.publish(*e.invite(e.ALICE, to="team"))
    outcome_ = (await home.committer.commit([operation])).outcomes[0]
    assert (outcome_.status.value, outcome_.detail) == ("needs", "anybody")
    completed = await home.resolver.complete(operation, outcome_)
    assert completed.arguments.flat()[-1] == home.found["team"].encode()
    assert (await home.committer.commit([completed])).outcomes[0].status.value == "done"
