"""Events that name the device of their peer: the same hardware as a registration's device and a push device."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.events import said_by
from tests.support.shard import MakeShard, Shard, of_type, peer

one_shard = pytest.mark.one_shard
STOP = "invitationCancel"
BOTH = Settings(look_up="push", remove_after=5_000)
ACCEPT = said_by("phone", e.accept("p1"))


async def called_by_zoe(shard: Shard) -> None:
    await shard.event(*e.invite(peer("z", "zoe")))


# -- a woken phone that is not registered yet


@one_shard
async def test_a_woken_phone_accepts_as_the_device_that_was_pushed(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*ACCEPT)
    assert e.one(told, "inviteAccepted").payload["peer"] == "p1"
    assert e.outcome(told, "answer") == (200, "accepted")
    assert e.end_reasons(told) == {"p1": 200}
    assert of_type(told, STOP) == []
    assert await push_jobs.jobs(bob_pushed) == []


@one_shard
@pytest.mark.parametrize("became", ["pushTaken", "pushUnsure", "pushGone"])
async def test_the_push_may_be_settled_after_the_accept(bob_called: Shard, became: str) -> None:
    [job] = await push_jobs.jobs(bob_called)
    told = await bob_called.event(*ACCEPT)
    assert e.end_reasons(told) == {"p1": 200}
    assert await push_jobs.becomes(bob_called, job, became) == []
    assert await push_jobs.jobs(bob_called) == []
    assert await e.states(bob_called) == {"p1": "ACCEPTED"}


@one_shard
async def test_the_other_devices_are_stopped(bob_asleep: Shard) -> None:
    push_jobs.sleeps(bob_asleep, "bob", "phone", "watch")
    await e.in_order(bob_asleep, e.registered("desk"), e.invite())
    await push_jobs.taken(bob_asleep)
    told = await bob_asleep.event(*ACCEPT)
    assert groups.stopped(told) == ["desk"]
    [job] = await push_jobs.jobs(bob_asleep)
    assert (job["type"], job["device"]) == (STOP, "watch")
    assert job["payload"]["peer"] == e.one(told, STOP).payload["peer"] == "p1"


@one_shard
async def test_a_woken_phone_rings(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*said_by("phone", e.ringing("p1")))
    progress = e.one(told, "inviteProgress").payload
    assert (progress["code"], progress["candidates"], progress["ringing"], progress["pushed"]) == (
        180,
        1,
        1,
        0,
    )
    assert await e.states(bob_pushed) == {"p1": "RINGING"}
    assert await bob_pushed.event(*said_by("phone", e.ringing("p1"))) == []
    told = await bob_pushed.event(*e.stop())
    assert groups.stopped(told) == ["p1"]
    assert await push_jobs.jobs(bob_pushed) == []


@one_shard
@pytest.mark.parametrize("was_taken", [False, True])
async def test_the_only_phone_declines_and_the_caller_does_not_wait(
    bob_called: Shard, was_taken: bool
) -> None:
    if was_taken:
        await push_jobs.taken(bob_called)
    told = await bob_called.event(*said_by("phone", e.decline("p1", errorCode=488)))
    assert e.outcome(told, "inviteRejected") == (488, "declined")
    assert e.end_reasons(told) == {"p1": 488}
    assert push_jobs.briefly(await push_jobs.jobs(bob_called)) == (
        [] if was_taken else [("invitation", "phone")]
    )


@one_shard
async def test_one_of_two_phones_is_busy(bob_asleep: Shard) -> None:
    push_jobs.sleeps(bob_asleep, "bob", "phone", "watch")
    await bob_asleep.event(*e.invite())
    await push_jobs.taken(bob_asleep)
    told = await bob_asleep.event(*said_by("phone", e.decline("p1", errorCode=486)))
    assert e.types(told) == ["answer"]
    assert await e.states(bob_asleep) == {"p1": "DECLINED", "watch": "PUSHED"}
    told = await bob_asleep.event(*said_by("watch", e.decline("w1", errorCode=486)))
    assert e.outcome(told, "inviteRejected") == (486, "busy")


@one_shard
async def test_a_phone_that_sippo_server_takes_for_gone_rings_all_the_same(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("desk"), e.invite())
    [job] = await push_jobs.jobs(bob_asleep)
    await push_jobs.becomes(bob_asleep, job, "pushGone")
    await bob_asleep.event(*said_by("phone", e.ringing("p1")))
    assert await e.states(bob_asleep) == {"desk": "CALLED", "p1": "RINGING"}


# -- races


@one_shard
@pytest.mark.parametrize("id_", ["p1", "p2"])
async def test_the_phone_registers_after_its_accept(bob_pushed: Shard, id_: str) -> None:
    told = await e.in_order(bob_pushed, ACCEPT, e.registered(id_, device="phone"))
    assert of_type(told, "invitation") == of_type(told, STOP) == []
    assert e.outcome(await bob_pushed.event(*said_by("phone", e.accept(id_))), "answer") == (200, "accepted")
    assert e.outcome(await bob_pushed.event(*e.accept(id_)), "answer") == (200, "accepted")


@one_shard
@pytest.mark.parametrize("id_", ["p1", "p2"])
async def test_the_phone_registers_before_its_accept(bob_pushed: Shard, id_: str) -> None:
    told = await e.in_order(bob_pushed, e.registered(id_, device="phone"), ACCEPT)
    assert e.end_reasons(told) == {"p1": 200}
    assert of_type(told, STOP) == []
    assert await push_jobs.jobs(bob_pushed) == []


@one_shard
async def test_the_accept_is_overtaken_by_a_later_registration(bob_pushed: Shard) -> None:
    told = await e.arriving(bob_pushed, [ACCEPT, e.registered("p2", device="phone")], [1, 0])
    assert of_type(told, STOP) == []
    assert e.one(told, "inviteAccepted").payload["peer"] == "p1"
    assert await e.states(bob_pushed) == {"p1": "ACCEPTED"}
    assert e.outcome(await bob_pushed.event(*e.accept("p2")), "answer") == (200, "accepted")


@one_shard
async def test_a_ringing_of_an_older_connection_keeps_the_newer_one(bob_pushed: Shard) -> None:
    ring = said_by("phone", e.ringing("p1"))
    await e.arriving(bob_pushed, [ring, e.registered("p2", device="phone")], [1, 0])
    assert await e.states(bob_pushed) == {"p2": "RINGING"}
    assert groups.stopped(await bob_pushed.event(*e.stop())) == ["p2"]


@one_shard
async def test_a_ringing_of_an_older_connection_does_not_revive_a_lost_one(make_shard: MakeShard) -> None:
    shard = await make_shard(BOTH)
    push_jobs.sleeps(shard, "bob", "phone")
    await shard.event(*e.invite())
    ring = said_by("phone", e.ringing("p1"))
    await e.arriving(shard, [ring, e.registered("p2", device="phone"), e.disconnected("p2")], [1, 2, 0])
    assert await e.states(shard) == {"p2": "AWAY"}
    assert await e.later(shard, 5_000) == []
    assert await e.states(shard) == {"phone": "PUSHING"}


@one_shard
@pytest.mark.parametrize("second", ["p1", "p2"])
async def test_one_device_accepts_twice(bob_pushed: Shard, second: str) -> None:
    told = await e.in_order(bob_pushed, ACCEPT, said_by("phone", e.accept(second)))
    assert [each.payload["code"] for each in of_type(told, "answer")] == [200, 200]
    assert len(of_type(told, "inviteAccepted")) == len(of_type(told, "INVITE_COMPLETED")) == 1
    assert await push_jobs.jobs(bob_pushed) == []


@one_shard
async def test_a_phone_rings_and_then_registers_under_another_peer(bob_pushed: Shard) -> None:
    await bob_pushed.event(*said_by("phone", e.ringing("p1")))
    told = await bob_pushed.event(*e.registered("p2", device="phone"))
    assert (groups.rung(told), e.one(told, "invitation").payload["resumed"]) == (["p2"], True)
    assert await e.states(bob_pushed) == {"p2": "CALLED"}
    told = await bob_pushed.event(*e.accept("p2"))
    assert e.end_reasons(told) == {"p2": 200}
    assert of_type(told, STOP) == []


@one_shard
async def test_a_phone_rings_and_then_registers_as_the_same_peer(bob_pushed: Shard) -> None:
    await bob_pushed.event(*said_by("phone", e.ringing("p1")))
    assert await bob_pushed.event(*e.registered("p1", device="phone")) == []
    assert await e.states(bob_pushed) == {"p1": "RINGING"}


@one_shard
async def test_a_device_of_another_user_is_not_the_candidate(bob_pushed: Shard) -> None:
    told = await bob_pushed.event(*said_by("phone", e.accept("c", "carol", to="bob")))
    assert e.outcome(told, "answer") == (403, "forbidden")
    assert await e.states(bob_pushed) == {"phone": "PUSHED"}


@one_shard
async def test_a_trunk_with_the_id_of_a_users_device_keeps_its_place(shard: Shard) -> None:
    """Device ids are ids of one user's hardware."""
    await e.in_order(shard, e.trunk("gw", device="box"), e.invite(), said_by("box", e.ringing("p1")))
    assert await e.states(shard) == {"gw": "CALLED", "p1": "RINGING"}
    await shard.event(*e.registered("p2", device="box"))
    assert await e.states(shard) == {"gw": "CALLED", "p2": "CALLED"}


