"""Builds events as publishers write them, with defaults for the fields that a test does not name.

Alice (peer `a`) calls Bob (devices `phone`, `tablet`, …) into the room `r`. Each builder returns the type and the
payload of one event, for `Shard.event` and `Shard.publish`.
"""

from collections.abc import Sequence
from typing import Any

from invites.store.settings import Settings
from tests.support.shard import Json, Notification, Shard, of_type, peer

Published = tuple[str, Json]

ALICE = peer("a", "alice")
REF = "alice|1|bob"
RING = 60_000
"""ms; how long an invite rings without `expires`."""

NOTICED = 60_000
"""ms; how long it may take until somebody notices that a connection has died."""

PATIENCE = 6_000
"""ms; how long a timer waits for an event that was published before it was due."""

GRACE = Settings(remove_after=5_000)
"""Settings under which a disconnected device may come back for 5 s."""


def registered(id_: str, user: str = "bob", **more: Any) -> Published:
    return "registered", {"registry": {"id": id_, "user": user, **more}}


def trunk(id_: str, match: str = "*", user: str = "sip", **more: Any) -> Published:
    return registered(id_, user, type="PSTN", trunk=True, match=match, **more)


def disconnected(id_: str, user: str = "bob", **more: Any) -> Published:
    return "disconnected", {"peer": peer(id_, user), **more}


def unregistered(id_: str, user: str = "bob", **more: Any) -> Published:
    return "unregistered", {"peer": peer(id_, user), **more}


def invite(
    by: Json = ALICE, to: str = "bob", invite_id: str = "1", room: str = "r", **more: Any
) -> Published:
    return "invite", {"peer": by, "to": to, "inviteId": invite_id, "room": room, **more}


def request(by: Json = ALICE, to: str = "bob", invite_id: str = "1", **more: Any) -> Published:
    return "inviteRequest", {"peer": by, "to": to, "inviteId": invite_id, **more}


def said_by(device: str, event: Published) -> Published:
    """The same event, in which the peer names its device."""
    kind, payload = event
    return kind, payload | {"peer": payload["peer"] | {"device": device}}


def _reply(kind: str, id_: str, user: str, from_: str, invite_id: str, more: Json) -> Published:
    return kind, {"peer": peer(id_, user), "from": from_, "inviteId": invite_id, **more}


def ringing(
    id_: str, user: str = "bob", *, from_: str = "alice", invite_id: str = "1", **more: Any
) -> Published:
    return _reply("ringing", id_, user, from_, invite_id, more)


def accept(
    id_: str, user: str = "bob", *, from_: str = "alice", invite_id: str = "1", **more: Any
) -> Published:
    return _reply("accept", id_, user, from_, invite_id, more)


def decline(
    id_: str, user: str = "bob", *, from_: str = "alice", invite_id: str = "1", **more: Any
) -> Published:
    return _reply("decline", id_, user, from_, invite_id, more)


def silence(
    id_: str, user: str = "bob", *, from_: str = "alice", invite_id: str = "1", **more: Any
) -> Published:
    return _reply("silence", id_, user, from_, invite_id, more)


def stop(
    by: Json | None = ALICE,
    *,
    from_: str | None = None,
    callee: str = "bob",
    invite_id: str = "1",
    **more: Any,
) -> Published:
    named = {name: value for name, value in (("peer", by), ("from", from_)) if value is not None}
    return "stopInvite", {**named, "inviteId": invite_id, "callee": callee, **more}


def invitations(id_: str, user: str = "bob", transaction: str | int = "t") -> Published:
    return "getInvitations", {"peer": peer(id_, user), "transaction": transaction}


def joined(user: str, room: str = "r", **more: Any) -> Published:
    return "joined", {"userId": user, "roomId": room, **more}


def left(user: str, room: str = "r") -> Published:
    return "left", {"userId": user, "roomId": room}


def room_closed(room: str = "r") -> Published:
    return "roomClosed", {"roomId": room}


def user_state(user: str = "bob", **more: Any) -> Published:
    return "userState", {"userId": user, **more}


def calls_seen(user: str = "bob", **more: Any) -> Published:
    return "callsSeen", {"userId": user, **more}


async def bob_rings(shard: Shard, *devices: str, **more: Any) -> list[Notification]:
    """Register Bob's devices and let Alice call; return the notifications of the call."""
    for device in devices:
        await shard.event(*registered(device))
    return await shard.event(*invite(**more))


async def in_order(shard: Shard, *events: Published) -> list[Notification]:
    """Publish and settle events one after the other; return all their notifications."""
    told: list[Notification] = []
    for event in events:
        told += await shard.event(*event)
    return told


async def arriving(shard: Shard, events: Sequence[Published], order: Sequence[int]) -> list[Notification]:
    """Publish all events, then settle them in the order of these indexes, as racing workers may."""
    operations = [await shard.publish(*event) for event in events]
    for index in order:
        await shard.settle(operations[index])
    return await shard.told()


async def later(shard: Shard, ms: int) -> list[Notification]:
    """Let time pass: delete expired keys and fire due timers; return the notifications."""
    shard.now += ms
    for keys in shard.all_keys:
        client = shard.client_of(keys)
        async for key in client.scan_iter(match=f"{keys.base}*"):
            if 0 <= await client.pexpiretime(key) <= shard.now:
                await client.delete(key)
    return await shard.fire()


async def patience_ends(shard: Shard) -> list[Notification]:
    """Let workers look every second, as they do, until no timer waits for an event."""
    return [told for _ in range(PATIENCE // 1_000 + 1) for told in await later(shard, 1_000)]


def one(told: Sequence[Notification], kind: str) -> Notification:
    """Return the only notification of a type."""
    found = of_type(told, kind)
    assert len(found) == 1, f"{len(found)} of type {kind} among {types(told)}"
    return found[0]


def types(told: Sequence[Notification]) -> list[str]:
    """Return the types of all notifications, sorted."""
    return sorted(notification.type for notification in told)


def outcome(told: Sequence[Notification], kind: str) -> tuple[int, str]:
    """Return the code and the reason of the only notification of a type."""
    payload = one(told, kind).payload
    return payload["code"], payload["reason"]


def recipients(told: Sequence[Notification], kind: str) -> set[str]:
    """Return the peers of the only notification of a type."""
    return set(one(told, kind).peers)


def end_reasons(told: Sequence[Notification]) -> dict[str, int]:
    """Return peer -> endReason of the only record."""
    record = one(told, "INVITE_COMPLETED").payload
    return {candidate["peer"]: candidate["endReason"] for candidate in record["candidates"]}


async def states(shard: Shard, ref: str = REF) -> dict[str, str]:
    """Return candidate -> state of an invite."""
    return {id_: found["state"] for id_, found in (await shard.candidates(ref)).items()}
