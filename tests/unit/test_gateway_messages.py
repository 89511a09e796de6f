"""What devices send to the gateway, as events."""

import pytest

from invites.events.protocol import Invite, Peer
from workers.gateway.connection import frame
from workers.gateway.messages import BadMessage, decode_message, event_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("probe", ["true", "false", "null", "5"])
def test_a_device_cannot_make_a_call_without_a_record(probe: str) -> None:
    payload = f'{{"to": "bob", "inviteId": "i1", "room": "r", "probe": {probe}}}'
    event = event_of(
        decode_message(f'{{"type": "invite", "payload": {payload}}}'), Peer(id="p", user="alice")
    )
    assert isinstance(event, Invite)
    assert not event.probe


def test_a_device_cannot_send_a_gateways_transaction() -> None:
    """Its answer would count as news of another connection of the peer."""
    message = decode_message('{"type": "getInvitations", "payload": {"transaction": "resumed:1"}}')
    with pytest.raises(BadMessage, match="choose another one"):
        event_of(message, Peer(id="p", user="alice"))


@pytest.mark.parametrize(
    ("sent", "passed_on"), [(f'"{TRACE}"', TRACE), ('"00-malformed"', None), ("5", None), ("null", None)]
)
def test_a_traceparent_is_passed_on_unless_it_is_malformed(sent: str, passed_on: str | None) -> None:
    assert decode_message(f'{{"type": "invite", "traceparent": {sent}}}').trace == passed_on


def test_a_frame_has_the_traceparent_of_its_notification() -> None:
    assert frame("answer", {}, "1") == b'{"type":"answer","id":"1","payload":{}}'
    traced = f'{{"type":"answer","id":"1","traceparent":"{TRACE}","payload":{{}}}}'
    assert frame("answer", {}, "1", TRACE) == traced.encode()
