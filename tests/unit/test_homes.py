import re

import pytest

from invites.homes import KINDS, TIMERS, Homes, homes_of
from invites.scripts import sources

# Streams and what else `main.lua` is told by name, and `base .. 'name'`.
NAMED = {"events", "notifications", "push", "relay", "dead", "timers", "never"}


def test_every_kind_of_key_that_the_scripts_make_has_a_home() -> None:
    text = "\n".join(sources().values())
    kinds = set(re.findall(r"key\('([a-z-]+)'", text)) | set(re.findall(r"base \.\. '([a-z-]+)'", text))
    assert len(kinds) > 15
    assert kinds - NAMED <= KINDS


def test_every_kind_of_timer_has_a_home() -> None:
    names = {name.removeprefix("timers/") for name in sources() if name.startswith("timers/")}
    assert names | {"close"} == TIMERS


@pytest.mark.parametrize(
    ("kind", "name", "names"),
    [
        ("invite", "alice|1|bob", ("bob",)),
        ("stopped", "|1|bob", ("bob",)),
        ("request", "alice|1|bob", ("alice",)),
        ("gone", "bob|phone", ("bob",)),
        ("left", "room|alice", ("room",)),
        ("timers", "ring|alice|1|bob", ("bob",)),
        ("timers", "close|room|5-0|50", ("room",)),
        ("timers", "caller|alice|a", ("alice",)),
    ],
)
def test_an_id_decides(kind: str, name: str, names: tuple[str, ...]) -> None:
    assert homes_of(kind, name) == Homes(names)


def test_what_a_lost_device_was_rung_for_may_be_anywhere() -> None:
    assert homes_of("timers", "grace|sip|t") == Homes(("sip",), rung="sip")


@pytest.mark.parametrize(
    ("kind", "name"), [("events", ""), ("timers", ""), ("unheard", "of"), ("timers", "un|heard")]
)
def test_what_is_the_shards_own_stays(kind: str, name: str) -> None:
    assert homes_of(kind, name) == Homes(stays=True)