@one_shard
async def test_a_peer_names_its_device_late(bob_asleep: Shard) -> None:
    """A peer that sippo-server knows has no device until it names one: then its push is the same device's."""
    await e.in_order(bob_asleep, e.registered("p1"), e.invite())
    await push_jobs.taken(bob_asleep)
    assert await e.states(bob_asleep) == {"p1": "CALLED", "phone": "PUSHED"}
    told = await bob_asleep.event(*ACCEPT)
    assert e.end_reasons(told) == {"p1": 200}
    assert await push_jobs.jobs(bob_asleep) == []


@one_shard
async def test_what_a_lost_peer_says_late_leaves_its_push(bob_asleep: Shard) -> None:
    await e.in_order(bob_asleep, e.registered("p1"), e.invite())
    await push_jobs.taken(bob_asleep)
    ring = said_by("phone", e.ringing("p1"))
    await e.arriving(bob_asleep, [ring, e.disconnected("p1")], [1, 0])
    assert await e.states(bob_asleep) == {"p1": "GONE", "phone": "PUSHED"}


@one_shard
async def test_a_device_that_was_away_rings_under_another_peer_in_one_of_two_calls(
    make_shard: MakeShard,
) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("desk"), e.invite())
    await called_by_zoe(shard)
    await e.in_order(shard, e.disconnected("p1"), said_by("phone", e.ringing("p2")))
    assert await e.states(shard) == {"desk": "CALLED", "p2": "RINGING"}
    assert await e.states(shard, "zoe|1|bob") == {"desk": "CALLED", "p1": "AWAY"}
    await e.later(shard, 5_000)
    assert await e.states(shard) == {"desk": "CALLED", "p2": "RINGING"}
    assert await e.states(shard, "zoe|1|bob") == {"desk": "CALLED", "p1": "GONE"}


