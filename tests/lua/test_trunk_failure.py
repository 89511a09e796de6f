"""A trunk fails, and the next one that leads to the number rings."""

import pytest

from invites.lookup.result import LookupResult
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import Json, MakeShard, Shard, of_type, peer

NUMBER = "+4930123456"
REF = f"alice|1|{NUMBER}"
GERMANY = r"\+49\d+"
LOST = e.disconnected("t1", "sip")


def fails(id_: str = "t1", code: int = 503, user: str = "sip", to: str = NUMBER) -> e.Published:
    return e.decline(id_, user, to=to, errorCode=code)


@pytest.fixture
async def three(make_shard: MakeShard) -> Shard:
    """A number that three trunks of two users lead to rings the first of them; a fourth leads elsewhere."""
    shard = await make_shard(e.GRACE)
    await e.in_order(
        shard, e.trunk("t3", user="other"), e.trunk("t2", GERMANY), e.trunk("t1", GERMANY), e.trunk("t0", "1")
    )
    await shard.event(*e.invite(to=NUMBER))
    return shard


@pytest.mark.parametrize("event", [fails(code=503), fails(code=500), fails(code=599), fails(code=408), LOST])
async def test_the_next_one_rings_with_the_time_that_is_left(three: Shard, event: e.Published) -> None:
    three.now += 7_000
    told = await three.event(*event)
    invitation = e.one(told, "invitation")
    assert (invitation.peers, invitation.users) == (["t2"], ["sip"])
    payload = invitation.payload
    assert (payload["number"], payload["expiresIn"], payload["resumed"]) == (NUMBER, e.RING - 7_000, False)
    assert not {"inviteProgress", "inviteRejected", "INVITE_COMPLETED"} & set(e.types(told))


@pytest.mark.parametrize("code", [404, 486, 484, 403, 603, 600, 699])
async def test_all_other_codes_are_final(three: Shard, code: int) -> None:
    told = await three.event(*fails(code=code))
    assert e.outcome(told, "inviteRejected") == (code, "busy" if code == 486 else "declined")
    assert e.end_reasons(told) == {"t1": code}


async def test_one_after_the_other_until_none_is_left_and_the_record_has_all(three: Shard) -> None:
    told = await e.in_order(three, fails(code=480), fails("t2"))
    assert [one.peers for one in told if one.type == "invitation"] == [["t2"], ["t3"]]
    told = await three.event(*fails("t3", 500, "other"))
    assert e.outcome(told, "inviteRejected") == (480, "declined")
    record = e.one(told, "INVITE_COMPLETED").payload
    assert {each["peer"]: (each["address"], each["endReason"]) for each in record["candidates"]} == {
        "t1": (NUMBER, 480), "t2": (NUMBER, 503), "t3": (NUMBER, 500),
    }  # fmt: skip


async def test_the_next_one_may_accept(three: Shard) -> None:
    told = await e.in_order(
        three, fails(), e.ringing("t2", "sip", to=NUMBER), e.accept("t2", "sip", to=NUMBER)
    )
    assert e.one(told, "inviteProgress").payload["code"] == 180
    assert e.one(told, "inviteAccepted").payload["peer"] == "t2"
    assert e.end_reasons(told) == {"t1": 503, "t2": 200}
    assert "invitationCancel" not in e.types(told)


async def test_the_inviter_hears_180_once(three: Shard) -> None:
    first, second = (e.ringing(name, "sip", to=NUMBER) for name in ("t1", "t2"))
    told = await e.in_order(three, first, fails(), second)
    assert e.types(told).count("inviteProgress") == 1


@pytest.mark.parametrize("again", [fails(), fails(code=408), LOST], ids=["same", "other-code", "lost"])
async def test_who_has_failed_fails_once(three: Shard, again: e.Published) -> None:
    told = await e.in_order(three, fails(), again)
    assert e.recipients(told, "invitation") == {"t2"}
    assert await e.states(three, REF) == {"t1": "DECLINED", "t2": "CALLED"}


async def test_who_has_failed_may_change_its_mind(three: Shard) -> None:
    told = await e.in_order(three, fails(), e.accept("t1", "sip", to=NUMBER))
    assert e.one(told, "inviteAccepted").payload["peer"] == "t1"
    assert e.recipients(told, "invitationCancel") == {"t2"}


async def test_a_trunk_that_is_gone_by_its_turn_is_passed_over(three: Shard) -> None:
    told = await e.in_order(three, e.disconnected("t2", "sip"), fails())
    assert e.recipients(told, "invitation") == {"t3"}


