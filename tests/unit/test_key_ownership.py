"""`invites reshard` knows every kind of key and timer that the scripts name."""

from __future__ import annotations

import re

import pytest

from invites.keys import Keys
from invites.resharding.key_ownership import KINDS, TIMERS, WHOLE, kind_of
from invites.store.scripts import sources

_LUA = "\n".join(sources().values())


def test_each_kind_of_key_that_the_scripts_name_is_known() -> None:
    named = set(re.findall(r"\bkey\('([a-z-]+)'", _LUA)) | set(re.findall(r"base \.\. '([a-z-]+)[:']", _LUA))
    named |= set(re.findall(r"\bplace = '([a-z-]+)'", _LUA))
    indirectly = set(re.findall(r"\bkey\((?!kind, id)([a-z]\w*)", _LUA))
    assert indirectly == {"index"}, "a kind that stands in a variable is not seen here"
    streams = {"events", "notifications", "push", "relay", "dead", "timers"}
    of_python = {"origin", "worker", "servers", "resharding", "minute", "story"}
    assert named - {"never"} | streams | of_python == KINDS


def test_each_key_that_python_names_is_known() -> None:
    keys = Keys()
    plain = {value for value in vars(keys).values() if isinstance(value, str) and value.startswith(keys.base)}
    named = {
        keys.invite("a|1|b"),
        keys.legs("a|1|b"),
        keys.story("a|1|b"),
        keys.registry("a"),
        keys.pending("a"),
        keys.left("r", "a"),
        keys.worker("w1"),
    }
    assert {kind_of(key.removeprefix(keys.base))[0] for key in plain | named if key != keys.base} <= KINDS


def test_each_kind_of_timer_is_known() -> None:
    rules = set(re.findall(r"^function timers\.(\w+)\(", _LUA, re.MULTILINE))
    scheduled = set(re.findall(r"'(\w+)\|'", _LUA))
    assert rules == set(TIMERS)
    assert scheduled >= rules


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("invite:alice|1|bob", "bob"),
        ("stopped:|1|bob", "bob"),
        ("request:alice|1|bob", "alice"),
        ("gone:bob|phone", "bob"),
        ("left:room:7|alice", "room:7"),
        ("registry:a:b", "a:b"),
    ],
)
def test_ids_may_hold_colons(key: str, name: str) -> None:
    kind, rest = kind_of(key)
    assert WHOLE[kind](rest) == name
