"""Every command explains itself, takes the common options, and refuses wrong use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from invites.events.protocol import EVENT_TYPES
from tests.support.commands import Commands
from workers.cli.app import app
from workers.cli.lazy import LazyCommand


def _commands(found: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, named in getattr(found, "commands", {}).items():
        command = named.load() if isinstance(named, LazyCommand) else named
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


ALL = dict(_commands(typer.main.get_command(app)))
# A value for each mandatory argument.
VALUES = {
    "REF": "a|b|c",
    "DIR": "plots",
    "TYPE": "roomClosed",
    "JSON": '{"roomId":"r"}',
    "ID": "1-1",
    "GROUP": "gateway",
    "N": "3",
    "DOCUMENT": "events",
    "SHELL": "bash",
    "USER": "alice",
}
each = pytest.mark.parametrize("words", ALL, ids=" ".join)


def _arguments(words: tuple[str, ...]) -> list[str]:
    found = [one for one in ALL[words].params if one.param_type_name == "argument"]
    return [VALUES[one.metavar] for one in found]


def test_there_are_as_many_as_the_contract_names() -> None:
    assert {words[0] for words in ALL} == {
        "run", "gateway", "demo", "check", "status", "list", "show", "tail", "publish", "schema", "dead", "gateways",
        "reshard", "size", "probe", "completion", "bench", "erase",
    }  # fmt: skip
    assert {words[1] for words in ALL if words[0] == "dead"} == {"list", "show", "retry", "drop"}
    assert {words[1] for words in ALL if words[0] == "gateways"} == {"list", "drop"}


@each
def test_its_help_says_what_it_does_and_names_each_option(commands: Commands, words: tuple[str, ...]) -> None:
    ended = commands.run(*words, "--help")
    assert (ended.status, ended.err) == (0, "")
    for option in ("--config", "--redis-url", "--log-level", "--log-format"):
        assert option in ended.out
    for one in ALL[words].params:
        assert one.help, one.name
    first = ALL[words].help.partition("\n")[0]
    assert first.endswith("."), first


@each
def test_the_common_options_stand_last_with_the_defaults_of_the_command(words: tuple[str, ...]) -> None:
    options = [one for one in ALL[words].params if one.param_type_name == "option"]
    assert {one.opts[0]: one.default for one in options[-4:]} == {
        "--config": None,
        "--redis-url": None,
        "--log-level": "warn" if words[0] in {"demo", "bench", "probe"} else "info",
        "--log-format": "text",
    }


@each
def test_a_flag_shows_no_value(commands: Commands, words: tuple[str, ...]) -> None:
    for line in commands.run(*words, "--help").out.splitlines():
        assert "<bool>" not in line or "--help" in line


@each
@pytest.mark.parametrize(
    "wrong",
    [
        ("--no-such-option",),
        ("--log-level", "loud"),
        ("--log-format", "xml"),
        ("--config",),
        ("--config", "/no/such/config.json"),
        ("one", "two", "three", "four"),
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_status_2_and_one_line(
    commands: Commands, words: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    ended = commands.run(*words, *_arguments(words), *wrong)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("invites: ")
    assert len(ended.err.splitlines()) == 1, ended.err


@each
def test_a_configuration_that_is_wrong_ends_with_status_2(
    commands: Commands, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"invites": {"ringTimeout": "60s"}}', "utf-8")
    ended = commands.run(*words, *_arguments(words), "--config", str(file))
    assert (ended.status, ended.out) == (2, "")
    assert "invites.ringTimeout must be a whole number of milliseconds" in ended.err
    assert 'not the text "60s".' in ended.err


@each
def test_a_url_that_is_wrong_ends_with_status_2(commands: Commands, words: tuple[str, ...]) -> None:
    ended = commands.run(*words, *_arguments(words), "--redis-url", "http://somewhere")
    assert (ended.status, ended.out) == (2, "")
    assert "--redis-url starts with http://, which is not a known scheme" in ended.err


@pytest.mark.parametrize("words", [(), ("dead",), ("bench",)], ids=" ".join)
def test_a_command_that_is_not_there_or_left_out_ends_with_status_2(
    commands: Commands, words: tuple[str, ...]
) -> None:
    assert commands.run(*words).status == 2
    ended = commands.run(*words, "no-such-command")
    assert (ended.status, ended.out) == (2, "")
    assert "no-such-command" in ended.err


def test_the_help_of_publish_names_every_type(commands: Commands) -> None:
    text = " ".join(commands.run("publish", "--help").out.split())
    for kind in EVENT_TYPES:
        assert kind in text


def test_the_exit_statuses_are_explained(commands: Commands) -> None:
    assert "Exit status: 0 done, 1 failed, 2 wrong use." in " ".join(commands.run("--help").out.split())
