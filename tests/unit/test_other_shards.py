"""Data of other shards are looked up, but nothing waits for an unreachable shard."""

from __future__ import annotations

import json

from redis.asyncio import Redis

from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.events.protocol import Invite
from invites.keys import Keys, shard_of
from invites.lookup.other_shards import OtherShards
from tests.support import events as e

SHARDS = 7
KEYS = Keys(shard=0, shards=SHARDS)


def _invite(room: str) -> Invite:
    _, payload = e.invite(to="team", room=room)
    fields = {b"type": b"invite", b"payload": json.dumps(payload).encode()}
    event = decode_event_entry(Entry("1-1", fields), max_deliveries=5).event
    assert isinstance(event, Invite)
    return event


def _room_of_another_shard() -> str:
    return next(name for name in map(str, range(100)) if shard_of(name, SHARDS) != KEYS.shard)


async def test_of_a_shard_that_is_away_nobody_is_known_to_be_in_the_room() -> None:
    async with Redis(port=1) as away:
        other_shards = OtherShards(KEYS, lambda _: away)
        assert await other_shards.present(_invite(_room_of_another_shard()), ["bob"]) == set()
