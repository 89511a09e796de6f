"""`invites completion`: lets a shell complete commands and options."""

from __future__ import annotations

import enum
from typing import Annotated, Final

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined] # not exported elsewhere either

from workers.cli.options import Common, with_common
from workers.cli.output import say

VARIABLE: Final = "_INVITES_COMPLETE"
"""The environment variable by which the shell asks for completions instead of running a command."""


class _Shell(enum.StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_Which = Annotated[_Shell, typer.Argument(metavar="SHELL", help="The shell.")]


@with_common()
def completion(*, shell: _Which, common: Common) -> int:  # noqa: ARG001 - every command takes the common options
    """Print the lines that let a shell complete commands and options.

    bash: add `eval "$(invites completion bash)"` to ~/.bashrc.

    zsh: add `eval "$(invites completion zsh)"` to ~/.zshrc, after `compinit`.

    fish: `invites completion fish > ~/.config/fish/completions/invites.fish`.
    """
    script = get_completion_script(prog_name="invites", complete_var=VARIABLE, shell=shell.value)
    for line in script.splitlines():
        say(line)
    return 0
