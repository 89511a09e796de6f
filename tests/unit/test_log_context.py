"""The fields of an event's JSON lines: worker, entry, ref, duration, trace."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from invites.events.decoding import decode_event_entry, decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.keys import Stream
from invites.logs import setup as logs
from invites.store.answers import CommitResult, Outcome, Status
from tests.support import events as e
from workers.telemetry.metrics import Metrics
from workers.telemetry.reports import Reports

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def out() -> Iterator[io.StringIO]:
    """Where the JSON lines go. Logging is set up for the whole process: put back what was there."""
    root, hook, raising = logging.getLogger(), sys.excepthook, logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    found = io.StringIO()
    logs.set_up(logging.INFO, "json", found)
    yield found
    logs.set_up(logging.INFO, "text", io.StringIO())
    root.handlers[:], sys.excepthook, logging.raiseExceptions = handlers, hook, raising
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def operation(event: e.Published, traceparent: bytes | None = None) -> Operation:
    kind, payload = event
    fields = {b"type": kind.encode(), b"payload": json.dumps(payload).encode()}
    if traceparent is not None:
        fields[b"traceparent"] = traceparent
    return decode_event_entry(Entry("5-1", fields), max_deliveries=5)


def report(settled: Operation, outcome: Outcome, *, seconds: float = 0.0) -> None:
    result = CommitResult([outcome], None, 5, [])
    Reports(Metrics()).settled(Stream.EVENTS, [settled], result, seconds)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_says_which_event_it_comes_from(out: io.StringIO) -> None:
    logs.identify(worker="worker-1")
    outcome = Outcome(Status.DONE, facts=[("accepted", "1", "r", "bob")])
    report(operation(e.accept("phone"), TRACE.encode()), outcome, seconds=0.0125)
    for line in lines(out):
        assert line["worker"] == "worker-1"
        assert (line["entry"], line["ref"], line["duration"]) == ("5-1", "alice|1|bob", 12.5)
        assert line["trace"] == TRACE[3:35]
    assert [line["event"] for line in lines(out)] == ["accept", "accepted"]


def test_what_does_not_apply_is_absent(out: io.StringIO) -> None:
    outcome = Outcome(Status.DONE, facts=[("left", "bob", "r")])
    report(operation(e.left("bob")), outcome)
    (line,) = lines(out)
    assert line["entry"] == "5-1"
    assert {"worker", "ref", "trace"} & line.keys() == set()


def test_what_the_message_names_stays(out: io.StringIO) -> None:
    """A dead letter of another stream, say, names the entry that it was made of."""
    outcome = Outcome(Status.DONE, facts=[("dead_letter", "invite", "7-7", "field to is missing")])
    report(operation(("invite", {})), outcome)
    (line,) = lines(out)
    assert line["entry"] == "7-7"


@pytest.mark.parametrize(
    ("event", "ref"),
    [
        (e.invite(), "alice|1|bob"),
        (e.request(), "alice|1|bob"),
        (e.invite(returnOf="a|b|c"), "a|b|c"),
        (e.ringing("p"), "alice|1|bob"),
        (e.decline("p", to="team"), "alice|1|team"),
        (e.stop(), "alice|1|bob"),
        (e.stop(None), ""),
        (e.registered("p"), ""),
        (("nonsense", {}), ""),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_ref_of_an_event(event: e.Published, ref: str) -> None:
    assert operation(event).ref == ref
    kind, payload = event
    texts = {"kind": "event", "name": "bob", "entry": "3-1", "type": kind, "payload": json.dumps(payload)}
    fields = {name.encode(): value.encode() for name, value in texts.items()}
    carried = decode_relay_entry(Entry("9-1", {**fields, b"traceparent": TRACE.encode()}), max_deliveries=5)
    assert (carried.ref, carried.trace) == (ref, TRACE)
    assert replace(carried, trace="").ref == ref
