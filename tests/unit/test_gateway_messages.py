"""What devices send to the gateway, as events."""

import pytest

from invites.events.protocol import Invite, Peer
from workers.gateway.messages import decode_message, event_of


@pytest.mark.parametrize("probe", ["true", "false", "null", "5"])
def test_a_device_cannot_make_a_call_without_a_record(probe: str) -> None:
    payload = f'{{"to": "bob", "inviteId": "i1", "room": "r", "probe": {probe}}}'
    event = event_of(
        decode_message(f'{{"type": "invite", "payload": {payload}}}'), Peer(id="p", user="alice")
    )
    assert isinstance(event, Invite)
    assert not event.probe
