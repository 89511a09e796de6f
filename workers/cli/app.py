"""The command `invites`: all its commands, and one way for them to end."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from invites import __version__
from invites.config import ConfigError
from invites.values.printable import escape
from workers.cli import bench, dead
from workers.cli.check.command import check
from workers.cli.demo import demo
from workers.cli.options import CommandError
from workers.cli.publish import publish
from workers.cli.reshard import reshard
from workers.cli.run import run
from workers.cli.show import show
from workers.cli.status import status
from workers.cli.tail import tail

_INTERRUPTED: Final = 130  # what typer makes of Ctrl-C

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
for command in (run, demo, check, status, show, tail, publish, reshard):
    app.command()(command)
app.add_typer(dead.app, name="dead")
app.add_typer(bench.app, name="bench")


def _print_version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"invites {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take what goes before the command."""


def invoke(arguments: list[str] | None = None) -> int:
    """Run the command that the arguments (default: the process's own) name.

    Returns the exit status: 0 done, 1 failed, 2 wrong use. What went wrong is one sentence on stderr, never a
    traceback.
    """
    try:
        result = app(arguments, prog_name="invites", standalone_mode=False)
    except CommandError as error:
        return _complain(str(error), error.status)
    except ConfigError as error:
        return _complain(str(error), 2)
    except typer.TyperException as error:
        return _complain(error.format_message().replace(": Value error, ", ": "), error.exit_code)
    except typer.Abort:
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    code = result if isinstance(result, int) else 0
    return 1 if code == _INTERRUPTED else code


def main() -> None:
    """Entry point: run what the arguments say, and exit with its status."""
    sys.exit(invoke())


def _complain(sentence: str, code: int) -> int:
    if sentence:  # without any arguments the help has been printed instead
        typer.echo(f"invites: {escape(sentence)}", err=True)
    return code
