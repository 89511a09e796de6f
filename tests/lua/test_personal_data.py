"""The page on personal data: each key is in its table, and calls leave names only where it says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from invites.config import Config
from invites.resharding.key_ownership import KINDS, kind_of
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard, peer

_PAGE = (Path(__file__).resolve().parents[2] / "invites/contract/personal-data.md").read_text("utf-8")
USERS = (b"alice", b"bob", b"carol", b"dave", b"team", b"007")
CONTEXTS = (b"DISPLAY", b"CONTEXT")


def _table() -> dict[str, tuple[bool, bool]]:
    """Kind of key -> whether it holds users, and contexts."""
    said = {"yes": True, "no": False}
    rows = [line.split(" | ") for line in _PAGE.splitlines() if line.startswith("| `")]
    kinds = [(kind, said[row[1]], said[row[2]]) for row in rows for kind in re.findall(r"`([\w-]+)`", row[0])]
    assert len(kinds) == len({kind for kind, *_ in kinds})
    return {kind: (users, contexts) for kind, users, contexts in kinds}


def test_each_kind_of_key_is_there() -> None:
    assert _table().keys() == KINDS


def test_each_setting_that_it_names_is_one() -> None:
    named = re.findall(r"`((?:invites|http|gateway)\.[\w.]+)`", _PAGE)
    defaults = msgspec.to_builtins(Config(), enc_hook=str)
    assert len(named) > 10
    for name in named:
        section: Any = defaults
        for key in name.split("."):
            section = section[key]


async def _values(client: Any, key: bytes) -> bytes:
    kind = (await client.type(key)).decode()
    read = {
        "string": client.get, "hash": client.hgetall, "set": client.smembers, "stream": client.xrange,
        "zset": lambda name: client.zrange(name, 0, -1), "list": lambda name: client.lrange(name, 0, -1),
    }  # fmt: skip
    return repr(await read[kind](key)).encode()


async def _found(shard: Shard) -> dict[str, tuple[bool, bool]]:
    found: dict[str, tuple[bool, bool]] = {}
    async for key in shard.client.scan_iter(match="*"):
        kind, _ = kind_of(key.decode().removeprefix(shard.keys.base))
        text = key + await _values(shard.client, key)
        users, contexts = found.get(kind, (False, False))
        found[kind] = (
            users or any(name in text for name in USERS),
            contexts or any(name in text for name in CONTEXTS),
        )
    return found


@pytest.mark.one_shard
async def test_calls_leave_names_where_it_says_so(make_shard: MakeShard) -> None:
    settings = Settings(
        look_up="all",
        glare="merge",
        parallel_sip=True,
        remove_after=5_000,
        keep_history=9,
        keep_history_for=86400000,
        room_grace=1_000,
    )
    shard = await make_shard(settings)
    groups.team(shard, "bob", "carol", "dave", push={"dave": ["d"]})
    said: dict[str, Any] = {"fromDetails": {"name": "DISPLAY"}, "context": "CONTEXT"}
    alice = peer("p1", "alice", "d1")
    found: dict[str, tuple[bool, bool]] = {}
    for event in (
        e.trunk("gw", "bob|007", user="dave"),
        e.registered("p2", "bob", device="d2"),
        e.registered("p3", "carol"),
        e.user_state("carol", block=["dave"]),
        e.joined("carol", "r2", peer=peer("p3", "carol")),
        e.stop(alice, callee="carol", invite_id="9"),
        e.invite(alice, "team", "1", **said),
        e.accept("p2", to="team", context="CONTEXT"),
        e.invite(alice, "carol", "2", "r3", **said),
        e.invite(alice, "carol", "3", "r3", **said),
        e.request(alice, "carol", "4", **said),
        e.invite(peer("p3", "carol"), "alice", "5", "r3", **said),
        e.invite(alice, "bob", "6", **said),
        e.invite(alice, "team", "8", **said),
        ("invite", {"peer": alice, "to": "bob bob", "inviteId": "7", "room": "r", **said}),
        e.left("alice", "r3"),
        e.disconnected("p1", "alice"),
        e.disconnected("p2", "bob"),
        e.room_closed("r2"),
    ):
        await shard.event(*event)
        for kind, (users, contexts) in (await _found(shard)).items():
            before = found.get(kind, (False, False))
            found[kind] = (before[0] or users, before[1] or contexts)
    table = _table()
    for kind, (users, contexts) in found.items():
        assert (users <= table[kind][0], contexts <= table[kind][1]) == (True, True), kind
    seen = {kind for kind, holds in found.items() if any(holds)}
    assert len(seen) > 20, sorted(seen)
