"""The story of a call: what it holds, how much of it stays, and for how long."""

from typing import NamedTuple

import pytest

from invites.queries.story import Step, read_step
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups, push_jobs
from tests.support.shard import MakeShard, Shard, peer


class Line(NamedTuple):
    """A step, its code and its sender; its notifications: what, code, to whom."""

    what: str
    code: int | None
    who: str | None
    told: tuple[tuple[str, int | None, tuple[str, ...]], ...]


async def steps(shard: Shard, ref: str = e.REF) -> list[Step]:
    """Read the story of an invite."""
    invite = await shard.invite(ref)
    lines = (await shard.hash(shard.keys.invite(ref)))["story"].split("\n")
    candidates = list(await shard.candidates(ref))
    found = [
        read_step(line.encode(), int(invite["createdAt"]), candidates, invite["caller"]) for line in lines
    ]
    assert None not in found, lines
    return [one for one in found if one is not None]


async def story(shard: Shard, ref: str = e.REF) -> list[Line]:
    """Read the story without times and entries; the order of names is left open."""
    return [
        Line(
            one.what,
            one.code,
            one.who,
            tuple((told.what, told.code, tuple(sorted(told.who))) for told in one.told),
        )
        for one in await steps(shard, ref)
    ]


async def test_a_call(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.ringing("tablet"))
    await shard.event(*e.accept("phone"))
    assert await story(shard) == [
        ("invite", None, "a", (("invitation", None, ("phone", "tablet")), ("inviteProgress", 100, ("a",)))),
        ("ringing", None, "tablet", (("inviteProgress", 180, ("a",)),)),
        (
            "accept",
            None,
            "phone",
            (
                ("invitationCancel", 200, ("tablet",)),
                ("inviteAccepted", 200, ("a",)),
                ("answer", 200, ("phone",)),
            ),
        ),
    ]


@pytest.mark.parametrize(("devices", "others"), [(10, 0), (11, 1), (13, 3)])
async def test_it_names_ten_devices_and_counts_the_others(shard: Shard, devices: int, others: int) -> None:
    told = await e.bob_rings(shard, *(f"phone-{number}" for number in range(devices)))
    rung = e.one(told, "invitation").peers
    [step] = await steps(shard)
    assert len(set(rung)) == devices
    assert step.told[0].more == others
    assert (sorted(step.told[0].who) if others == 0 else step.told[0].who) == (
        sorted(rung) if others == 0 else rung[:10]
    )


async def test_who_has_declined_and_what_comes_after_the_end(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.decline("phone", errorCode=603))
    await shard.event(*e.ringing("tablet"))
    declined, late = (await story(shard))[-2:]
    assert (declined.what, declined.code, declined.who) == ("decline", 603, "phone")
    assert ("invitationCancel", 603, ("tablet",)) in declined.told
    assert late == ("ringing", None, "tablet", (("answer", 410, ("tablet",)),))


async def test_a_deadline_and_a_stop(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*e.invite(invite_id="2", to="carol"))
    await e.patience_ends(shard)
    await e.later(shard, e.RING)
    assert (await story(shard))[-1][:3] == ("timer.ring", None, None)
    await shard.event(*e.invite(invite_id="3"))
    await shard.event(*e.stop(invite_id="3"))
    stopped = (await story(shard, "alice|3|bob"))[-1]
    assert stopped[:3] == ("stopInvite", 487, "a")
    assert ("answer", 200, ("a",)) in stopped.told


@pytest.mark.one_shard
async def test_a_push(bob_called: Shard) -> None:
    await push_jobs.taken(bob_called)
    await bob_called.event(*e.registered("p1", device="phone"))
    await bob_called.event(*e.accept("p1"))
    pushed, taken, registered, accepted = await story(bob_called)
    assert pushed.told == (("push", None, ("phone",)), ("inviteProgress", 100, ("a",)))
    assert taken == ("pushTaken", None, "phone", (("inviteProgress", 110, ("a",)),))
    assert registered == ("registered", None, "p1", (("invitation", None, ("p1",)),))
    assert accepted[:3] == ("accept", None, "p1")


async def test_a_group_names_its_legs(called: Shard) -> None:
    """Each leg has a story of its own. That many devices ring is no step of the group."""
    await called.event(*e.ringing("bob-desk", "bob", to="team"))
    await called.event(*e.ringing("bob-phone", "bob", to="team"))
    await called.event(*e.decline("carol-phone", "carol", to="team", errorCode=486))
    await called.event(*e.accept("bob-phone", "bob", to="team"))
    group = await story(called, groups.TEAM)
    legs = [(code, who) for step in group for what, code, who in step.told if what == "legStarted"]
    over = [(code, who) for step in group for what, code, who in step.told if what == "legOver"]
    assert sorted(legs) == [(None, ("bob",)), (None, ("carol",)), (None, ("dave",))]
    assert sorted(over) == [(200, ("bob",)), (480, ("dave",)), (486, ("carol",))]
    assert ("inviteAccepted", 200, ("a",)) in group[-1].told
    leg = await story(called, "alice|1|bob")
    assert [step.told for step in leg if ("invitation", None, ("bob-desk", "bob-phone")) in step.told]
    assert "accept" in {step.what.removeprefix("relay.") for step in leg} | {"accept"}
    assert any(what == "invitationCancel" for step in leg for what, *_ in step.told)


