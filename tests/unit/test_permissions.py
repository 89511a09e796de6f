"""`invites check` asks for every command that workers send."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from invites.keys import Keys
from workers.cli.check.permissions import needed
from workers.cli.check.role import Role

_LUA = Path(__file__).resolve().parents[2] / "lua"

_GIVEN_BY_PYTHON = {
    "CLIENT", "EVAL", "EVALSHA", "FCALL", "FUNCTION", "HMGET", "LRANGE", "PING", "SCAN", "XADD", "XAUTOCLAIM", "XCLAIM",
    "XLEN", "XRANGE", "XREADGROUP", "XREVRANGE", "ZCOUNT"
}  # fmt: skip


def test_every_command_of_the_scripts_is_asked_for() -> None:
    script = "\n".join(file.read_text("utf-8") for file in _LUA.rglob("*.lua"))
    given = set(re.findall(r"""redis\.p?call\(\s*["']([A-Z]+)["']""", script))
    given |= set(re.findall(r"""\{\s*'([A-Z]+)', *[^'\s]""", script))  # noted writes
    assert {"XACK", "HSET", "ZADD", "XADD"} <= given
    asked = {command[0] for command in needed(Keys())}
    assert asked == given | _GIVEN_BY_PYTHON


def test_the_commit_asks_for_every_command_that_writes() -> None:
    """A command that is noted, or is the token, but that nobody asks for, could be denied after the token."""
    files = [file for file in _LUA.rglob("*.lua") if file.name not in {"trim.lua", "retire.lua"}]
    script = "\n".join(file.read_text("utf-8") for file in files)
    noted = set(re.findall(r"""\{\s*'([A-Z]+)', *[^'\s]""", script))
    permissions = (_LUA / "core" / "permissions.lua").read_text("utf-8")
    asked = set(re.findall(r"'([A-Z]+)'", permissions.partition("local WRITES = {")[2].partition("}")[0]))
    assert asked == noted | set(re.findall(r"unless_denied\(redis\.pcall\('([A-Z]+)'", script))
    assert asked <= {command[0] for command in needed(Keys())}


@pytest.mark.parametrize("role", Role)
def test_all_keys_are_of_the_shard(role: Role) -> None:
    for command in needed(Keys("calls", 3), role):
        assert all(word.startswith("calls:{3}:") for word in command if ":{" in word)
        assert not any("{key}" in word or "{events}" in word for word in command)
