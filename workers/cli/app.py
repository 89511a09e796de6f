"""The command `invites`: registers all commands and turns their errors into one sentence and an exit status."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from invites import __version__
from invites.build import COMMIT
from invites.config import ConfigError
from workers.cli import bench, dead, gateways
from workers.cli.check.command import check
from workers.cli.demo import demo
from workers.cli.erase import erase
from workers.cli.gateway import gateway
from workers.cli.options import CommandError
from workers.cli.output import say
from workers.cli.publish import publish
from workers.cli.reshard import reshard
from workers.cli.run import run
from workers.cli.schema import schema
from workers.cli.show import show
from workers.cli.size import size
from workers.cli.status import status
from workers.cli.tail import tail

_INTERRUPTED: Final = 130  # the status that typer returns for Ctrl-C

app = typer.Typer(
    help="Call invitations over Redis Streams: all devices ring, the first accept wins, the others stop.\n\n"
    "`invites demo` shows a call. `invites COMMAND --help` explains a command.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong use. The server comes from --redis-url, else from the "
    "variable INVITES_REDIS_URL, else from redis.url in the configuration file.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (run, gateway, demo, check, status, show, tail, publish, schema, reshard, size, erase):
    app.command()(command)
app.add_typer(dead.app, name="dead")
app.add_typer(gateways.app, name="gateways")
app.add_typer(bench.app, name="bench")


def _print_version(*, asked: bool) -> None:
    if asked:
        say(f"invites {__version__} (commit {COMMIT})")
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
    """Accept options before the command."""


def invoke(arguments: list[str] | None = None) -> int:
    """Run the command in the arguments (default: those of the process).

    Returns the exit status: 0 done, 1 failed, 2 wrong use. An error is one sentence on stderr, never a traceback.
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
        # The reader of the output has closed it. Python would report that again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    code = result if isinstance(result, int) else 0
    return 1 if code == _INTERRUPTED else code


def main() -> None:
    """Run the command in the arguments of the process and exit with its status."""
    sys.exit(invoke())


def _complain(sentence: str, code: int) -> int:
    if sentence:  # empty when typer has printed the help
        say(f"invites: {sentence}", err=True)
    return code
