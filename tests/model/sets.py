"""The sets of events whose orders are all played. A new set is one more function in `SETS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from invites.lookup.result import LookupResult, Member
from invites.store.settings import Settings

from .author import peer
from .histories import Knows, Publish, Pushed, Step
from .test_rules_found import asks, calls, gone, here, room, says, stops

Event = Publish | Pushed


@dataclass(frozen=True)
class OrderedSet:
    """First `given`, in this order; then the `events` in every order.

    A `Pushed` is not published: it takes part in the settle orders, and does nothing while no push job waits.
    """

    settings: Settings
    given: tuple[Step, ...]
    events: tuple[Event, ...]


BOBS_AND_CAROLS = (
    Knows("team", LookupResult(known=True, members=[Member("bob"), Member("carol")])),
    here("b1"),
    here("c1"),
)


def direct_call() -> OrderedSet:
    answers = (says("accept", "b1"), says("accept", "b3"), says("decline", "b1", errorCode=486))
    return OrderedSet(Settings(), (here("b1"), here("b3")), (calls("a1"), *answers, stops("a1")))


def devices_that_go_and_come() -> OrderedSet:
    again = here("b2", session="s2")
    events = (calls("a1"), says("ringing", "b1"), gone("b1"), again, says("accept", "b1"))
    return OrderedSet(Settings(remove_after=5_000), (here("b1", session="s1"),), events)


def caller_that_goes_and_comes() -> OrderedSet:
    events = (calls("a1"), gone("a1"), here("a2"), calls("a1", context="news"), says("accept", "b1"))
    return OrderedSet(Settings(), (here("b1"), here("a1")), events)


def rooms() -> OrderedSet:
    leaves, closes = room("left", userId="alice"), room("roomClosed")
    events = (room("joined", userId="alice"), calls("a1"), leaves, closes, says("accept", "b1"))
    return OrderedSet(Settings(), (here("b1"),), events)


def request() -> OrderedSet:
    invite = calls("b1", "alice", "i2", requestId="i1")
    events = (asks("a1"), says("accept", "b1"), invite, says("decline", "b3"), stops("a1"))
    return OrderedSet(Settings(), (here("a1"), here("b1")), events)


def parallel_sip() -> OrderedSet:
    back = calls("t1", invite_id="i2", returnOf="alice|i1|bob")
    answers = (says("accept", "b1"), says("decline", "t1", to="bob", errorCode=486))
    events = (calls("a1"), back, *answers, here("b3"))
    return OrderedSet(Settings(parallel_sip=True), (here("t1"), here("b1")), events)


def only_one_device() -> OrderedSet:
    two = (calls("a1"), calls("c1", invite_id="i2"))
    answers = (
        says("accept", "b1"),
        says("accept", "b3", "carol", "i2"),
        says("decline", "b1", "carol", "i2", errorCode=480),
    )
    settings = Settings(only_one_device_with_invitations=True)
    return OrderedSet(settings, (here("b1"), here("b3")), (*two, *answers))


def group() -> OrderedSet:
    answers = (says("accept", "b1"), says("accept", "c1", to="team"), says("decline", "b1", errorCode=486))
    events = (calls("a1", "team"), *answers, stops("a1", callee="team"))
    return OrderedSet(Settings(look_up="groups"), BOBS_AND_CAROLS, events)


def group_in_sequence() -> OrderedSet:
    answers = (says("decline", "b1"), says("accept", "c1"), says("decline", "c1", errorCode=480))
    events = (calls("a1", "team", ringMode="sequential"), *answers, stops("a1", callee="bob"))
    return OrderedSet(Settings(look_up="groups"), BOBS_AND_CAROLS, events)


def group_in_which_all_may_accept() -> OrderedSet:
    answers = (says("accept", "b1"), says("accept", "c1"), says("decline", "c1"))
    events = (calls("a1", "team", ringMode="all"), *answers, stops("a1", callee="team"))
    return OrderedSet(Settings(look_up="groups"), BOBS_AND_CAROLS, events)


def group_and_only_one_device() -> OrderedSet:
    events = (
        calls("a1", "team"),
        calls("a3", invite_id="i2"),
        says("accept", "b1"),
        says("accept", "b3", invite_id="i2"),
        says("decline", "c1"),
    )
    settings = Settings(look_up="groups", only_one_device_with_invitations=True)
    return OrderedSet(settings, (*BOBS_AND_CAROLS, here("b3")), events)


def push() -> OrderedSet:
    asleep = Knows("bob", LookupResult(known=True, push=("phone",)))
    events = (calls("a1"), here("b1"), says("accept", "b1"), says("accept", "b3"), stops("a1"))
    return OrderedSet(Settings(look_up="push"), (asleep, here("b3")), events)


def push_that_is_taken_or_not() -> OrderedSet:
    asleep = Knows("bob", LookupResult(known=True, push=("phone", "tablet")))
    events = (calls("a1"), here("b1"), says("decline", "b1", errorCode=486), stops("a1"))
    results = (Pushed(0, "pushTaken"), Pushed(0, "pushGone"))
    return OrderedSet(Settings(look_up="push"), (asleep,), (*events, *results))


def redial() -> OrderedSet:
    named = calls("a1", invite_id="i3", replaces="alice|i2|bob")
    events = (calls("a1"), calls("a1", invite_id="i2"), named, says("accept", "b1"), stops("a1"))
    return OrderedSet(Settings(), (here("b1"),), events)


def glare() -> OrderedSet:
    events = (
        calls("a1"),
        calls("b1", "alice", "i2"),
        says("accept", "b3"),
        says("decline", "a3", "bob", "i2", errorCode=603),
        stops("a1"),
    )
    return OrderedSet(Settings(glare="merge"), (here("a1"), here("a3"), here("b1"), here("b3")), events)


def joining() -> OrderedSet:
    joins = room("joined", userId="bob", peer=peer("b1"))
    events = (calls("a1"), joins, room("left", userId="bob"), says("accept", "b3"), stops("a1"))
    return OrderedSet(Settings(room_grace=5_000, when_busy="reject"), (here("b1"), here("b3")), events)


def silence() -> OrderedSet:
    events = (calls("a1"), says("silence", "b1"), gone("b1"), here("b2"), says("accept", "b2"))
    return OrderedSet(Settings(remove_after=5_000), (here("b1"), here("b3")), events)


def user_state() -> OrderedSet:
    quiet, loud = (
        Publish("userState", {"userId": "bob", "dnd": True}),
        Publish("userState", {"userId": "bob"}),
    )
    events = (quiet, loud, calls("a1"), here("b3"), says("accept", "b1"))
    return OrderedSet(Settings(), (here("b1"),), events)


def trunks_that_fail() -> OrderedSet:
    answers = (
        says("decline", "t1", to="007", errorCode=503),
        says("accept", "t1", to="007"),
        says("accept", "t4", to="007"),
    )
    events = (calls("a1", "007"), *answers, gone("t1"))
    return OrderedSet(Settings(look_up="push"), (here("t1"), here("t4")), events)


def phone_that_is_lost() -> OrderedSet:
    listed = Knows("bob", LookupResult(known=True, push=("phone",)))
    events = (calls("a1"), gone("b1"), here("b2"), says("decline", "b1", errorCode=480), says("accept", "b2"))
    return OrderedSet(Settings(look_up="push", push_after=3_000), (listed, here("b1")), events)


def too_many_devices() -> OrderedSet:
    events = (calls("a1"), here("b3"), here("b1"), here("b4"), says("accept", "b4"))
    return OrderedSet(Settings(devices_per_user=2), (here("b1"),), events)


def glare_while_busy_with_a_phone_asleep() -> OrderedSet:
    asleep = Knows("bob", LookupResult(known=True, push=("phone",)))
    elsewhere = Publish("joined", {"userId": "bob", "roomId": "r2", "peer": peer("b3")})
    events = (calls("a1"), calls("b3", "alice", "i2"), elsewhere, here("b1"), says("accept", "b1"))
    settings = Settings(glare="merge", look_up="push", only_one_device_with_invitations=True)
    return OrderedSet(settings, (asleep, here("a1"), here("b3")), events)


def glare_and_redial() -> OrderedSet:
    events = (
        calls("a1"),
        calls("b1", "alice", "i2"),
        calls("a1", invite_id="i3"),
        says("accept", "b3"),
        stops("b1", "i2", "alice"),
    )
    return OrderedSet(Settings(glare="merge"), (here("a1"), here("b1"), here("b3")), events)


def phone_that_users_share() -> OrderedSet:
    carols = Publish("registered", {"registry": {"id": "b1", "user": "carol", "device": "phone"}})
    events = (calls("a1"), calls("a1", "carol", "i2"), carols, gone("b1"), says("accept", "b1"))
    return OrderedSet(Settings(remove_after=5_000), (here("b1"),), events)


def trunk_that_must_confirm() -> OrderedSet:
    trunk = here("t2", confirm=True)
    answers = (
        says("accept", "t2", to="bob"),
        says("accept", "t2", to="bob", confirmed=True),
        says("decline", "t2", to="bob", errorCode=503),
        says("accept", "b1"),
    )
    both = Knows("bob", LookupResult(known=True, phone="007"))
    return OrderedSet(Settings(look_up="reachability"), (both, trunk, here("b1")), (calls("a1"), *answers))


def group_and_joining() -> OrderedSet:
    joins = room("joined", userId="bob", peer=peer("b1"))
    events = (
        calls("a1", "team", ringMode="sequential"),
        joins,
        says("accept", "c1", to="team"),
        says("decline", "b1", to="team", errorCode=486),
        room("left", userId="alice"),
    )
    return OrderedSet(Settings(look_up="groups", when_busy="reject"), BOBS_AND_CAROLS, events)


def group_with_a_phone_that_hands_over() -> OrderedSet:
    team = Knows("team", LookupResult(known=True, members=[Member("bob", push=("phone",)), Member("carol")]))
    events = (
        calls("a1", "team"),
        says("decline", "b1", errorCode=480),
        here("b2"),
        says("silence", "c1"),
        says("accept", "b2", to="team"),
    )
    return OrderedSet(Settings(look_up="all"), (team, here("b1"), here("c1")), events)


def request_and_wishes() -> OrderedSet:
    quiet = Publish("userState", {"userId": "alice", "dnd": True, "block": ["bob"]})
    invite = calls("b1", "alice", "i2", requestId="i1")
    events = (asks("a1"), says("accept", "b1"), quiet, invite, gone("a1"))
    return OrderedSet(Settings(), (here("a1"), here("b1")), events)


SETS: tuple[Callable[[], OrderedSet], ...] = (
    direct_call,
    devices_that_go_and_come,
    caller_that_goes_and_comes,
    rooms,
    request,
    parallel_sip,
    only_one_device,
    group,
    group_in_sequence,
    group_in_which_all_may_accept,
    group_and_only_one_device,
    push,
    push_that_is_taken_or_not,
    redial,
    glare,
    joining,
    silence,
    user_state,
    trunks_that_fail,
    phone_that_is_lost,
    too_many_devices,
    glare_while_busy_with_a_phone_asleep,
    glare_and_redial,
    phone_that_users_share,
    trunk_that_must_confirm,
    group_and_joining,
    group_with_a_phone_that_hands_over,
    request_and_wishes,
)
