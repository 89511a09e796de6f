"""The needs of rules, and needs that nobody can look up."""

import json

import pytest
from redis.asyncio import Redis

from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.keys import Keys
from invites.lookup.other_shards import OtherShards
from invites.lookup.resolver import REQUEST, USER, Resolver
from invites.store.answers import Outcome, Status
from tests.support import events as e


@pytest.mark.parametrize(
    ("event", "need"),
    [
        (e.joined("bob"), USER),
        (e.invite(), "tea"),
        (e.invite(), USER),  # sippo-server is never asked
        (e.request(), REQUEST),
        (e.invite(returnOf="alice|1|bob"), "tea"),
    ],
)
async def test_what_nobody_can_look_up_is_named(event: e.Published, need: str) -> None:
    kind, payload = event
    fields = {b"type": kind.encode(), b"payload": json.dumps(payload).encode()}
    operation = decode_event_entry(Entry("1-1", fields), max_deliveries=5)
    async with Redis(port=1) as nobody:
        resolver = Resolver(nobody, Keys(), OtherShards(Keys(), lambda _: nobody))
        with pytest.raises(ValueError, match=f"needs {need}, which nobody can look up"):
            await resolver.complete(operation, Outcome(Status.NEEDS, need))
