"""The command line: the operators' commands, and one way for all commands to end."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from invites import __version__
from invites.build import COMMIT
from invites.cli import check, dead, publish, reshard, show, status, tail
from invites.cli.options import CommandError
from invites.printable import escape

_INTERRUPTED: Final = 130  # what typer makes of Ctrl-C


def make_app() -> typer.Typer:
    """The command `invites`, without commands of its own yet."""
    app = typer.Typer(
        help="Call invitations over Redis Streams: devices ring, the first accept wins, all others stop.\n\n"
        "To see it: `invites demo`. Each command explains itself: `invites COMMAND --help`.",
        epilog="Exit status: 0 done, 1 failed, 2 wrong use. The server is named by --redis-url, by the variable "
        "INVITES_REDIS_URL, or by redis.url in the file that --config names.",
        no_args_is_help=True,
        rich_markup_mode="markdown",  # which joins the lines of a paragraph
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_options)
    return app


def add_operator_commands(app: typer.Typer) -> None:
    """Add what looks at a running installation and mends it."""
    app.command()(check.check)
    app.command()(status.status)
    app.command()(show.show)
    app.command()(tail.tail)
    app.command()(publish.publish)
    app.add_typer(dead.app, name="dead")
    app.command()(reshard.reshard)


def run(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run the command that the arguments (default: the process's own) name.

    Returns the exit status: 0 done, 1 failed, 2 wrong use. What went wrong is one sentence on stderr, never a
    traceback.
    """
    try:
        result = app(arguments, prog_name="invites", standalone_mode=False)
    except CommandError as error:
        return _complain(str(error), error.status)
    except typer.TyperException as error:
        return _complain(error.format_message().replace(": Value error, ", ": "), error.exit_code)
    except typer.Abort:
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    status = result if isinstance(result, int) else 0
    return 1 if status == _INTERRUPTED else status


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"invites {__version__} (commit {COMMIT})")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_print_version, is_eager=True, help="Print version and commit."
        ),
    ] = False,
) -> None:
    """Keep what goes before the command."""


def _complain(sentence: str, status: int) -> int:
    if sentence:  # without any arguments the help has been printed instead
        typer.echo(f"invites: {escape(sentence)}", err=True)
    return status
