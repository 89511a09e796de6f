"""Commands that are imported when they run, so that `invites --help` and a shell's completion answer at once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

if TYPE_CHECKING:
    from collections.abc import Mapping


_WRONG_USE: Final = 2


class LazyCommand(TyperCommand):
    """A command, or a group of commands, that its name and one line stand for until it is used."""

    def __init__(self, name: str, place: str, line: str) -> None:
        """`place` is `module:attribute`: a function, or a Typer with commands of its own."""
        super().__init__(name=name, short_help=line)
        self._place = place

    def load(self) -> Any:  # noqa: ANN401 - typer's own types are private
        """The command itself."""
        module, _, attribute = self._place.partition(":")
        found = getattr(import_module(module), attribute)
        # "markdown" joins the lines of a paragraph.
        holder = typer.Typer(rich_markup_mode="markdown")
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=self.name)
        else:
            holder.command(self.name)(found)
        return get_group(holder).commands[str(self.name)]

    def make_context(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as typer has them
        """What typer asks a command for that is to run."""
        return self.load().make_context(*arguments, **options)


def lazy_group(commands: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """A group with these commands: name -> place, line."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - as typer has them
            super().__init__(**attributes)
            for name, (place, line) in commands.items():
                self.add_command(LazyCommand(name, place, line))

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as typer has them
            """Without arguments, print the help. `no_args_is_help` would make it the sentence of an error."""
            if not args and not ctx.resilient_parsing:
                from workers.cli.output import say

                for line in ctx.get_help().splitlines():
                    say(line)
                raise typer.Exit(_WRONG_USE)
            return super().parse_args(ctx, args)

    return LazyGroup