@one_shard
async def test_an_unregistered_device_is_lost_and_comes_back(make_shard: MakeShard) -> None:
    shard = await make_shard(BOTH)
    push_jobs.sleeps(shard, "bob", "phone")
    await e.in_order(shard, e.invite(), said_by("phone", e.ringing("p1")), e.disconnected("p1"))
    assert await e.states(shard) == {"p1": "AWAY"}
    assert groups.rung(await shard.event(*e.registered("p2", device="phone"))) == ["p2"]


# -- what a cancel says


async def test_a_cancel_names_the_peer_that_has_accepted(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    told = await shard.event(*e.accept("phone"))
    assert e.one(told, STOP).payload | {"whoAccepted": "bob", "peer": "phone"} == e.one(told, STOP).payload


@one_shard
async def test_a_phone_recognises_itself_in_the_cancel_push(bob_pushed: Shard) -> None:
    """It has not named its device."""
    await bob_pushed.event(*e.accept("woken"))
    [job] = await push_jobs.jobs(bob_pushed)
    assert (job["type"], job["device"], job["payload"]["peer"]) == (STOP, "phone", "woken")


async def test_members_of_a_group_are_told_the_peer_that_has_accepted(called: Shard) -> None:
    told = await called.event(*e.accept("carol-phone", "carol"))
    for each in of_type(told, STOP):
        assert (each.payload["whoAccepted"], each.payload["peer"]) == ("carol", "carol-phone")
    assert sorted(groups.stopped(told)) == ["bob-desk", "bob-phone"]


# -- what rings for a device


async def ringing_for(shard: Shard, id_: str, device: str | None = None) -> list[str]:
    question = e.invitations(id_)
    told = await shard.event(*(said_by(device, question) if device else question))
    return sorted(each["from"] for each in e.one(told, "answer").payload["invitations"])


async def test_a_device_is_not_asked_again_what_it_has_declined(shard: Shard) -> None:
    await e.bob_rings(shard, "desk")
    await shard.event(*said_by("phone", e.decline("p1", errorCode=486)))
    assert await ringing_for(shard, "p2", "phone") == []
    assert await ringing_for(shard, "p1") == []
    assert await ringing_for(shard, "p2") == await ringing_for(shard, "p2", "watch") == ["alice"]


@one_shard
@pytest.mark.parametrize("device", ["phone", "watch"])
async def test_a_device_is_not_told_what_its_user_is_busy_for(make_shard: MakeShard, device: str) -> None:
    shard = await make_shard(Settings(look_up="push", only_one_device_with_invitations=True))
    push_jobs.sleeps(shard, "bob", "phone", "watch")
    await shard.event(*e.invite())
    await called_by_zoe(shard)
    await shard.event(*ACCEPT)
    assert await e.states(shard, "zoe|1|bob") == {"phone": "PUSHING", "watch": "REJECTED"}
    assert await ringing_for(shard, "p2", device) == (["zoe"] if device == "phone" else [])


@pytest.mark.parametrize("code", [480, 503])
async def test_what_a_connection_could_not_take_is_shown_to_the_next_one(shard: Shard, code: int) -> None:
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("tablet"), e.invite())
    await shard.event(*said_by("phone", e.decline("p1", errorCode=code)))
    assert await ringing_for(shard, "p1", "phone") == []
    assert await ringing_for(shard, "p2", "phone") == ["alice"]


