"""Which texts are a traceparent, as https://www.w3.org/TR/trace-context/ has it."""

import pytest

from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.values.traceparent import trace_of, traceparent_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize("flags", ["00", "01", "ff"])
def test_a_valid_one_stays_as_it_is(flags: str) -> None:
    value = f"00-{TRACE}-{PARENT}-{flags}"
    assert traceparent_of(value) == traceparent_of(value.encode()) == value
    assert trace_of(value) == TRACE


@pytest.mark.parametrize("value", [f"cc-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-what-comes-later"])
def test_of_a_later_version_what_is_known_goes_on(value: str) -> None:
    assert traceparent_of(value) == GOOD


@pytest.mark.parametrize(
    "value",
    [
        None, "", b"", "00", "00-x", GOOD[:-1], GOOD + "0", GOOD + "-01", GOOD + "\n", f" {GOOD}", GOOD.upper(),
        f"ff-{TRACE}-{PARENT}-01", f"0-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-1g", f"00-{TRACE[:-1]}-{PARENT}-01", GOOD.replace("-", "_"), f"cc-{TRACE}-{PARENT}-01x",
        b"\xff" * 55, "0\u0660" + GOOD[2:], "x" * 100_000,
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_a_malformed_one_counts_as_none(value: str | bytes | None) -> None:
    assert traceparent_of(value) == ""


def test_a_malformed_one_is_no_fault_of_the_event() -> None:
    fields = {b"type": b"roomClosed", b"payload": b'{"roomId":"r"}', b"traceparent": b"\xff"}
    operation = decode_event_entry(Entry("1-1", fields), max_deliveries=5)
    assert (operation.rule, operation.trace) == ("roomClosed", "")
