"""Writes invites and stream entries straight into Redis, for tests of the operator's commands."""

from __future__ import annotations

import json
import time
from typing import Any

import redis

from invites.keys import Keys

KEYS = Keys()
NOW = int(time.time() * 1000)
ALICE = {"id": "a1", "user": "alice"}
HEAD = {"inviteId": "i1", "from": "alice", "to": "bob"}


def notify(database: redis.Redis, kind: str, peers: list[str], **payload: object) -> str:
    """Add a notification; return the id of its entry."""
    fields: dict[Any, Any] = {
        "id": "0-5-0-1",
        "type": kind,
        "peers": json.dumps(peers),
        "users": '["bob"]',
        "payload": json.dumps(payload),
    }
    return _id(database.xadd(KEYS.notifications, fields))


def event(database: redis.Redis, kind: str, payload: object, at: int | None = None) -> str:
    """Add an event published `at` (ms since 1970; default: now); return its id."""
    fields: dict[Any, Any] = {"type": kind, "payload": json.dumps(payload)}
    return _id(database.xadd(KEYS.events, fields, id="*" if at is None else f"{at}-*"))


def invite(database: redis.Redis, **fields: str) -> None:
    """Write the pending invite alice|i1|bob; `fields` override the defaults."""
    values: dict[Any, Any] = {
        "state": "PENDING",
        "inviteRequest": "0",
        "room": "r1",
        "context": '{"subject":"tea"}',
        "createdAt": str(NOW),
        "expiresAt": str(NOW + 60_000),
        **HEAD,
        **fields,
    }
    database.hset(KEYS.invite("alice|i1|bob"), mapping=values)


def dead_letter(database: redis.Redis, **fields: str) -> str:
    """Add a dead letter; return its id."""
    letter: dict[Any, Any] = {"type": "invit", "payload": "{}", "error": "field type", "entry": "5-0"}
    letter |= {"deliveries": "1", **fields}
    return _id(database.xadd(KEYS.dead, letter))


def _id(entry: object) -> str:
    assert isinstance(entry, bytes)
    return entry.decode()