@pytest.mark.parametrize("callee", ["0049", "0050", "0051"])
async def test_a_trunk_is_not_asked_again_what_it_has_declined(make_shard: MakeShard, callee: str) -> None:
    """The numbers are in several shards."""
    shard = await make_shard(Settings(parallel_sip=True))
    await e.in_order(shard, e.trunk("gw", device="box"), e.invite(to=callee))
    gateway = peer("gw", "sip")
    await shard.event(*e.invite(gateway, to=callee, invite_id="2", returnOf=f"alice|1|{callee}"))
    await e.in_order(shard, e.registered("desk", callee), e.ringing("desk", callee))
    question = e.invitations("gw", "sip")
    told = await shard.event(*question)
    assert len(e.one(told, "answer").payload["invitations"]) == 1
    await shard.event(*e.decline("gw", "sip", to=callee, errorCode=486))
    for asks in (question, said_by("box", e.invitations("gw2", "sip"))):
        assert e.one(await shard.event(*asks), "answer").payload["invitations"] == []


# -- groups


async def woken_team(make_shard: MakeShard) -> Shard:
    """Alice calls Bob, whose phone sleeps, and Carol, whose phone rings."""
    shard = await make_shard(groups.GROUPS)
    groups.team(shard, "bob", "carol", push={"bob": ["phone"]})
    await groups.at_home(shard, "carol-phone")
    await shard.event(*e.invite(to="team"))
    return shard