async def test_a_trunk_that_is_back_by_its_turn_rings(three: Shard) -> None:
    told = await e.in_order(three, e.disconnected("t2", "sip"), e.trunk("t2", GERMANY), fails())
    assert e.recipients(told, "invitation") == {"t2"}


async def test_a_trunk_that_has_registered_since_the_call_began_does_not_ring(three: Shard) -> None:
    told = await e.in_order(three, e.trunk("t1a", GERMANY), fails())
    assert e.recipients(told, "invitation") == {"t2"}


async def test_the_inviting_trunk_does_not_follow(shard: Shard) -> None:
    await e.in_order(shard, e.trunk("t1"), e.trunk("t2"), e.invite(by=peer("t2", "sip"), to=NUMBER))
    told = await shard.event(*e.decline("t1", "sip", from_="sip", to=NUMBER, errorCode=503))
    assert e.outcome(told, "inviteRejected") == (503, "declined")


async def test_a_trunk_whose_registration_lapses_is_followed_at_once(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.trunk("t1", expires=1_000), e.trunk("t2"), e.invite(to=NUMBER))
    told = await e.later(shard, 1_000)
    assert e.recipients(told, "invitation") == {"t2"}


async def test_the_last_one_has_its_grace(three: Shard) -> None:
    told = await e.in_order(three, LOST, fails("t2"), e.disconnected("t3", "other"))
    assert "inviteRejected" not in e.types(told)
    assert await e.states(three, REF) == {"t1": "GONE", "t2": "DECLINED", "t3": "AWAY"}
    assert e.outcome(await e.later(three, 5_000), "inviteRejected") == (480, "unreachable")


async def test_a_lost_one_that_is_back_must_stop_and_does_not_ring(three: Shard) -> None:
    told = await e.in_order(three, LOST, e.trunk("t1", GERMANY))
    cancel = e.one(told, "invitationCancel")
    assert (cancel.peers, cancel.payload["code"], cancel.payload["reason"]) == (["t1"], 480, "unreachable")
    assert e.recipients(told, "invitation") == {"t2"}
    told = await e.in_order(three, LOST, e.trunk("t1", GERMANY), e.ringing("t1", "sip", to=NUMBER))
    assert told == []
    assert await e.states(three, REF) == {"t1": "GONE", "t2": "CALLED"}
    assert e.recipients(await three.event(*e.stop(callee=NUMBER)), "invitationCancel") == {"t2"}


async def test_a_lost_one_that_is_back_after_the_end_must_stop(three: Shard) -> None:
    await e.in_order(three, LOST, e.stop(callee=NUMBER))
    told = await three.event(*e.trunk("t1", GERMANY))
    assert e.outcome(told, "invitationCancel") == (487, "cancelled")


async def test_a_lost_one_under_another_peer_id_does_not_ring(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.trunk("t1", device="box"), e.trunk("t2"), e.invite(to=NUMBER), LOST)
    said = e.said_by("box", e.ringing("t9", "sip", to=NUMBER))
    assert await shard.event(*said) == []
    told = await shard.event(*e.trunk("t9", device="box"))
    assert e.types(told) == ["invitationCancel"]
    assert await e.states(shard, REF) == {"t9": "GONE", "t2": "CALLED"}


async def test_at_the_deadline_nobody_follows(three: Shard) -> None:
    """The time-out waits for an earlier event; a trunk that comes now has no time to ring."""
    three.now += e.RING
    told = await three.event(*fails())
    assert "invitation" not in e.types(told)
    assert e.outcome(told, "inviteRejected") == (503, "declined")


async def test_whose_peer_id_is_a_candidates_does_not_follow(shard: Shard) -> None:
    await e.in_order(
        shard, e.trunk("t", user="a"), e.trunk("t", user="b"), e.trunk("t2"), e.invite(to=NUMBER)
    )
    assert e.recipients(await shard.event(*fails("t", user="a")), "invitation") == {"t2"}


async def test_a_stop_reaches_who_rings(three: Shard) -> None:
    told = await e.in_order(three, fails(), e.stop(callee=NUMBER))
    assert e.recipients(told, "invitationCancel") == {"t2"}
    assert e.end_reasons(told) == {"t1": 503, "t2": 487}


async def test_the_loss_of_who_followed_is_noticed(three: Shard) -> None:
    told = await e.in_order(three, fails(), e.disconnected("t2", "sip"), e.disconnected("t3", "other"))
    assert [one.peers for one in told if one.type == "invitation"] == [["t2"], ["t3"]]


