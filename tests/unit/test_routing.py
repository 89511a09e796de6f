"""The name that decides the shard of an event."""

import json

import pytest

from invites.events.protocol import decode_event
from invites.events.routing import routing_key
from tests.support import events as e
from tests.support.malformed import VALID


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (e.invite(), "bob"),
        (e.invite(to="team", returnOf="alice|1|carol"), "carol"),
        (e.request(), "bob"),
        (e.ringing("phone", "dave"), "dave"),
        (e.accept("phone", "dave", to="team"), "team"),
        (e.decline("phone", "dave", to="team"), "team"),
        (e.stop(callee="bob"), "bob"),
        (e.registered("phone", "bob"), "bob"),
        (e.unregistered("phone", "bob"), "bob"),
        (e.disconnected("phone", "bob"), "bob"),
        (e.invitations("phone", "bob"), "bob"),
        (e.joined("bob", "room"), "room"),
        (e.left("bob", "room"), "room"),
        (e.room_closed("room"), "room"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_the_shard_is_that_of_what_the_event_is_about(event: e.Published, name: str) -> None:
    kind, payload = event
    assert routing_key(decode_event(kind, json.dumps(payload).encode())) == name


def test_each_event_has_one() -> None:
    for kind, payload in VALID:
        assert isinstance(routing_key(decode_event(kind, json.dumps(payload).encode())), str)