@pytest.mark.parametrize("second", ["p1", "p2"])
async def test_a_woken_member_wins_and_repeats_itself(make_shard: MakeShard, second: str) -> None:
    shard = await woken_team(make_shard)
    told = await shard.event(*ACCEPT)
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"
    assert groups.stopped(told) == ["carol-phone"]
    assert await e.states(shard) == {"p1": "ACCEPTED"}
    told = await shard.event(*said_by("phone", e.accept(second, to="team")))
    assert e.outcome(told, "answer") == (200, "accepted")
    told = await shard.event(*e.accept("carol-phone", "carol"))
    assert e.outcome(told, "answer") == (410, "accepted")


@pytest.mark.parametrize("second", ["p1", "p2"])
async def test_a_member_accepts_twice_at_once(make_shard: MakeShard, second: str) -> None:
    shard = await woken_team(make_shard)
    told = await e.arriving(shard, [ACCEPT, said_by("phone", e.accept(second))], [0, 1])
    assert [each.payload["code"] for each in of_type(told, "answer")] == [200, 200]
    assert len(of_type(told, "INVITE_COMPLETED")) == 1


async def test_a_woken_member_rings_and_declines(make_shard: MakeShard) -> None:
    shard = await woken_team(make_shard)
    told = await shard.event(*said_by("phone", e.ringing("p1")))
    assert e.one(told, "inviteProgress").payload["ringing"] == 1
    told = await shard.event(*said_by("phone", e.decline("p1", errorCode=486, to="team")))
    assert e.outcome(told, "answer") == (200, "busy")
    assert await groups.legs(shard) == {"bob": "OVER", "carol": "RINGING"}


# -- guests


GUEST = peer("g1", "alice", "laptop")
REGISTERED = e.registered("g2", "alice", device="laptop")
ASKS = said_by("laptop", e.invitations("g2", "alice"))
CALLS = e.invite(peer("g2", "alice", "laptop"), to="carol", invite_id="2")
CALLS_IN_VAIN = e.invite(peer("g2", "alice", "laptop"), to="dave", invite_id="2")


@pytest.mark.parametrize(
    "back", [REGISTERED, ASKS, CALLS, CALLS_IN_VAIN], ids=["registers", "asks", "calls", "calls in vain"]
)
@pytest.mark.parametrize("is_reported", ["before", "after", "never"])
async def test_a_guest_keeps_its_call_under_another_peer(
    shard: Shard, back: e.Published, is_reported: str
) -> None:
    await e.in_order(shard, e.registered("phone"), e.registered("carols", "carol"), e.invite(GUEST))
    gone = [e.disconnected("g1", "alice")]
    shard.now += 1
    await e.in_order(shard, *gone * (is_reported == "before"), back, *gone * (is_reported == "after"))
    await e.later(shard, 20_000)
    told = await shard.event(*e.accept("phone"))
    assert e.recipients(told, "inviteAccepted") == {"g2"}


async def test_a_guest_that_stays_away_loses_its_call(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(GUEST), e.disconnected("g1", "alice"))
    await shard.event(*e.registered("g2", "alice", device="tablet"))
    told = await e.later(shard, 10_000)
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")


async def test_a_guest_comes_back_and_is_lost_again(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(GUEST), e.disconnected("g1", "alice"), ASKS)
    await shard.event(*e.disconnected("g2", "alice"))
    await e.later(shard, 9_000)
    await shard.event(*said_by("laptop", e.invitations("g3", "alice")))
    await e.later(shard, 9_000)
    told = await shard.event(*e.accept("phone"))
    assert e.recipients(told, "inviteAccepted") == {"g3"}


async def test_a_guest_that_repeats_its_call_is_there_since_then(shard: Shard) -> None:
    """What it has repeated is not lost with the connection before."""
    repeat = e.invite(peer("g2", "alice", "laptop"))
    await e.in_order(shard, e.registered("phone"), e.invite(GUEST), e.disconnected("g1", "alice"))
    await e.arriving(shard, [e.disconnected("g2", "alice"), repeat], [1, 0])
    await e.later(shard, 20_000)
    told = await shard.event(*e.accept("phone"))
    assert e.recipients(told, "inviteAccepted") == {"g2"}