async def test_beside_the_users_devices_the_next_one_rings(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="reachability"))
    shard.found["bob"] = LookupResult(known=True, phone=NUMBER)
    await e.in_order(shard, e.trunk("t1"), e.trunk("t2"), e.registered("phone"), e.invite())
    invitation = e.one(await shard.event(*fails(to="bob")), "invitation")
    assert (invitation.peers, invitation.payload["number"]) == (["t2"], NUMBER)
    assert await e.states(shard) == {"t1": "DECLINED", "t2": "CALLED", "phone": "CALLED"}


# --- legs


@pytest.fixture
async def member(home: Shard) -> Shard:
    """A group in which a member is a number that two trunks lead to; Alice calls it."""
    groups.last_member_is(home, NUMBER)
    await e.in_order(home, e.trunk("t1", GERMANY), e.trunk("t2", GERMANY), e.invite(to="team"))
    return home


@pytest.mark.parametrize("event", [fails(), LOST], ids=["fails", "lost"])
async def test_a_members_next_trunk_rings(member: Shard, event: e.Published) -> None:
    invitation = e.one(await member.event(*event), "invitation")
    assert (invitation.peers, invitation.payload["number"]) == (["t2"], NUMBER)
    assert (invitation.payload["group"], invitation.payload["to"]) == ("team", NUMBER)


async def test_a_member_is_out_when_no_trunk_is_left(member: Shard) -> None:
    await e.in_order(member, fails(), fails("t2", 500))
    leg = (await member.hash(member.keys.legs("alice|1|team")))[NUMBER]
    assert '"state":"OVER"' in leg
    assert '"endReason":500' in leg


async def test_a_members_next_trunk_wins(member: Shard) -> None:
    await member.event(*fails())
    told = await member.event(*e.accept("t2", "sip", to=NUMBER))
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == NUMBER
    assert e.outcome(told, "answer") == (200, "accepted")


# --- parallelSip


@pytest.fixture
async def out(make_shard: MakeShard) -> Shard:
    """The phone network has a call to Bob, who has two devices; two trunks lead to him."""
    shard = await make_shard(Settings(parallel_sip=True, remove_after=5_000))
    await e.in_order(
        shard, e.trunk("t1"), e.trunk("t2", "bob"), e.registered("phone"), e.registered("tablet")
    )
    await shard.event(*e.invite())
    return shard


@pytest.mark.parametrize(
    "last",
    [fails("t1", 503, to="bob"), fails("t1", 480, to="bob"), LOST],
    ids=["503", "480", "lost"],
)
async def test_when_all_trunks_have_failed_the_callees_devices_ring(out: Shard, last: e.Published) -> None:
    assert e.recipients(await out.event(*fails("t2", to="bob")), "invitation") == {"t1"}
    out.now += 1_000
    told = await out.event(*last)
    assert e.recipients(told, "invitation") == {"phone", "tablet"}
    assert e.one(told, "invitation").payload["expiresIn"] == e.RING - 1_000
    assert not {"inviteProgress", "inviteRejected"} & set(e.types(told))
    told = await out.event(*e.accept("phone"))
    assert e.recipients(told, "invitationCancel") == {"tablet"}
    assert set(e.end_reasons(told)) == {"t1", "t2", "phone", "tablet"}


async def test_what_registers_then_rings(out: Shard) -> None:
    await e.in_order(out, fails("t2", to="bob"), fails("t1", to="bob"))
    assert e.recipients(await out.event(*e.registered("desk")), "invitation") == {"desk"}
    assert not await out.client.exists(out.keys.parallel("bob"))


@pytest.mark.parametrize("code", [486, 404, 603])
async def test_an_answer_of_the_phone_side_rings_no_device(out: Shard, code: int) -> None:
    told = await out.event(*fails("t2", code, to="bob"))
    assert e.outcome(told, "inviteRejected")[0] == code
    assert "invitation" not in e.types(told)


async def test_without_devices_the_call_ends_with_the_answer_of_the_network(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(parallel_sip=True, remove_after=5_000))
    told = await e.in_order(shard, e.trunk("t1"), e.invite(), fails(to="bob"))
    assert e.outcome(told, "inviteRejected") == (503, "declined")
    assert e.outcome(await e.in_order(shard, e.invite(invite_id="2"), LOST), "inviteRejected") == (
        480,
        "unreachable",
    )


