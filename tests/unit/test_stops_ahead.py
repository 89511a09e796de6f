"""The invites of a commit that know of their stop."""

import json

import pytest

from invites.events.arguments import InviteArguments, RelayedEventArguments
from invites.events.decoding import decode_event_entry, decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.events.stops_ahead import with_stops_ahead
from tests.support import events as e
from tests.support.shard import peer

INVITE, STOP = e.invite(), e.stop(errorCode=480)


def _operations(*events: e.Published) -> list[Operation]:
    return [
        decode_event_entry(
            Entry(f"1-{number}", {b"type": kind.encode(), b"payload": json.dumps(payload).encode()}),
            max_deliveries=5,
        )
        for number, (kind, payload) in enumerate(events)
    ]


def _stopped(operation: Operation) -> object:
    arguments = operation.arguments
    if isinstance(arguments, RelayedEventArguments):
        arguments = arguments.arguments
    return arguments.stopped if isinstance(arguments, InviteArguments) else ""


@pytest.mark.parametrize(
    "events",
    [
        (INVITE, STOP),
        (e.request(), STOP),
        (INVITE, e.stop(None, from_="alice", errorCode=480)),
        (INVITE, e.stop(None, errorCode=480)),
        (INVITE, STOP, e.stop(errorCode=500)),
        (INVITE, e.registered("phone"), e.disconnected("phone"), e.ringing("phone"), STOP),
        (INVITE, e.accept("phone", invite_id="2"), e.decline("phone", from_="carol"), STOP),
        (INVITE, STOP, e.accept("phone")),
        (e.invite(ringMode="all"), e.joined("alice"), STOP),
    ],
)
def test_an_invite_knows_of_its_stop(events: tuple[e.Published, ...]) -> None:
    operations = _operations(*events)
    seen = with_stops_ahead(operations)
    assert _stopped(seen[0]) == 480
    assert list(seen[1:]) == operations[1:]


@pytest.mark.parametrize(
    "events",
    [
        (INVITE,),
        (STOP, INVITE),
        (INVITE, e.stop(peer("c", "carol"), errorCode=480)),
        (INVITE, e.stop(peer("c", "carol"), from_="alice", errorCode=480)),
        (INVITE, e.stop(invite_id="2")),
        (INVITE, e.stop(callee="carol")),
        (INVITE, e.accept("phone"), STOP),
        (INVITE, e.decline("phone", errorCode=486), STOP),
        (INVITE, e.accept("phone"), e.stop(None)),
        (INVITE, e.accept("c", "carol"), STOP),
        (e.invite(returnOf=e.REF), STOP),
    ],
)
def test_an_invite_rings_as_usual(events: tuple[e.Published, ...]) -> None:
    operations = _operations(*events)
    assert list(with_stops_ahead(operations)) == operations


def test_each_invite_knows_of_its_own_stop() -> None:
    again = e.invite(context="new")
    seen = with_stops_ahead(_operations(e.invite(to="carol"), INVITE, e.accept("phone"), again, STOP))
    assert [_stopped(operation) for operation in seen] == ["", "", "", 480, ""]


def test_events_that_come_from_another_shard_know_it_too() -> None:
    entries = [
        {
            b"kind": b"event",
            b"name": b"bob",
            b"entry": b"1-1",
            b"type": kind.encode(),
            b"payload": json.dumps(payload).encode(),
        }
        for kind, payload in (INVITE, STOP)
    ]
    operations = [decode_relay_entry(Entry("2-1", fields), max_deliveries=5) for fields in entries]
    assert [_stopped(operation) for operation in with_stops_ahead(operations)] == [480, ""]