async def test_the_invite_of_a_guest_is_overtaken_by_its_return(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    events = [e.invite(GUEST), e.disconnected("g1", "alice"), REGISTERED]
    await e.arriving(shard, events, [1, 2, 0])
    await e.later(shard, 20_000)
    told = await shard.event(*e.accept("phone"))
    assert e.recipients(told, "inviteAccepted") == {"g2"}


async def test_a_guest_that_calls_later_than_another_peer_of_its_device_keeps_the_call(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    await e.arriving(shard, [ASKS, e.invite(GUEST)], [1, 0])
    told = await shard.event(*e.accept("phone"))
    assert e.recipients(told, "inviteAccepted") == {"g1"}


async def test_what_a_guest_has_said_before_takes_no_time_from_a_later_call_of_another_peer(
    shard: Shard,
) -> None:
    """`g1` calls twice and is lost; in between its device has spoken as `g2`, which is settled last."""
    await e.in_order(shard, e.registered("phone"), e.registered("carols", "carol"), e.invite(GUEST))
    second = e.invite(GUEST, to="carol", invite_id="2")
    await e.arriving(shard, [ASKS, second, e.disconnected("g1", "alice")], [1, 2, 0])
    told = await e.later(shard, 10_000)
    assert {each.payload["inviteId"] for each in of_type(told, "inviteRejected")} == {"2"}
    assert e.recipients(await shard.event(*e.accept("phone")), "inviteAccepted") == {"g2"}


async def test_the_request_of_a_guest_rings_the_peer_that_it_has_now(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.request(GUEST), e.disconnected("g1", "alice"), ASKS)
    await shard.event(*e.accept("phone"))
    told = await shard.event(*e.invite(peer("phone", "bob"), to="alice", invite_id="3", requestId="1"))
    assert groups.rung(told) == ["g2"]


@pytest.mark.parametrize(
    "back", [REGISTERED, said_by("laptop", e.accept("g2", "alice", from_="bob", invite_id="3"))]
)
async def test_a_guest_that_is_called_back_is_its_device(shard: Shard, back: e.Published) -> None:
    await e.in_order(shard, e.registered("phone"), e.request(GUEST), e.accept("phone"))
    await shard.event(*e.invite(peer("phone", "bob"), to="alice", invite_id="3", requestId="1"))
    assert await e.states(shard, "bob|3|alice") == {"g1": "CALLED"}
    told = await shard.event(*back)
    replaced = back[0] == "registered"
    assert [each.payload["reason"] for each in of_type(told, STOP)] == ["taken_over"] * replaced
    state = "CALLED" if replaced else "ACCEPTED"
    assert await e.states(shard, "bob|3|alice") == {"g2": state}


@one_shard
async def test_a_woken_phone_declines_for_its_user(bob_asleep: Shard) -> None:
    push_jobs.sleeps(bob_asleep, "bob", "phone", "watch")
    await bob_asleep.event(*e.invite())
    await push_jobs.taken(bob_asleep)
    told = await bob_asleep.event(*said_by("phone", e.decline("p1")))
    assert e.outcome(told, "inviteRejected") == (603, "declined")
    assert push_jobs.briefly(await push_jobs.jobs(bob_asleep)) == [(STOP, "watch")]


# -- names that JSON has to escape


@one_shard
@pytest.mark.parametrize("name", ['a"b', 'back\\slash"', "a/b", '","device":"other', "ends\\", "Büro/12"])
async def test_a_device_and_a_session_may_have_any_name(shard: Shard, name: str) -> None:
    await e.in_order(shard, e.registered("p/1", session=name, device=f"{name}!"), e.registered("p2"))
    told = await shard.event(*e.invite())
    assert sorted(e.one(told, "invitation").peers) == ["p/1", "p2"]
    found = (await shard.candidates(e.REF))["p/1"]
    assert (found["session"], found["device"]) == (name, f"{name}!")
