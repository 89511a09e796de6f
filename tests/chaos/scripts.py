"""The stories' scripts: one for each rule about phones that come and go, rooms, busy users, redials and telephones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from tests.chaos.calls import Event, Json
from tests.chaos.judge import BUSY, STOPPED, UNREACHABLE
from tests.chaos.story import DEVICES, Script, Seat, Story
from workers.lab.bench.call_history import ACCEPTED


def plain(story: Story) -> Script:
    """Bob's devices ring, and one accepts."""
    alice, bob = story.seat.peer("alice"), story.seat.user("bob")
    yield from story.wait([story.invite("a", alice, bob, ACCEPTED)], "invitation a")
    yield [story.say("accept", "a", story.seat.peer("bob", story.chance.choice(DEVICES)))]


def joins(story: Story) -> Script:
    """Bob joins the room by a link while he is rung, and another device of his accepts."""
    seat = story.seat
    yield from story.wait([story.invite("a", seat.peer("alice"), seat.user("bob"), ACCEPTED)], "invitation a")
    join = story.joined("bob", "a", story.chance.choice((None, seat.peer("bob", 0))))
    accept = story.say("accept", "a", seat.peer("bob", 1))
    if story.chance.random() < 1 / 2:
        yield from story.wait([join, accept], "INVITE_COMPLETED a", story.answered(accept))
    else:
        yield from story.wait([join], "INVITE_COMPLETED a")
        yield [accept]
    yield [story.left("bob", "a")]


def redials(story: Story) -> Script:
    """Alice calls again, and Bob accepts the second call, sometimes the first one at the same time."""
    seat, races = story.seat, story.chance.random() < 1 / 2
    alice, other = seat.peer("alice"), story.chance.choice(("bob", "bob", "carol"))
    first = story.invite("a", alice, seat.user("bob"), STOPPED, *((ACCEPTED,) if races else ()))
    yield from story.wait([first], "invitation a")
    named: Json = {"replaces": story.ref("a")} if other == "carol" or story.chance.random() < 1 / 2 else {}
    again = story.invite("b", alice, seat.user(other), ACCEPTED, **named)
    story.wrong.append(lambda: gaps(story))
    yield from story.wait(
        [story.say("accept", "a", seat.peer("bob", 0)), again] if races else [again], "invitation b"
    )
    yield [story.say("accept", "b", seat.peer(other, 1))]


def glare(story: Story) -> Script:
    """Alice and Bob call each other: with `merge` they become one call, without it both ring.

    Bob's call rings, too, if a full server refuses it until Alice's is accepted.
    """
    seat, merges = story.seat, story.rules["glare"] == "merge"
    alice, bob = seat.peer("alice"), seat.peer("bob")
    accepts = not merges or story.chance.random() < 1 / 3
    ends = (ACCEPTED, STOPPED) if accepts else (ACCEPTED,)
    if accepts:
        story.whenever("invitation a", lambda: [story.say("accept", "a", seat.peer("bob", 1))])
        story.whenever("invitation b", lambda: [story.stop("b", bob)])
    if merges:
        story.wrong.append(lambda: _not_merged(story))
    yield [
        story.invite("a", alice, seat.user("bob"), *ends),
        story.invite("b", bob, seat.user("alice"), *ends),
    ]


def wants_quiet(story: Story) -> Script:
    """Bob wants no calls, or none of Alice's, and then wants them again. A call that still rings is stopped."""
    seat, bob = story.seat, story.seat.user("bob")
    alice = seat.peer("alice")
    quiet = story.chance.choice(({"dnd": True}, {"block": [alice["user"]]}))
    story.whenever("invitation a", lambda: [story.stop("a", alice)])
    story.whenever("invitation b", lambda: [story.say("accept", "b", seat.peer("bob", 0))])
    # An overtaken worker settles the state after the call.
    first = story.invite("a", alice, bob, UNREACHABLE, STOPPED)
    yield from story.wait([("userState", {"userId": bob, **quiet}), first], "INVITE_COMPLETED a")
    yield [("userState", {"userId": bob}), story.invite("b", alice, bob, UNREACHABLE, ACCEPTED)]


def silences(story: Story) -> Script:
    """One device silences the call, the other one is busy; the first accepts, or nobody does."""
    seat = story.seat
    alice, first, second = seat.peer("alice"), seat.peer("bob", 0), seat.peer("bob", 1)
    call = story.invite("a", alice, seat.user("bob"), ACCEPTED, STOPPED)
    yield from story.wait([call], "invitation a")
    if story.cases["a"].records:
        return
    silence = story.say("silence", "a", first, (200,))
    yield from story.wait([silence], story.answered(silence))
    decline = story.say("decline", "a", second, (200,), errorCode=486)
    yield from story.wait([decline], story.answered(decline))
    yield [story.say("accept", "a", first) if story.chance.random() < 1 / 2 else story.stop("a", alice)]


