"""Both sides declare the arguments of a server's function with the same names in the same order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import fields

from invites.events.arguments import RULES
from invites.keys import SCRIPT_KEYS
from invites.store.commit import Header
from invites.store.scripts import sources
from invites.store.settings import Settings

if TYPE_CHECKING:
    from msgspec import Struct

_RULE = re.compile(r"^function events\.(\w+)\(([^)]*)\)", re.MULTILINE)
_FOLDER = Path(__file__).resolve().parents[2] / "lua"


def _names(struct: type[Struct]) -> list[str]:
    return [field.name.removesuffix("_") for field in fields(struct)]


def _rules() -> dict[str, list[str]]:
    """Each rule of `lua/events` and its parameters."""
    found: dict[str, list[str]] = {}
    for name, text in sources().items():
        if name.startswith("events/"):
            found |= {rule: re.findall(r"[\w.]+", parameters) for rule, parameters in _RULE.findall(text)}
    return found


def _list(name: str) -> list[str]:
    """A list of names in `lua/core/context.lua`."""
    text = (_FOLDER / "core" / "context.lua").read_text("utf-8")
    found = re.search(rf"^ *local {name} = {{([^}}]*)}}", text, re.MULTILINE)
    assert found is not None, f"there is no list {name}"
    return re.findall(r"'(\w+)'", found[1])


def test_both_sides_know_the_same_rules() -> None:
    assert _rules().keys() == RULES.keys()


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_arguments_of_a_rule_are_its_parameters_in_order(rule: str) -> None:
    parameters, names = _rules()[rule], _names(RULES[rule])
    if parameters[-1] == "...":
        # The struct names what the rule passes on.
        assert names[: len(parameters) - 1] == parameters[:-1]
        assert names[len(parameters) - 1 :] == ["arguments"]
    else:
        assert names == parameters


def test_the_header_is_in_order() -> None:
    assert _list("HEADER") == _names(Header)


def test_the_rules_use_all_settings_and_no_others() -> None:
    texts = (path.read_text("utf-8") for path in _FOLDER.rglob("*.lua"))
    used = {name for text in texts for name in re.findall(r"\bsettings\.(?!py\b)(\w+)", text)}
    assert used == set(_names(Settings))


def test_the_keys_are_in_order() -> None:
    assert _list("STREAMS") == list(SCRIPT_KEYS)
