"""The command `invites`: registers all commands and turns their errors into one sentence and an exit status."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Final

import typer

from workers.aio.signals import end_as_first_process
from workers.cli.lazy import lazy_group

_INTERRUPTED: Final = 130  # the status that typer returns for Ctrl-C

COMMANDS: Final = {
    "run": ("workers.cli.run:run", "Run one worker."),
    "gateway": ("workers.cli.gateway:gateway", "Run one WebSocket gateway."),
    "demo": ("workers.cli.demo:demo", "Play calls in the terminal."),
    "check": ("workers.cli.check.command:check", "Check what a worker needs."),
    "status": ("workers.cli.status:status", "Show the state of each shard."),
    "list": ("workers.cli.list:list_", "List what rings now, and what has ended."),
    "probe": ("workers.cli.probe:probe", "Call a device of its own, and measure."),
    "show": ("workers.cli.show:show", "Show one invite."),
    "tail": ("workers.cli.tail:tail", "Print notifications as they arrive."),
    "publish": ("workers.cli.publish:publish", "Publish one event."),
    "schema": ("workers.cli.schema:schema", "Print the contract for machines."),
    "reshard": ("workers.cli.reshard:reshard", "Spread calls over more shards."),
    "erase": ("workers.cli.erase:erase", "Delete what the server holds about a user."),
    "size": ("workers.cli.size:size", "Estimate the server's memory."),
    "completion": ("workers.cli.completion:completion", "Print what a shell needs to complete commands."),
    "dead": ("workers.cli.dead:app", "List, show, retry and drop dead letters."),
    "gateways": ("workers.cli.gateways:app", "List and drop the groups of gateways."),
    "bench": ("workers.cli.bench.app:app", "Measure this machine."),
}
"""Each command: where it is (see `LazyCommand`), and its line in the help."""

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="Call invitations over Redis Streams: all devices ring, the first accept wins, the others stop.\n\n"
    "`invites demo` shows a call. `invites COMMAND --help` explains a command.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong use. The server comes from --redis-url, else from the "
    "variable INVITES_REDIS_URL, else from redis.url in the configuration file.",
    rich_markup_mode=None,  # importing rich takes longer than everything else
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(*, asked: bool) -> None:
    if asked:
        from invites import __version__
        from invites.build import COMMIT
        from workers.cli.output import say

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
    if "_INVITES_COMPLETE" in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined] # the same

        completion_init()
    try:
        words = _decoded(sys.argv[1:] if arguments is None else arguments)
        result = app(_completed(words), prog_name="invites", standalone_mode=False)
    except typer.TyperException as error:
        said = " ".join(error.format_message().split())
        return _complain(said.replace(": Value error, ", ": "), error.exit_code)
    except typer.Abort:
        return 1
    except BrokenPipeError:
        _abandon_output()  # its reader has closed it
        return 1
    except Exception as error:
        if isinstance(error, _of_the_operator()):
            return _complain(str(error), getattr(error, "status", 2))
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _abandon_output()
            return _complain(f"The output cannot be written: {error.strerror}.", 1)
        raise
    code = result if isinstance(result, int) else 0
    return 1 if code == _INTERRUPTED else code


def main() -> None:
    """Run the command in the arguments of the process and exit with its status."""
    _open_standard_files()
    if os.getpid() == 1:
        end_as_first_process()
    sys.exit(invoke())


def _open_standard_files() -> None:
    """Open what the starter has closed. libuv aborts as it closes a socket with the number of a standard file."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def _abandon_output() -> None:
    """Let Python not report once more, when it exits, that the output cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _decoded(words: list[str]) -> list[str]:
    """The arguments. Raises CommandError if one is not UTF-8, which no id and no file of the contract is."""
    for word in words:
        if not word.isascii() and any("\udc80" <= letter <= "\udcff" for letter in word):
            from workers.cli.options import CommandError

            raise CommandError(f"The argument {word} is not UTF-8.", 2)
    return words


def _completed(words: list[str]) -> list[str]:
    """The arguments, with a number after each `--watch`."""
    if "--watch" not in words:
        return words
    from workers.cli.watch import with_seconds

    return with_seconds(words)


def _of_the_operator() -> tuple[type[Exception], ...]:
    """Errors that an operator can fix."""
    from invites.config import ConfigError
    from workers.cli.options import CommandError

    return CommandError, ConfigError


def _complain(sentence: str, code: int) -> int:
    if sentence:  # empty when typer has printed the help
        from workers.cli.output import say

        say(f"invites: {sentence}", err=True)
    return code
