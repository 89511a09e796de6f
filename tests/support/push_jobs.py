"""Reads and settles the push jobs of a shard without a worker."""

import json
from typing import Any, Final

from invites.events.arguments import PushArguments
from invites.events.operation import Operation
from invites.keys import Stream
from invites.lookup.result import LookupResult
from invites.store.answers import Status
from invites.store.commit import SettleMode
from invites.store.settings import Settings
from tests.support.shard import Json, Notification, Shard

PUSH: Final = Settings(look_up="push")
"""Settings of an installation with resolvePush."""


def sleeps(shard: Shard, user: str, *devices: str) -> None:
    """Make these push devices of a user known to sippo-server."""
    shard.found[user] = LookupResult(known=True, push=devices)


async def jobs(shard: Shard) -> list[dict[str, Any]]:
    """Read the new push jobs; `entry` is the id of each, `payload` is decoded."""
    read: Any = await shard.client.xreadgroup("push", "test", {shard.keys.push: ">"})
    found = []
    for _, entries in read.items() if isinstance(read, dict) else read:
        for entry, fields in entries:
            job: Json = {name.decode(): value.decode() for name, value in fields.items()}
            found.append(job | {"entry": entry.decode(), "payload": json.loads(job["payload"])})
    return found


def briefly(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Type and device of each job, sorted."""
    return sorted((job["type"], job["device"]) for job in found)


async def becomes(shard: Shard, job: dict[str, Any], handler: str) -> list[Notification]:
    """Settle a job with its result (pushTaken, pushGone, pushUnsure, pushDropped); return the notifications."""
    operation = Operation(handler, job["entry"], PushArguments(job["ref"], job["device"]))
    settled = await shard.committer.commit([operation], SettleMode(Stream.PUSH))
    assert [each.status for each in settled.outcomes] == [Status.DONE], settled
    return await shard.told()


async def taken(shard: Shard) -> list[Notification]:
    """Settle all waiting jobs as accepted by sippo-server; return the notifications."""
    told: list[Notification] = []
    for job in await jobs(shard):
        cancels = job["type"] == "invitationCancel"
        told += await becomes(shard, job, "pushDropped" if cancels else "pushTaken")
    return told
