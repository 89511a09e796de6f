"""logContext: false - a log that shows what happens to calls, but not whose they are."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from invites.logs import messages, personal
from invites.logs.messages import TEMPLATES
from invites.logs.setup import JsonLines, TextLines
from tests.support import events as e
from tests.support.shard import MakeShard, Shard

NAMES = ("alice", "bob", "Alice", "+4930", "secret")


@pytest.fixture(autouse=True)
def _hidden() -> Iterator[None]:
    personal.show(shown=False)
    yield
    personal.show(shown=True)


def _lines(record: logging.LogRecord) -> list[str]:
    return [TextLines().format(record), JsonLines().format(record)]


def _named(lines: list[str]) -> list[str]:
    return [line for line in lines if any(name in line for name in NAMES)]


PERSONS = {
    "JSON.stringify(context)", "callee", "candidate", "candidates", "error", "from", "invite", "invites", "item",
    "message", "peer", "ref", "registry", "timer", "to", "type", "user", "userId", "whoAccepted",
}  # fmt: skip
TECHNICAL = {
    "attempt", "candidatesType", "entry", "errorCode", "failures", "inviteId", "limit", "maxGroupSize", "members",
    "now", "peer.id", "roomId", "roomIdToClean", "why",
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_template_shows_a_user_a_number_or_a_context(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    slots = re.findall(r"\$\{([^}]+)\}", TEMPLATES[name][1])
    assert set(slots) <= PERSONS | TECHNICAL
    values = ["alice" if slot in PERSONS else "7" for slot in slots]
    messages.write([(name, *values)])
    [record] = caplog.records
    assert _named([*_lines(record), messages.render((name, *values))]) == []
    assert record.getMessage().count("7") == sum(slot in TECHNICAL for slot in slots)


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        (
            'field to must be a text, not the text "alice \\"bob\\""',
            "field to must be a text, not the text (hidden)",
        ),
        ("key invites:{0}:registry:bob holds a string", "(hidden)"),
    ],
)
def test_what_is_wrong_with_an_event_is_said_without_its_values(sentence: str, shown: str) -> None:
    assert personal.reason(sentence) == shown


def test_an_error_has_its_type_and_its_lines_alone() -> None:
    with pytest.raises(ValueError, match="alice") as raised:
        raise ValueError("alice")
    info = (ValueError, raised.value, raised.tb)
    record = logging.LogRecord("x", logging.ERROR, "", 1, "Failed %d: %s", (7, raised.value), info)
    lines = _lines(record)
    assert not any(line.endswith("ValueError: alice") for line in lines)
    assert all("Failed 7: ValueError" in line and "test_log_personal.py" in line for line in lines)


@pytest.mark.one_shard
async def test_calls_leave_no_name(make_shard: MakeShard, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shard: Shard = await make_shard()
    for event in (
        e.registered("phone"),
        e.invite(fromDetails={"name": "Alice"}, context="secret"),
        e.invite(context="secret2"),
        e.registered("tablet"),
        e.accept("phone"),
        e.joined("bob"),
        e.left("bob"),
        e.invite(to="+4930", invite_id="2"),
        ("invite", {"peer": e.ALICE, "to": "bob bob", "inviteId": "3", "room": "r"}),
    ):
        await shard.event(*event)
        messages.write(fact for outcome in shard.outcomes for fact in outcome.facts)
    assert len(caplog.records) > 10
    assert _named([line for record in caplog.records for line in _lines(record)]) == []


def test_everything_is_shown_by_default(caplog: pytest.LogCaptureFixture) -> None:
    personal.show(shown=True)
    caplog.set_level(logging.DEBUG)
    messages.write([("resolving", "alice")])
    assert json.loads(JsonLines().format(caplog.records[0]))["to"] == "alice"
