"""`invites show`: one invite and its history."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import redis

from invites.keys import CANDIDATE, WORKERS_GROUP
from tests.support.commands import Commands
from tests.support.seeds import ALICE, HEAD, KEYS, NOW, dead_letter, event, invite, notify
from workers import cli


def test_show_an_invite_and_all_that_touched_it(commands: Commands, database: redis.Redis) -> None:
    ended = {"state": "ACCEPTED", "code": "200", "reason": "accepted", "whoAccepted": "bob"}
    invite(database, **ended, endedAt=str(NOW + 5_000))
    candidate = {
        "address": "bob",
        "type": "PEER",
        "state": "ACCEPTED",
        "endReason": 200,
        "device": "bobs-phone",
    }
    database.hset(KEYS.invite("alice|i1|bob"), f"{CANDIDATE}b1", json.dumps(candidate))
    about = {"from": "alice", "inviteId": "i1"}
    bob = {"id": "b1", "user": "bob"}
    for kind, payload, at in (
        ("stopInvite", {"inviteId": "i1", "callee": "bob"}, NOW - 1_000),
        ("registered", {"registry": {**bob, "device": "too-early"}}, NOW - 900),
        ("invite", {"peer": ALICE, "to": "bob", "inviteId": "i1", "room": "r1"}, NOW),
        ("invite", {"peer": ALICE, "to": "carol", "inviteId": "i1", "room": "other-callee"}, NOW + 1),
        ("invite", {"peer": ALICE, "to": "bob", "inviteId": "i2", "room": "other-id"}, NOW + 2),
        ("registered", {"registry": {**bob, "device": "while-it-rings"}}, NOW + 10),
        ("registered", {"registry": {"id": "c1", "user": "carol"}}, NOW + 11),
        ("ringing", {"peer": bob, **about}, NOW + 20),
        ("left", {"userId": "alice", "roomId": "r1"}, NOW + 25),
        ("left", {"userId": "alice", "roomId": "another-room"}, NOW + 26),
        ("accept", {"peer": bob, **about, "to": "bob"}, NOW + 30),
        ("decline", {"peer": bob, "from": "dave", "inviteId": "i1"}, NOW + 40),
        ("disconnected", {"peer": {**bob, "id": "too-late"}}, NOW + 6_000),
    ):
        event(database, kind, payload, at)
    database.xadd(KEYS.events, {"type": "broken", "payload": b"\xff{"})
    notify(database, "invitation", ["b1"], **HEAD, expiresIn=60000, resumed=False)
    notify(database, "inviteAccepted", ["a1"], **{**HEAD, "from": "dave"}, code=200)
    notify(database, "INVITE_COMPLETED", [], **HEAD, state="ACCEPTED", error=200)
    found = commands.on_server("show", "alice|i1|bob")
    assert (found.status, found.err) == (0, "")
    head, events = found.out.split("events:\n")
    events, notifications = events.split("notifications:\n")
    assert head.startswith("alice|i1|bob\n  state       ACCEPTED (200 accepted) by bob\n")
    assert '  context     {"subject":"tea"}\n' in head
    assert "  b1  PEER of bob  ACCEPTED 200  device bobs-phone\n" in head
    kinds = [line.split()[1] for line in events.splitlines()]
    assert kinds == ["stopInvite", "invite", "registered", "ringing", "left", "accept"]
    for other in ("too-early", "other-callee", "other-id", "carol", "another-room", "dave", "too-late"):
        assert other not in events
    assert [line.split()[1] for line in notifications.splitlines()] == ["invitation", "INVITE_COMPLETED"]


def test_show_an_invite_of_which_only_notifications_are_left(
    commands: Commands, database: redis.Redis
) -> None:
    notify(database, "inviteRejected", ["a1"], **HEAD, code=408, reason="timeout")
    found = commands.on_server("show", "alice|i1|bob")
    assert found.status == 0
    assert found.out.startswith("alice|i1|bob is no longer stored.\nevents:\n  none left in the stream\n")
    assert "inviteRejected" in found.out


@pytest.mark.usefixtures("database")
def test_show_an_unknown_invite(commands: Commands) -> None:
    found = commands.on_server("show", "alice|i1|bob")
    assert (found.status, found.out) == (1, "")
    assert found.err.startswith("invites: There is no invite alice|i1|bob")


def test_what_callers_sent_cannot_steer_the_terminal(commands: Commands, database: redis.Redis) -> None:
    evil = "\x1b[2J\n\u2028forged\x7f\x9b31m\u202egnp.exe\u200b\ufeff\U000e0041\ufe0f"
    invite(database, context=json.dumps({"x": evil}, ensure_ascii=False), room=evil, createdAt="soon")
    event(database, "invite", {"peer": ALICE, "to": "bob", "inviteId": "i1", "room": evil})
    notify(database, evil, [evil], **HEAD, room=evil)
    letter = dead_letter(database, type=evil, payload=evil, error=evil)
    database.xgroup_create(KEYS.events, WORKERS_GROUP, "0")
    database.xreadgroup(WORKERS_GROUP, evil, {KEYS.events: ">"})
    for words in (
        ("show", "alice|i1|bob"),
        ("dead", "list"),
        ("dead", "list", "--json"),
        ("dead", "show", letter),
        ("dead", "show", letter, "--json"),
        ("status",),
        ("status", "--json"),
        ("check",),
        ("tail",),
    ):
        if words == ("check",):
            database.set(KEYS.layout, evil)  # refuses the commands that look at all shards
        ended = commands.on_server(*words)
        for out in (ended.out, ended.err):
            assert all(line.isprintable() and "\ufe0f" not in line for line in out.split("\n")), words
            assert not any(line.startswith("forged") for line in out.splitlines())
        if words[0] == "dead" and "--json" in words:
            assert json.loads(ended.out)["payload"] == evil


def test_commands_print_by_one_way_alone() -> None:
    """One file escapes, so no other may write to the terminal."""
    folder = Path(cli.__file__).parent
    for file in folder.rglob("*.py"):
        if file.name != "output.py":
            text = file.read_text("utf-8")
            assert not re.search(r"\b(?:secho|echo|print|style)\(|\.write\(", text), file
