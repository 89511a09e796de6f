"""Short histories that once went wrong, or that show a rule of order at its plainest."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from invites.lookup.result import LookupResult, Member
from invites.store.scripts import Scripts
from invites.store.settings import Settings

from .author import DEVICES, TRUNKS, peer
from .histories import Advance, Fire, History, Knows, Publish, Pushed, Settle, Step
from .play import Play
from .state import HOUR


def here(name: str, *, later: bool = False, **more: object) -> Publish:
    """A registration; `later`: some worker has it, and is overtaken."""
    user, device = DEVICES[name]
    registry: dict[str, object] = {"id": name, "user": user, **more}
    if device is not None:
        registry["device"] = device
    if name in TRUNKS:
        registry |= {"trunk": True, "match": TRUNKS[name]}
    return Publish("registered", {"registry": registry}, settle=not later)


def gone(name: str, *, later: bool = False, **more: object) -> Publish:
    return Publish("disconnected", {"peer": peer(name), **more}, settle=not later)


def calls(
    name: str, to: str = "bob", invite_id: str = "i1", *, later: bool = False, **more: object
) -> Publish:
    payload = {"peer": peer(name), "to": to, "inviteId": invite_id, "room": "r1", **more}
    return Publish("invite", payload, settle=not later)


def asks(name: str, to: str = "bob", invite_id: str = "i1") -> Publish:
    return Publish("inviteRequest", {"peer": peer(name), "to": to, "inviteId": invite_id})


def says(kind: str, name: str, sender: str = "alice", invite_id: str = "i1", **more: object) -> Publish:
    return Publish(kind, {"peer": peer(name), "from": sender, "inviteId": invite_id, **more})


def stops(name: str, invite_id: str = "i1", callee: str = "bob", *, later: bool = False) -> Publish:
    return Publish(
        "stopInvite", {"peer": peer(name), "inviteId": invite_id, "callee": callee}, settle=not later
    )


def room(kind: str, *, later: bool = False, **more: object) -> Publish:
    return Publish(kind, {"roomId": "r1", **more}, settle=not later)


AT_LAST = Settle((0, 1, 2, 3))
BUSY = Settings(only_one_device_with_invitations=True)
PARALLEL = Settings(parallel_sip=True)
PATIENT = Settings(remove_after=10_000)
PLAIN = Settings()

FOUND: dict[str, tuple[Settings, tuple[Step, ...]]] = {
    "a trunk has lapsed before its connection ends": (
        PATIENT,
        (
            here("t2", expires=5_000),
            calls("a1", to="007"),
            Advance(6_000),
            Fire(),
            gone("t2"),
        ),
    ),
    "a device is gone before its latest registration comes, and an earlier one after that": (
        PLAIN,
        (
            here("b1", later=True),
            here("b2", later=True),
            calls("a1"),
            gone("b2"),
            Settle((1,)),
            Settle((0,)),
            calls("a1", invite_id="i2"),
        ),
    ),
    "a device's former connection is over once a later one was": (
        PLAIN,
        (
            here("b1"),
            calls("a1"),
            here("b2", later=True),
            gone("b2"),
            Settle((0,)),
        ),
    ),
    "a caller's grace does not outlive its return": (
        PLAIN,
        (
            here("b1"),
            here("a1"),
            calls("a1"),
            gone("a1"),
            stops("a1"),
            here("a1"),
            Advance(2000),
            calls("a1", invite_id="i2"),
            Advance(9000),
            Fire(),
        ),
    ),
    "a caller's grace that ends after an hour spares what was called since": (
        PLAIN,
        (here("b1"), here("a1"), calls("a1"), gone("a1"), Advance(HOUR), calls("a1", invite_id="i2"), Fire()),
    ),
    "a late invite of a lost caller does not make its other calls wait longer": (
        PLAIN,
        (
            here("b1"),
            here("c1"),
            calls("a3", later=True),
            calls("a3", "carol"),
            gone("a3"),
            Advance(5000),
            AT_LAST,
            Advance(5000),
            Fire(),
        ),
    ),
    "a lapsed caller is gone": (
        PLAIN,
        (here("b1"), here("a1", expires=5_000), calls("a1"), Advance(5_000), Fire(), Advance(10_000), Fire()),
    ),
    "a caller whose device is back hears the outcome": (
        PLAIN,
        (
            here("b1"),
            here("a1"),
            calls("a1"),
            gone("a1"),
            here("a2"),
            Advance(11000),
            Fire(),
            says("accept", "b1"),
        ),
    ),
    "an overtaken invite belongs to the peer id that the device has now": (
        PLAIN,
        (here("b1"), here("a1"), calls("a1", later=True), gone("a1"), here("a2"), AT_LAST),
    ),
    "an overtaken invite of a peer id that was replaced, and gone again": (
        PLAIN,
        (here("b1"), here("a1"), calls("a1", later=True), here("a2"), gone("a2"), AT_LAST),
    ),
    "the peer that asked has reconnected": (
        PLAIN,
        (
            here("b1"),
            here("a1"),
            asks("a1"),
            says("accept", "b1"),
            gone("a1"),
            here("a2"),
            calls("b1", "alice", "i2", requestId="i1"),
        ),
    ),
    "the peer that asked has a new session": (
        PLAIN,
        (
            here("b1"),
            here("a1", session="s1"),
            asks("a1"),
            calls("b1", "alice", "i2", requestId="i1"),
            here("a1", session="s2"),
        ),
    ),
    "a device under its new peer id alone is a candidate": (
        PLAIN,
        (
            here("b1"),
            here("b3"),
            calls("a1"),
            says("ringing", "b2"),
            here("b2"),
            says("decline", "b2", errorCode=486),
            says("decline", "b3", errorCode=486),
        ),
    ),
    "a device that is back past the deadline hears the end": (
        PATIENT,
        (here("b1"), calls("a1", expires=5), Advance(6), here("b2"), Fire()),
    ),
    "the device that accepted, under its next peer id": (
        PLAIN,
        (
            here("t2"),
            calls("b1", "007"),
            gone("t2"),
            here("t3", later=True),
            says("accept", "t2", "bob", to="007"),
            AT_LAST,
            says("accept", "t3", "bob", to="007"),
        ),
    ),
    "the device that accepted is not told that it lost": (
        PLAIN,
        (here("b1"), calls("a1"), says("ringing", "b2"), says("accept", "b1"), here("b2")),
    ),
    "an inviter's other devices never ring": (
        PLAIN,
        (
            here("b1"),
            here("t1"),
            calls("b1"),
            here("b2"),
            says("accept", "b1", "bob"),
            says("ringing", "b1", "bob"),
        ),
    ),
    "the end of a session that is still on its way": (
        PLAIN,
        (here("c1", session="s1"), here("c1", session="s2", later=True), gone("c1", session="s2"), AT_LAST),
    ),
    "an end without a session ends every older one": (
        PLAIN,
        (here("c1", session="s2"), here("c1", session="s1", later=True), gone("c1"), AT_LAST),
    ),
    "what is older than the registration that ended counts no more": (
        PLAIN,
        (here("c1", session="s1", later=True), here("c1", session="s2"), gone("c1", session="s2"), AT_LAST),
    ),
    "an end is not held up by a later one of another session": (
        PLAIN,
        (here("a3", session="s1"), gone("a3", later=True), gone("a3", session="s2"), AT_LAST),
    ),
    "a repeat that the same device's new peer id overtook": (
        PLAIN,
        (
            here("a1"),
            calls("c1", "alice"),
            here("a1", later=True),
            here("a2", session="s2"),
            gone("a2"),
            AT_LAST,
        ),
    ),
    "a trunk with a new peer id replaces the old one": (
        PATIENT,
        (here("t2"), calls("a1", "007"), gone("t2"), here("t3"), calls("a1", "007", "i2")),
    ),
    "busy elsewhere is 486, whatever a device said before": (
        BUSY,
        (
            here("b4"),
            calls("c1", invite_id="i2"),
            says("decline", "b1", "carol", "i2", errorCode=480),
            calls("a1"),
            says("accept", "b1"),
        ),
    ),
    "nobody is named twice when a trunk's own call comes back to it": (
        PARALLEL,
        (
            here("t2"),
            calls("t1"),
            calls("t1", returnOf="sip|i1|bob", invite_id="i2"),
            says("decline", "b3", "sip"),
        ),
    ),
    "a caller's registration that comes after that of its device's next peer id": (
        PLAIN,
        (
            here("t1"),
            gone("a1", later=True),
            here("a1", session="s2", later=True),
            calls("a1", "nobody", "i2"),
            here("a2"),
            AT_LAST,
        ),
    ),
    "a registration that its device's next peer id had replaced, and its repeat": (
        PLAIN,
        (
            here("a1", later=True),
            here("a1", session="s2", later=True),
            here("a2"),
            Settle((0,)),
            gone("a2"),
            AT_LAST,
        ),
    ),
    "a caller that was lost before it called has its whole grace when it is lost again": (
        PLAIN,
        (
            here("b1"),
            gone("a1", later=True),
            calls("a1"),
            AT_LAST,
            Advance(11_000),
            gone("a1"),
            Advance(9_000),
            Fire(),
        ),
    ),
    "a peer id that was over before its registration came, and its device's next one": (
        PLAIN,
        (
            here("b1"),
            calls("a1"),
            here("a1", later=True),
            gone("a1", session="s2"),
            here("a2", session="s2"),
            AT_LAST,
        ),
    ),
    "a peer id that was over before its registration came keeps its call": (
        PLAIN,
        (here("b1"), calls("a1"), here("a2"), here("a1", session="s2", later=True), gone("a1"), AT_LAST),
    ),
    "who is busy is not so for a call that the phone network has": (
        Settings(parallel_sip=True, only_one_device_with_invitations=True),
        (here("t1"), calls("a2", "sip", "i2"), asks("a1", "sip"), says("accept", "t2")),
    ),
    "a caller whose registration lapses, after the end of another session": (
        PLAIN,
        (here("b1"), here("a1", session="s2", expires=30_000), gone("a1", session="s1"), calls("a1")),
    ),
    "the same, but it has called once more since": (
        PLAIN,
        (here("b1"), here("a1", later=True), calls("a1"), here("a2"), calls("a1", context="one"), AT_LAST),
    ),
    "a device that was away when its user became busy hears it once": (
        Settings(remove_after=10_000, only_one_device_with_invitations=True),
        (
            here("b1"),
            here("b3"),
            calls("a1"),
            calls("c1", invite_id="i2"),
            gone("b3"),
            says("accept", "b1"),
            here("b3", session="s1"),
            here("b3", session="s2"),
            stops("c1", "i2"),
            here("b3", session="s1"),
        ),
    ),
    "progress told again is the present one": (
        PLAIN,
        (here("b3"), calls("a1"), says("ringing", "b1"), gone("b1"), calls("a1")),
    ),
    "a room closes twice, the later one first": (
        PLAIN,
        (here("b1"), calls("a1"), room("roomClosed", later=True), room("roomClosed"), AT_LAST),
    ),
    "a call is stopped in the commit that it begins in": (
        PLAIN,
        (here("b1"), calls("a1", later=True), stops("a1", later=True), AT_LAST, says("accept", "b1")),
    ),
    "the callee accepts before the stop in the commit that the call begins in": (
        PLAIN,
        (
            here("b1"),
            calls("a1", later=True),
            Publish("accept", {"peer": peer("b1"), "from": "alice", "inviteId": "i1"}, settle=False),
            stops("a1", later=True),
            AT_LAST,
        ),
    ),
    "who left and came again had left": (
        PLAIN,
        (
            here("b1"),
            calls("a1", later=True),
            room("left", userId="alice"),
            room("joined", userId="alice"),
            AT_LAST,
        ),
    ),
    "a stranger's session ends while a lapse is overdue": (
        Settings(when_busy="reject"),
        (
            here("b3", session="s1", expires=5_000),
            calls("a1"),
            Advance(11_000),
            says("accept", "b3"),
            Publish("unregistered", {"peer": peer("b3"), "session": "s2"}),
        ),
    ),
    "who is in a call as a peer without a device is on the push device of that id": (
        Settings(only_one_device_with_invitations=True, look_up="push"),
        (
            Knows("bob", LookupResult(known=True, push=("b1", "watch"))),
            calls("a1"),
            says("accept", "b1"),
            calls("c1", invite_id="i2", room="r2"),
        ),
    ),
    "a room is closed by an event that counts as now, and a call into it is ahead of the server's time": (
        Settings(),
        (
            here("b1"),
            replace(calls("a1"), ahead=4_999),
            replace(room("roomClosed"), ahead=60_000),
        ),
    ),
    "a guest is lost, calls again and is lost again within the grace of its earlier call": (
        Settings(redial="ring"),
        (
            here("b1"),
            here("c1"),
            calls("a1", peer={"id": "a1", "user": "alice", "device": "desk"}),
            gone("a1"),
            Advance(4_000),
            calls("a1", to="carol", peer={"id": "a1", "user": "alice", "device": "desk"}),
            gone("a1"),
            Advance(6_000),
            Fire(),
            Advance(4_000),
            Fire(),
        ),
    ),
    "a call to a busy user that the phone network would have is over, and known": (
        Settings(glare="merge", when_busy="reject", parallel_sip=True),
        (
            here("t1"),
            Publish("joined", {"roomId": "r2", "userId": "bob", "peer": peer("b3")}),
            calls("c1"),
            says("accept", "b4", "carol"),
        ),
    ),
    "a call that merges rang already, and its devices hear who has answered": (
        Settings(glare="merge"),
        (
            here("a3"),
            here("b1"),
            calls("a1", later=True),
            calls("b1", "alice", "i2"),
            AT_LAST,
        ),
    ),
    "a call that merges has no candidate but the caller that it meets": (
        Settings(glare="merge"),
        (
            here("a3"),
            here("b1"),
            calls("a1"),
            calls("b1", "alice", "i2"),
        ),
    ),
    "a call that meets a later one has no candidate but the caller of that one": (
        Settings(glare="merge"),
        (
            here("a3"),
            here("b1"),
            here("b3"),
            calls("a1", later=True),
            calls("b1", "alice", "i2"),
            AT_LAST,
        ),
    ),
    "a call that merges is none of the trunk that it would have rung": (
        Settings(glare="merge"),
        (
            here("t1"),
            calls("a1"),
            calls("b1", "alice", "i2"),
        ),
    ),
    "the connection that accepts is not told that its user is busy elsewhere, though it answers as a push device": (
        Settings(only_one_device_with_invitations=True, look_up="push", remove_after=10_000),
        (
            Knows("bob", LookupResult(known=True, push=("phone", "b1"))),
            here("b1"),
            calls("c1"),
            gone("b1"),
            calls("a1"),
            says("accept", "b1"),
        ),
    ),
    "a caller whose own loss ends its call hears the outcome once it is back": (
        Settings(look_up="groups"),
        (
            Knows("team", LookupResult(known=True, members=[Member("007")])),
            here("t2"),
            calls("t1", "team"),
            calls("t2", "team"),
            here("t3"),
            gone("t3"),
            here("t3"),
        ),
    ),
    "a device that has not been pushed does not count as pushed when it hands over": (
        Settings(look_up="push"),
        (
            Knows("bob", LookupResult(known=True, push=("phone", "tablet"))),
            here("b1"),
            calls("a1"),
            says("decline", "b1", errorCode=480),
            calls("a1"),
            Pushed(0, "pushTaken"),
            here("b2"),
            calls("a1"),
        ),
    ),
    "a device that has been silenced is not pushed as well": (
        Settings(look_up="push", push_after=3_000),
        (
            Knows("bob", LookupResult(known=True, push=("phone", "tablet"))),
            here("b1", expires=5_000),
            here("b3", expires=5_000),
            calls("a1"),
            says("silence", "b1"),
            Advance(3_000),
            Fire(),
            says("silence", "b3"),
            Advance(2_000),
            Fire(),
        ),
    ),
    "an invite that answers a request is in no list of other devices": (
        PLAIN,
        (
            here("a1"),
            here("b1"),
            asks("a1"),
            calls("b1", "alice", "i2", requestId="i1"),
            Publish("getInvitations", {"peer": peer("a3")}),
            Publish("getInvitations", {"peer": peer("a1")}),
        ),
    ),
    "a call that rings the device in the call alone is in no list of other devices": (
        BUSY,
        (
            here("b1"),
            room("joined", userId="bob", peer=peer("b1")),
            calls("a1", room="r2"),
            Publish("getInvitations", {"peer": peer("b3")}),
            Publish("getInvitations", {"peer": peer("b2") | {"device": "phone"}}),
        ),
    ),
    "a call that an earlier connection of the device has declined for itself is in the list": (
        PLAIN,
        (
            here("b1"),
            here("b3"),
            calls("a1"),
            says("decline", "b1", errorCode=480),
            Publish("getInvitations", {"peer": peer("b1")}),
            Publish("getInvitations", {"peer": peer("b2") | {"device": "phone"}}),
        ),
    ),
    "a call to oneself is in no list of one's own devices": (
        PLAIN,
        (
            here("t1"),
            here("b1"),
            calls("b1"),
            *(Publish("getInvitations", {"peer": peer(one)}) for one in ("b1", "b3")),
        ),
    ),
    "a trunk that another one has followed does not ring again under a new connection": (
        PLAIN,
        (
            here("t1", session="s1"),
            here("t4"),
            calls("a1", "007"),
            says("decline", "t1", to="007", errorCode=503),
            here("t1", session="s2"),
            Publish("getInvitations", {"peer": peer("t1")}),
            gone("t4"),
        ),
    ),
    "a lost trunk that another one has followed is back and lists nothing": (
        PLAIN,
        (
            here("t1"),
            here("t4"),
            calls("a1", "007"),
            gone("t1"),
            here("t1"),
            Publish("getInvitations", {"peer": peer("t1")}),
        ),
    ),
    "a peer id moves from the member that rings to the next one, and rings for that": (
        Settings(look_up="all"),
        (
            Knows(
                "team", LookupResult(known=True, members=[Member("carol"), Member("bob")], sequential=True)
            ),
            here("c1"),
            calls("a1", "team"),
            Publish("registered", {"registry": {"id": "c1", "user": "bob"}}),
        ),
    ),
    "a call to a group does not merge with the call of a user who has its name": (
        Settings(look_up="groups", glare="merge"),
        (
            Knows("team", LookupResult(known=True, members=[Member("carol")])),
            here("b1"),
            here("c1"),
            calls("x1"),
            calls("b1", "team", "i2"),
        ),
    ),
    "a lost trunk may come back while another user's trunk has its peer id": (
        PATIENT,
        (
            here("t1"),
            calls("a1", "007"),
            gone("t1"),
            Publish("disconnected", {"peer": {"id": "t1", "user": "tel"}}),
            Publish("registered", {"registry": {"id": "t1", "user": "tel", "trunk": True, "match": "bob"}}),
        ),
    ),
    "a device of a member hands over without a word to the caller": (
        Settings(look_up="all"),
        (
            Knows("team", LookupResult(known=True, members=[Member("bob", push=("phone",))])),
            here("b1"),
            calls("c1", "team"),
            says("decline", "b1", "carol", to="team", errorCode=480),
        ),
    ),
    "a device that was pushed counts as pushed again when it hands over": (
        Settings(look_up="push"),
        (
            Knows("bob", LookupResult(known=True, push=("phone",))),
            calls("a1"),
            Pushed(0, "pushTaken"),
            here("b1"),
            says("ringing", "b1"),
            says("decline", "b1", errorCode=480),
            calls("a1"),
            here("b2"),
        ),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_it_goes_right_now(name: str, valkey_server: str) -> None:
    config, steps = FOUND[name]

    async def play() -> None:
        async with Redis.from_url(valkey_server) as client:
            await client.flushall()
            await Play(client, Scripts(), History(config, steps)).run()

    asyncio.run(play())
