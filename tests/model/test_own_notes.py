"""A rule sees its own notes: it reads no key that it has noted, except those named here.

Rules note their writes and read the server, which has none of them yet. A rule that reads a key after its own note sees
the past. If you add such a read, either keep the notes in `work`, or name the key here and say why the past does no
harm.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest
from redis.asyncio import Redis

from invites.store import scripts
from invites.store.scripts import Scripts, sources
from tests.support.measured import MeasuringCommitter

from . import driver
from .author import history
from .play import Play

if TYPE_CHECKING:
    from invites.store.answers import CommitResult, FireResult

_HISTORIES: Final = 40

_ALLOWED: Final = {
    "HGET calls": "what the event says of its own call counts, not what is stored",
    "HMGET calls": "the same",
    "HRANDFIELD calls": "the same: a page leaves out the call that the event makes",
    "HGETALL registry": "the peers of the event are as `work` has them",
    "HLEN registry": "the device that has just come is not counted",
    "SCARD pending": "those that the event ends are subtracted",
    "SRANDMEMBER pending": "an invite that the event has ended is known as such from `work`",
    "SRANDMEMBER parallel": "the same",
}
"""Command and kind of key -> why the past does no harm."""

# Records the notes of the current unit: each key, and each word after it (fields, members, scores).
_WATCH: Final = """
local watched = {}
local WHOLE = {
  HGETALL = true, HLEN = true, HVALS = true, HRANDFIELD = true, SRANDMEMBER = true, ZRANGE = true, ZRANGEBYSCORE = true,
}
local SEVERAL = { MGET = true, EXISTS = true }

function unit.watch(note)
  local name = note[2]
  watched[name] = watched[name] or {}
  for i = 3, #note do
    watched[name][note[i]] = true
  end
end

function unit.forget()
  watched = {}
end

local function is_noted(command, name, ...)
  local words = watched[name]
  if not words or WHOLE[command] or select('#', ...) == 0 then
    return words
  end
  for i = 1, select('#', ...) do
    if words[select(i, ...)] then
      return true
    end
  end
end

function unit.read(command, ...)
  for i = 1, SEVERAL[command] and select('#', ...) or 1 do
    local noted
    if SEVERAL[command] then
      noted = watched[select(i, ...)]
    else
      noted = is_noted(command, ...)
    end
    if noted then
      warn('own_note', command, string.match(string.sub(select(i, ...), #base + 1), '^[%a-]+'))
    end
  end
  return redis.call(command, ...)
end
"""


def _watched() -> dict[str, str]:
    parts = dict(_SOURCES)
    unit = parts["core/unit"]
    for head, more in (
        ("function unit.begin(origin, entry)", "unit.forget()"),
        ("function later(note)", "unit.watch(note)"),
        ("function add(type_name, note)", "unit.watch(note)"),
        ("function unit.check()", "unit.forget()"),
    ):
        assert unit.count(head) == 1
        unit = unit.replace(head, f"{head}\n  {more}")
    parts["core/unit"] = f"{unit}\n{_WATCH}"
    rules = [name for name in parts if not name.startswith(("core/", "main", "trim", "retire", "ensure"))]
    for name in (*rules, "core/emit"):
        parts[name] = parts[name].replace("redis.call(", "unit.read(")
    return parts


_SOURCES: Final = sources()
_SEEN: Final[set[tuple[str, str]]] = set()


class _Watching(MeasuringCommitter):
    """Records the rules' reads of their own notes."""

    async def commit(self, *arguments: Any, **more: Any) -> CommitResult:
        result = await super().commit(*arguments, **more)
        for outcome in result.outcomes:
            _SEEN.update((fact[1], fact[2]) for fact in outcome.facts if fact[0] == "own_note")
        return result

    async def fire(self, *arguments: Any, **more: Any) -> FireResult:
        result = await super().fire(*arguments, **more)
        _SEEN.update((fact[1], fact[2]) for fact in result.facts if fact[0] == "own_note")
        return result


async def _play(url: str, seed: int, watched: Scripts) -> None:
    async with Redis.from_url(url) as client:
        await client.flushall()
        await Play(client, watched, history(Random(seed))).run()


def test_rules_read_none_of_their_own_notes(valkey_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "sources", _watched)
    monkeypatch.setattr(driver, "MeasuringCommitter", _Watching)
    watched = Scripts()
    for seed in range(_HISTORIES):
        asyncio.run(_play(valkey_server, seed, watched))
    assert {f"{command} {kind}" for command, kind in _SEEN} - set(_ALLOWED) == set()
    assert _SEEN, "nothing was watched"