@pytest.mark.one_shard
async def test_the_last_64_steps_stay(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    for number in range(70):
        await shard.event(*e.invite(context={"number": number}))
    found = await steps(shard)
    assert len(found) == 64
    assert {step.what for step in found} == {"invite"}
    assert found[-1].last == (await shard.client.xrevrange(shard.keys.notifications, count=1))[0][0].decode()


@pytest.mark.one_shard
@pytest.mark.parametrize(
    "event",
    [e.registered("laptop"), e.registered("p2", device="d"), e.accept("p2", device="d"), e.accept("guest")],
    ids=["comes", "moves", "answers as another peer", "a guest"],
)
async def test_who_has_rung_first_stays_when_candidates_change(shard: Shard, event: e.Published) -> None:
    await e.in_order(shard, e.registered("phone", device="d"), e.registered("tablet"), e.invite())
    before = (await story(shard))[0]
    assert before.told[0] == ("invitation", None, ("phone", "tablet"))
    await shard.event(*event)
    assert (await story(shard))[0] == before


async def test_who_has_called_first_stays_when_the_caller_changes(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.ringing("tablet"))
    began = [("invitation", None, ("phone", "tablet")), ("inviteProgress", 100, ("a",))]
    before = await story(shard)
    assert before[0] == ("invite", None, "a", tuple(began))
    await shard.event(*e.invite(peer("a2", "alice")))
    *earlier, repeated = await story(shard)
    assert earlier == before
    assert (repeated.what, repeated.who) == ("invite", "a2")
    assert ("inviteProgress", 180, ("a2",)) in repeated.told
    await shard.event(*e.accept("tablet"))
    *earlier, accepted = await story(shard)
    assert earlier == [*before, repeated]
    assert ("inviteAccepted", 200, ("a2",)) in accepted.told


@pytest.mark.parametrize("to", ["bob", "team"])
async def test_the_caller_stays_when_its_device_moves(home: Shard, to: str) -> None:
    """The move alone is told to nobody."""
    await home.event(*e.registered("a", "alice", device="d"))
    await home.event(*e.invite(to=to))
    ref = f"alice|1|{to}"
    before = await story(home, ref)
    assert "a" in {who for step in before for *_, names in step.told for who in names}
    await home.event(*e.registered("a2", "alice", device="d"))
    await home.event(*e.disconnected("a", "alice"))
    assert (await home.invite(ref))["caller"] == "a2"
    assert (await story(home, ref))[: len(before)] == before


@pytest.mark.one_shard
async def test_many_names_are_cut(shard: Shard) -> None:
    await e.bob_rings(shard, *(f"d{number:02}" for number in range(12)))
    [step] = await steps(shard)
    assert (len(step.told[0].who), step.told[0].more) == (10, 2)


@pytest.mark.one_shard
async def test_a_step_tells_of_several_invites(make_shard: MakeShard) -> None:
    """Each has its own part, however many pieces there are."""
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.invite(peer("c", "carol"), invite_id="2", room="s"))
    await shard.event(*e.accept("phone"))
    other = (await story(shard, "carol|2|bob"))[-1]
    assert other == ("accept", None, "phone", (("invitationCancel", 486, ("tablet",)),))
    assert [what for what, *_ in (await story(shard))[-1].told] == [
        "invitationCancel", "inviteAccepted", "answer",
    ]  # fmt: skip
    await shard.event(*e.disconnected("phone"))
    assert (await story(shard, "carol|2|bob"))[-1][:3] == ("disconnected", None, "phone")


@pytest.mark.one_shard
async def test_more_than_five_things_in_one_step(make_shard: MakeShard) -> None:
    shard = await make_shard(push_jobs.PUSH)
    push_jobs.sleeps(shard, "bob", *(f"d{number}" for number in range(7)))
    await shard.event(*e.invite())
    [step] = await story(shard)
    assert [told[2] for told in step.told] == [*((f"d{number}",) for number in range(7)), ("a",)]


@pytest.mark.one_shard
async def test_it_names_the_entries_of_its_notifications(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await shard.event(*e.accept("phone"))
    entries = [entry.decode() for entry, _ in await shard.client.xrange(shard.keys.notifications)]
    invite, accept = await steps(shard)
    assert (invite.last, accept.last) == (entries[1], entries[-1])
    # A server before Redis 7.2, and fakeredis, let time pass in a script.
    assert invite.first in {entries[0], f"{entries[1].partition('-')[0]}-0"}
    assert accept.first in {entries[2], f"{entries[-1].partition('-')[0]}-0"}


async def test_without_stories(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(story=False))
    await e.bob_rings(shard, "phone")
    await shard.event(*e.accept("phone"))
    assert "story" not in await shard.hash(shard.keys.invite(e.REF))