def is_busy(story: Story) -> Script:
    """Bob is in a room, and is called into another one; then he has left, and is called again."""
    seat, bob = story.seat, story.seat.user("bob")
    alice = seat.peer("alice")
    story.whenever(
        "invitation a",
        lambda: [story.say("decline", "a", seat.peer("bob", device), errorCode=486) for device in DEVICES],
    )
    story.wrong.append(lambda: _unlike_busy(story))
    yield from story.wait([story.joined("bob", "z", seat.peer("bob", 0))], "userBusy z")
    yield from story.wait([story.invite("a", alice, bob, BUSY)], "INVITE_COMPLETED a")
    yield from story.wait([story.left("bob", "z")], "userFree z")
    yield from story.wait([story.invite("b", alice, bob, ACCEPTED)], "invitation b")
    yield [story.say("accept", "b", seat.peer("bob", 1))]


def dials(story: Story) -> Script:
    """Two gateways lead to a number: the first one fails, the second one wants its accept confirmed."""
    seat, lost = story.seat, story.chance.random() < 1 / 2
    first, second = seat.peer("gateway"), seat.peer("gateway", 1)
    rings, follows = f"invitation a {first['id']}", f"invitation a {second['id']}"
    call = story.invite("a", seat.peer("alice"), seat.user("007"), ACCEPTED)
    yield from story.wait([call], rings)
    gone: Event = ("disconnected", {"peer": first})
    yield from story.wait(
        [gone if lost else story.say("decline", "a", first, (200,), errorCode=503)], follows
    )
    asked = story.say("accept", "a", second, (202,))
    yield from story.wait([asked], story.answered(asked))
    confirmed = story.say("accept", "a", second, confirmed=True)
    yield from story.wait([confirmed], "INVITE_COMPLETED a")
    if lost:
        yield from story.wait([_gateway(seat, 0)], f"invitationCancel a {first['id']}")


def comes_back(story: Story) -> Script:
    """A device has another connection: after a loss, without one, or it accepts before it is registered."""
    seat, way = story.seat, story.chance.choice(("lost", "taken over", "accepts first"))
    former = seat.peer("bob", 0)
    yield from story.wait([story.invite("a", seat.peer("alice"), seat.user("bob"), ACCEPTED)], "invitation a")
    back = seat.reconnect("bob", 0)
    accept = story.say("accept", "a", back)
    if way == "accepts first":
        yield from story.wait([accept, seat.registered("bob", 0)], "INVITE_COMPLETED a")
    else:
        gone: list[Event] = [("disconnected", {"peer": former})] if way == "lost" else []
        yield from story.wait([*gone, seat.registered("bob", 0)], f"invitation a {back['id']}")
        yield [accept]


def caller_comes_back(story: Story) -> Script:
    """The caller's device is lost and back under another connection while it rings."""
    seat = story.seat
    former = seat.peer("alice")
    # It may have been away for too long, by the time that a worker sees it.
    call = story.invite("a", former, seat.user("bob"), ACCEPTED, STOPPED, told_again=True)
    yield from story.wait([call], "invitation a")
    seat.reconnect("alice")
    yield [
        ("disconnected", {"peer": former}),
        seat.registered("alice"),
        story.say("accept", "a", seat.peer("bob", 1)),
    ]


SCRIPTS: Final[dict[str, Callable[[Story], Script]]] = {
    "join": joins,
    "redial": redials,
    "glare": glare,
    "quiet": wants_quiet,
    "silence": silences,
    "busy": is_busy,
    "trunk": dials,
    "back": comes_back,
    "caller": caller_comes_back,
}


def registrations(seat: Seat) -> list[Event]:
    """All devices and gateways of a seat."""
    people = [seat.registered(user, device) for user in ("alice", "bob", "carol") for device in DEVICES]
    return people + ([_gateway(seat, number) for number in (0, 1)] if seat.name.startswith("trunk") else [])


def _gateway(seat: Seat, number: int) -> Event:
    trunk = {"trunk": True, "type": "PSTN", "match": re.escape(seat.user("007")), "confirm": number == 1}
    return seat.registered("gateway", number, **trunk)


def gaps(story: Story) -> Iterator[str]:
    """Devices that ring for both calls must be told of the second one before the end of the first one."""
    if "b" not in story.cases:
        return
    first, second = story.cases["a"], story.cases["b"]
    for device in set(first.stopped) & set(second.rang) if first.ended(STOPPED) else ():
        if first.rang[device] < second.rang[device] and first.stopped[device] < second.rang[device]:
            yield f"{device} stopped before it rang for the next call"


def _not_merged(story: Story) -> Iterator[str]:
    cases = story.cases.values()
    merged = sum(case.merged for case in cases)
    if all(case.ended(ACCEPTED) for case in cases) and merged != 1:
        yield f"{merged} calls have merged"


def _unlike_busy(story: Story) -> Iterator[str]:
    """A call to a busy user must do what the setting says."""
    case = story.cases.get("a")
    when, told = story.rules["whenBusy"], case.invitations if case else []
    if when == "reject" and told:
        yield "a busy user was rung"
    if when == "waiting" and not all(each.get("waiting") for each in told):
        yield "a second call was not told as one"
