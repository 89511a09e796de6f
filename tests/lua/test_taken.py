"""A shard takes each message of another shard once, and does not mix up two messages with the same entry id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from invites.events.decoding import decode_relay_entry
from invites.events.entry import Entry
from invites.keys import Keys
from invites.store.answers import Status
from invites.store.commit import TakeMode
from tests.support import events as e

if TYPE_CHECKING:
    from tests.support.shard import Shard

pytestmark = pytest.mark.one_shard

ENTRY = "1700000000000-0"
SOURCE = 1


def message(first: str, event: e.Published) -> Entry:
    """An event that was published to the shard `SOURCE` as its entry `first`."""
    kind, payload = event
    texts = {"kind": "event", "name": "n", "entry": first, "type": kind, "payload": json.dumps(payload)}
    return Entry(ENTRY, {name.encode(): text.encode() for name, text in texts.items()})


async def take(shard: Shard, entry: Entry, low_watermark: str = "0-0") -> Status:
    operation = decode_relay_entry(entry, max_deliveries=5, keys=Keys(shard=SOURCE, shards=2))
    mode = TakeMode(SOURCE, low_watermark)
    return (await shard.committer.commit([operation], mode)).outcomes[0].status


async def test_a_message_is_taken_once(shard: Shard) -> None:
    entry = message("1600000000000-0", e.joined("bob", "r"))
    assert await take(shard, entry) is Status.DONE
    assert await take(shard, entry) is Status.STALE


async def test_another_message_with_the_same_entry_id_is_taken_too(shard: Shard) -> None:
    # The sender's new server lacks the first one, and has given its id a second time.
    assert await take(shard, message("1600000000000-0", e.joined("bob", "r"))) is Status.DONE
    other = message("1600000000007-0", e.joined("carol", "r"))
    assert await take(shard, other) is Status.DONE
    assert await take(shard, other) is Status.STALE
    assert set(await shard.client.hkeys(shard.keys.room_members("r"))) == {b"bob", b"carol"}


async def test_what_a_former_release_has_taken_is_not_taken_again(shard: Shard) -> None:
    await shard.client.zadd(shard.keys.taken(SOURCE), {ENTRY: 1_700_000_000_000})
    assert await take(shard, message("1600000000000-0", e.joined("bob", "r"))) is Status.STALE


async def test_marks_go_with_the_low_watermark(shard: Shard) -> None:
    entry = message("1600000000000-0", e.joined("bob", "r"))
    assert await take(shard, entry) is Status.DONE
    assert await take(shard, entry, "1700000000001-0") is Status.STALE
    assert await shard.client.zcard(shard.keys.taken(SOURCE)) == 0
