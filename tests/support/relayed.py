"""Sends a shard messages that another one might send."""

import json

from invites.events.decoding import decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.keys import Stream
from invites.store.answers import Status
from invites.store.commit import SettleMode
from tests.support.shard import Notification, Shard


async def relayed_entry(shard: Shard, kind: str, name: str, *arguments: str, entry: str = "") -> Operation:
    """Send this shard a message of another one, caused by a first event (default: one of now)."""
    fields = {
        "kind": kind, "name": name, "entry": entry or shard.entry_id(), "arguments": json.dumps(arguments)
    }  # fmt: skip
    id_ = (await shard.client.xadd(shard.keys.relay, fields)).decode()
    await shard.client.xreadgroup("relay", "test", {shard.keys.relay: ">"}, count=1)
    raw = {name.encode(): value.encode() for name, value in fields.items()}
    return decode_relay_entry(Entry(id_, raw), max_deliveries=5)


async def hears(shard: Shard, kind: str, name: str, *arguments: str, entry: str = "") -> list[Notification]:
    """Let it settle such an entry; return the notifications."""
    operation = await relayed_entry(shard, kind, name, *arguments, entry=entry)
    (outcome,) = (await shard.committer.commit([operation], SettleMode(Stream.RELAY))).outcomes
    assert outcome.status is Status.DONE, outcome
    return await shard.told()
