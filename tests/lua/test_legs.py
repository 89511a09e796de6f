"""Messages between a group and a leg: each message in each state of the leg, twice and late.

The tables here are those at the beginning of `lua/group/from_legs.lua` and `lua/group/from_group.lua`. The group and
Bob are in different ones of two shards.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from redis.asyncio import Redis

from invites.store.scripts import Scripts
from tests.support import events as e
from tests.support import groups
from tests.support.relayed import hears
from tests.support.shards import Apart, messages_of

if TYPE_CHECKING:
    from tests.support.shard import Shard

NOW: Final = int(time.time() * 1000)
BOBS: Final = "alice|1|bob"
NOBODY: Final = ""
NOT_A_STATE: Final = ("events", "notifications", "push", "relay", "taken:", "story:")

TO_GROUP: Final[dict[str, tuple[str, ...]]] = {
    "leg_counts": ("2", "1", "0", "9", "3", "1", "0"),
    "leg_asks": ("bob-phone", "phone", ""),
    "leg_asks for nobody": (NOBODY, "", ""),
    "leg_ended": ("603", "declined", "bob-desk", ""),
    "leg_left_out": (),
    "leg_named": ("bob-desk",),
}
"""What Bob's leg says to the group: the arguments behind the ref and the member."""

OF_GROUP: Final[dict[str, dict[str, str | None]]] = {
    "WAITING": {"leg_asks": "CLAIMED", "leg_ended": "OVER", "leg_left_out": None},
    "RINGING": {"leg_asks": "CLAIMED", "leg_ended": "OVER", "leg_left_out": None},
    "CLAIMED": {"leg_ended": "OVER"},
    "OVER": {},
    "OVER with its call": {},
}
"""The state that the group has for Bob's leg -> a message -> the next state (None: it is left out). Others stay."""

TO_LEG: Final[dict[str, tuple[str, ...]]] = {
    "leg_start": (),
    "leg_update": (BOBS, '"news"', "", "", "team"),
    "leg_cancel": (BOBS, "DECLINED_BY_CREATOR", "487", "cancelled", "", "1-1", "", "team"),
    "leg_turn_over": (BOBS, groups.TEAM, "1-1"),
    "leg_won": (BOBS, "bob-phone", "", "", "team"),
}
"""What the group says to Bob's leg; what starts it is taken from the relay stream."""

ENDS: Final = {
    "leg_cancel": "DECLINED_BY_CREATOR",
    "leg_turn_over": "DECLINED_BY_TIMEOUT",
    "leg_won": "ACCEPTED",
}
OF_LEG: Final[dict[str, tuple[str | None, dict[str, str]]]] = {
    "NONE": (None, {"leg_start": "PENDING"}),
    "RINGING": ("PENDING", ENDS),
    "CLAIMED": ("PENDING", {**ENDS, "leg_turn_over": "PENDING"}),
    "OVER": ("DECLINED", {}),
}
"""The state of Bob's leg -> the state of its invite, and a message -> its next state."""


def word(text: str) -> str:
    """The first message."""
    return text.partition(" ")[0]


async def at_home(client: Redis) -> Apart:
    """The shards; Bob has two devices, Carol has one."""
    await client.flushall()
    shards = await Apart.make_several(lambda _: client, groups.GROUPS, 2)
    shards.now = NOW
    for device in ("bob-phone", "bob-desk", "carol-phone"):
        await shards.at_home(*e.registered(device, device.partition("-")[0], device=device[4:]))
    return shards


@pytest.fixture
async def apart(client: Redis) -> Apart:
    return await at_home(client)


async def contents(*parts: Shard) -> dict[str, Any]:
    """Read what shards know, without their streams and stories."""
    found: dict[str, Any] = {}
    for part in parts:
        async for raw in part.client.scan_iter(match=f"{part.keys.base}*"):
            name = raw.decode()
            kind = (await part.client.type(raw)).decode()
            if not name.removeprefix(part.keys.base).startswith(NOT_A_STATE):
                read = {"hash": part.client.hgetall, "string": part.client.get, "set": part.client.smembers}
                found[name] = await (
                    part.client.zrange(raw, 0, -1, withscores=True) if kind == "zset" else read[kind](raw)
                )
                if kind == "hash":
                    found[name].pop(b"story", None)
    return found


async def starts(apart: Apart) -> dict[str, str]:
    """Call the team, and return the fields of the message that starts Bob's leg."""
    await apart.at_home(*e.invite(to="team"))
    await apart.carry("nothing")
    [start] = [
        message
        for _, entry in apart.on_the_way
        for message in messages_of(entry)
        if (message["kind"], message["name"]) == ("leg_start", "bob")
    ] or [{}]
    return start


async def is_said(apart: Apart, part: Shard, kind: str, name: str, *arguments: str, entry: str) -> None:
    """Send it three times. The second and third one change nothing, and nobody is notified."""
    await apart.carry("nothing")
    await hears(part, kind, name, *arguments, entry=entry)
    await apart.carry("nothing")  # the answers are on their way
    before = await contents(part)
    for _ in range(2):
        assert await hears(part, kind, name, *arguments, entry=entry) == []
        assert await contents(part) == before
        await apart.carry("nothing")