async def test_when_all_trunks_have_failed_a_user_who_wants_no_calls_by_then_is_not_rung(out: Shard) -> None:
    told = await e.in_order(out, e.user_state(dnd=True), fails("t2", to="bob"), fails("t1", to="bob"))
    assert [each.peers for each in of_type(told, "invitation")] == [["t1"]]
    assert e.outcome(told, "inviteRejected") == (503, "declined")


async def test_once_the_call_is_back_nothing_follows(out: Shard) -> None:
    back = e.invite(by=peer("t2", "sip"), to="bob", invite_id="leg", returnOf=e.REF)
    told = await e.in_order(out, back, fails("t2", to="bob"))
    assert e.recipients(told, "invitation") == {"phone", "tablet"}
    assert await e.states(out) == {"t2": "DECLINED", "phone": "CALLED", "tablet": "CALLED"}


@pytest.mark.parametrize(
    "end", [[fails("t2", to="bob")], [e.disconnected("t2", "sip"), e.trunk("t2", "bob")]]
)
async def test_who_has_failed_returns_no_call(out: Shard, end: list[e.Published]) -> None:
    back = e.invite(by=peer("t2", "sip"), to="bob", invite_id="leg", returnOf=e.REF)
    told = await e.in_order(out, *end, back)
    assert e.outcome(told, "inviteRejected") == (403, "forbidden")
    assert "phone" not in e.recipients(told, "invitation")


async def test_the_next_trunk_returns_the_call(out: Shard) -> None:
    back = e.invite(by=peer("t1", "sip"), to="bob", invite_id="leg", returnOf=e.REF)
    await out.event(*fails("t2", to="bob"))
    assert e.recipients(await out.event(*back), "invitation") == {"phone", "tablet"}


# --- parallelSip, with devices that only sippo-server knows


@pytest.fixture
async def asleep(make_shard: MakeShard) -> Shard:
    """The phone network has a call to Bob, who has a phone that sleeps."""
    shard = await make_shard(Settings(parallel_sip=True, look_up="push", remove_after=5_000))
    shard.found["bob"] = LookupResult(known=True, push=("phone",))
    await e.in_order(shard, e.trunk("t1"), e.invite())
    return shard


async def arrive(shard: Shard) -> list[Json]:
    """Let the shard look up and ring; return the notifications."""
    return [{one.type: one.payload} for one in await shard.fire()]


@pytest.mark.parametrize("event", [fails(to="bob"), LOST], ids=["fails", "lost"])
async def test_a_phone_that_sleeps_is_woken(asleep: Shard, event: e.Published) -> None:
    assert "inviteRejected" not in e.types(await asleep.event(*event))
    assert await arrive(asleep) == []
    state = "GONE" if event is LOST else "DECLINED"
    assert await e.states(asleep) == {"t1": state, "phone": "PUSHING"}


async def test_who_is_unknown_then_ends_the_call(asleep: Shard) -> None:
    asleep.found["bob"] = LookupResult(failed=True)
    told = [*await asleep.event(*fails(to="bob")), *await asleep.fire()]
    assert e.outcome(told, "inviteRejected") == (503, "declined")


@pytest.mark.one_shard
@pytest.mark.parametrize(
    ("meanwhile", "outcome"),
    [
        (fails(code=486, to="bob"), None),
        (e.stop(), ("inviteRejected", 487)),
        (e.accept("t1", "sip", to="bob"), ("inviteAccepted", 200)),
        (e.registered("tablet"), None),
        (e.accept("tablet"), None),
    ],
    ids=["again", "stop", "accept", "registered", "hidden"],
)
async def test_while_the_devices_are_looked_up(
    asleep: Shard, meanwhile: e.Published, outcome: tuple[str, int] | None
) -> None:
    told = await e.in_order(asleep, fails(to="bob"), meanwhile)
    if outcome is None:
        assert set(e.types(told)) <= {"answer"}
        await asleep.fire()
        assert (await e.states(asleep))["phone"] == "PUSHING"
    else:
        assert e.one(told, outcome[0]).payload["code"] == outcome[1]
        assert await asleep.fire() == []
        assert set(await e.states(asleep)) == {"t1"}


@pytest.mark.one_shard
async def test_the_deadline_ends_a_call_whose_devices_are_looked_up(asleep: Shard) -> None:
    await asleep.event(*fails(to="bob"))
    asleep.now += e.RING
    assert e.outcome(await asleep.fire(), "inviteRejected") == (408, "timeout")
