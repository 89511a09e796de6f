"""Finds leaks: keys that never expire, and events that nobody has settled."""

from redis.asyncio import Redis

from invites.keys import WORKERS_GROUP, Keys
from invites.resharding.key_ownership import KINDS, kind_of

PERMANENT = (
    "registry:",
    "holder:",
    "room-members:",
    "user-state:",
    "trunks",
    "trunks-version",
    "events",
    "notifications",
    "dead",
    "timers",
    "push",
    "relay",
    "taken:",
    "layout",
    "origin",
    "servers",
)
"""Prefixes of keys without a time to live: registrations, rooms, trunks, streams, timers, users' wishes."""


async def assert_nothing_leaks(client: Redis, keys: Keys) -> None:
    """Fail if a key never expires, a reshard does not know its kind, or an event is still pending."""
    async for raw in client.scan_iter(match=keys.base.replace("[", r"\[") + "*"):
        key = raw.decode(errors="replace")
        kind, _ = kind_of(key.removeprefix(keys.base))
        assert kind in KINDS, f"{key} is of a kind that invites/resharding/key_ownership.py does not know"
        if not key.removeprefix(keys.base).startswith(PERMANENT):
            # Workers may still run: a key that is already gone (-2) does not stay.
            assert await client.pttl(raw) != -1, f"{key} has no time to live"
    if await client.exists(keys.events):
        pending = await client.xpending(keys.events, WORKERS_GROUP)
        assert pending["pending"] == 0, f"{pending['pending']} events are still pending"