@pytest.mark.parametrize("state", OF_GROUP)
@pytest.mark.parametrize("message", TO_GROUP)
async def test_what_a_leg_says(apart: Apart, state: str, message: str) -> None:
    groups.team(apart, "carol", "bob", sequential=state == "WAITING")
    await starts(apart)
    if state != "WAITING":
        await apart.carry()
    if state == "CLAIMED":
        await apart.at_home(*e.accept("bob-phone"))
        await apart.carry("leg_asks")
    elif state == "OVER":
        await apart.at_home(*e.decline("bob-desk"))
        await apart.carry()
    elif state == "OVER with its call":
        await apart.at_home(*e.stop(callee="team"))
        await apart.carry()
    assert (await groups.legs(apart))["bob"] == word(state)

    kind, entry = word(message), apart.entry_id()
    await is_said(
        apart, apart.home_of("team"), kind, "team", groups.TEAM, "bob", *TO_GROUP[message], entry=entry
    )
    assert (await groups.legs(apart)).get("bob") == OF_GROUP[state].get(message, word(state))


@pytest.mark.parametrize("state", OF_LEG)
@pytest.mark.parametrize("message", TO_LEG)
async def test_what_a_group_says(apart: Apart, state: str, message: str) -> None:
    groups.team(apart, "bob", "carol")
    start = await starts(apart)
    if state != "NONE":
        await apart.carry()
    if state == "CLAIMED":
        await apart.at_home(*e.accept("bob-phone"))
    elif state == "OVER":
        await apart.at_home(*e.decline("bob-desk"))
    before, after = OF_LEG[state]
    assert (await apart.invite(BOBS)).get("state") == before

    entry, arguments = apart.entry_id(), TO_LEG[message]
    if message == "leg_start":
        entry, arguments = start["entry"], tuple(json.loads(start["arguments"]))
    await is_said(apart, apart.home_of("bob"), message, "bob", *arguments, entry=entry)
    assert (await apart.invite(BOBS)).get("state") == after.get(message, before)


CALL: Final = e.invite(to="team")
COURSES: Final[dict[str, tuple[e.Published | int, ...]]] = {
    "one accepts": (
        CALL, e.ringing("bob-phone"), e.invite(to="team", context="news"), e.accept("bob-phone"), e.accept("bob-phone"),
    ),
    "all decline": (CALL, e.decline("carol-phone", "carol", errorCode=486), e.decline("bob-desk")),
    "each may accept": (
        e.invite(to="team", ringMode="all"), e.accept("bob-phone"), e.accept("carol-phone", "carol"),
    ),
    "one after the other": (
        e.invite(to="team", ringMode="sequential"), groups.GROUPS.ringing_step, e.accept("carol-phone", "carol"),
    ),
    "one is left out": (e.invite(to="bob"), CALL, e.decline("carol-phone", "carol")),
    "nobody is asked any more": (CALL, e.stop(callee="team")),
    "a time-out": (CALL, 60_000, 5_000),
    "a join, named later": (CALL, e.joined("bob"), e.accept("bob-phone")),
}  # fmt: skip
"""Events, and times (ms) that pass."""


async def play(
    client: Redis, course: tuple[e.Published | int, ...], *, repeats: bool
) -> tuple[set[str], Any, Any]:
    """Play a course; whenever a message of a group or a leg has arrived, all earlier ones may arrive again.

    Returns the kinds of these messages, the final state of the shards, and their notifications.
    """
    apart, said, told = await at_home(client), [], []
    groups.team(apart, "bob", "carol")
    for step in course:
        told += await (e.later(apart, step) if isinstance(step, int) else apart.at_home(*step))
        while carried := await apart.carry_first():
            told += await apart.told()
            new = [one for one in carried if one["kind"].startswith("leg_") and one not in said]
            said += new
            for each in said if repeats and new else ():
                told += await apart.carry("nothing")
                part, arguments = apart.home_of(each["name"]), json.loads(each["arguments"])
                told += await hears(part, each["kind"], each["name"], *arguments, entry=each["entry"])
    heard = sorted(
        (each.type, each.peers, str(each.payload)) for each in told if each.type != "inviteProgress"
    )
    return {each["kind"] for each in said}, await contents(*apart.parts), heard


async def test_repeats_change_nothing(client: Redis) -> None:
    kinds = set()
    for name, course in COURSES.items():
        found, *plain = await play(client, course, repeats=False)
        _, *repeated = await play(client, course, repeats=True)
        assert repeated == plain, name
        kinds |= found
    assert kinds == {word(each) for each in TO_GROUP} | set(TO_LEG)


def test_all_messages_are_in_the_tables() -> None:
    legs = {kind for kind in Scripts().messages if kind.startswith("leg_")}
    assert {word(each) for each in TO_GROUP} | set(TO_LEG) == legs - {"leg_began"}
