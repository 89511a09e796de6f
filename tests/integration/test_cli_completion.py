"""The list of commands in the help, and what a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Commands
from workers.cli.app import COMMANDS


def run(*command: str, **environment: str) -> str:
    return subprocess.run(
        command, env=os.environ | environment, check=True, capture_output=True, text=True
    ).stdout


def test_the_help_lists_every_command_with_its_whole_line(commands: Commands) -> None:
    lines = commands.run("--help").out.splitlines()
    for name, (_, line) in COMMANDS.items():
        assert f"  {name:10}  {line}" in lines


def test_without_arguments_the_help_is_printed_as_it_is(commands: Commands) -> None:
    ended = commands.run()
    assert (ended.status, ended.err) == (2, "")
    assert ended.out == commands.run("--help").out


def test_bash_completes_commands(tmp_path: Path) -> None:
    """The printed lines in a real bash; zsh and fish are not on every machine."""
    command = tmp_path / "invites"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m workers "$@"\n', "utf-8")
    command.chmod(0o700)
    script = """
        PATH="$1:$PATH"; eval "$(invites completion bash)"
        COMP_WORDS=(invites gateways ""); COMP_CWORD=2; _invites_completion invites; echo "${COMPREPLY[@]}"
    """
    assert run("bash", "-c", script, "bash", str(tmp_path)).splitlines() == ["list drop"]


@pytest.mark.parametrize(
    ("shell", "first"),
    [
        ("bash", "_invites_completion() {"),
        ("zsh", "#compdef invites"),
        ("fish", "complete --command invites"),
    ],
)
def test_each_shell_has_its_lines(commands: Commands, shell: str, first: str) -> None:
    ended = commands.run("completion", shell)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(first)


@pytest.mark.parametrize(
    ("shell", "asked", "completed"),
    [
        ("bash", "invites probe --sl", "--slo"),
        ("zsh", "invites dead re", '"retry":'),
        ("fish", "invites dead re", "retry\t"),
    ],
)
def test_what_each_shell_asks_for_is_answered(
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shell: str,
    asked: str,
    completed: str,
) -> None:
    monkeypatch.setenv("_INVITES_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", asked)
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", asked)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit):
        commands.run()
    assert completed in capsys.readouterr().out
