"""Sets up group calls on a shard without a worker, and settles its relay stream."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from invites.lookup.result import LookupResult, Member
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Json, Notification, Shard

GROUPS: Final = Settings(look_up="all")
"""Settings of an installation with resolveGroups and resolvePush."""

TEAM: Final = "alice|1|team"


def team(
    shard: Shard,
    *members: str,
    sequential: bool = False,
    push: Mapping[str, Sequence[str]] | None = None,
    **more: Json,
) -> None:
    """Make a group `team` known; `push` maps members to push devices, `more` to other fields of `Member`."""
    found = [Member(user, push=tuple((push or {}).get(user, ())), **more.get(user, {})) for user in members]
    shard.found["team"] = LookupResult(known=True, members=found, sequential=sequential)


def last_member_is(shard: Shard, user: str) -> None:
    """Put this user, or number, in the place of the team's last member."""
    members = shard.found["team"].members
    assert members
    members[-1].user = user


async def at_home(shard: Shard, *devices: str) -> None:
    """Register devices: `bob-phone` is Bob's."""
    for device in devices:
        await shard.event(*e.registered(device, device.split("-")[0]))


def rung(told: Iterable[Notification]) -> list[str]:
    """Return the peers that got an invitation, sorted."""
    return sorted(peer for each in told if each.type == "invitation" for peer in each.peers)


def stopped(told: Iterable[Notification]) -> list[str]:
    """Return the peers that got an invitationCancel, sorted."""
    return sorted(peer for each in told if each.type == "invitationCancel" for peer in each.peers)


async def legs(shard: Shard, ref: str = TEAM) -> dict[str, str]:
    """Return member -> state of its leg, as the group sees it."""
    found = await shard.hash(shard.keys.legs(ref))
    return {member: json.loads(raw)["state"] for member, raw in found.items() if not member.startswith("|")}


def record_of(told: Sequence[Notification]) -> dict[str, int]:
    """Return member -> endReason of the only record, which must be the group's."""
    record = e.one(told, "INVITE_COMPLETED").payload
    assert record["group"] is True
    assert (record["from"], record["inviteId"], record["to"]) == ("alice", "1", "team")
    return {each["address"]: each["endReason"] for each in record["candidates"]}
