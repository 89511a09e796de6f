"""Lets a shard hear what another one might tell it."""

import json

from invites.events.decoding import decode_relay_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.keys import Stream
from invites.store.commit import SettleMode, Status
from tests.support.shard import Notification, Shard


async def relayed_entry(shard: Shard, kind: str, name: str, *arguments: str, entry: str = "") -> Operation:
    """Let another shard tell this one something, in the name of a first event (default: one of now)."""
    fields = {
        "kind": kind, "name": name, "entry": entry or shard.entry_id(), "arguments": json.dumps(arguments)
    }  # fmt: skip
    id_ = (await shard.client.xadd(shard.keys.relay, fields)).decode()
    await shard.client.xreadgroup("relay", "test", {shard.keys.relay: ">"}, count=1)
    raw = {name.encode(): value.encode() for name, value in fields.items()}
    return decode_relay_entry(Entry(id_, raw), max_deliveries=5)


async def hears(shard: Shard, kind: str, name: str, *arguments: str, entry: str = "") -> list[Notification]:
    """Let it settle such an entry; return what was told."""
    operation = await relayed_entry(shard, kind, name, *arguments, entry=entry)
    (outcome,) = (await shard.committer.commit([operation], SettleMode(Stream.RELAY))).outcomes
    assert outcome.status is Status.DONE, outcome
    return await shard.told()
