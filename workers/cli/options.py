"""The four options that all commands share, and their values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from enum import StrEnum
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from msgspec import Struct

from invites.config import Config, load
from invites.logs import personal
from invites.logs import setup as logs

if TYPE_CHECKING:
    from invites.values.secret import Secret
    from workers.cli.session import Session

Result = TypeVar("Result")

# The empty metavar keeps typer from showing a value of type bool in the help.
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.")]
AsJsonLines = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object per line.")]

RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        metavar="URL",
        help="The server, like redis://HOST:6379/0. Overrides INVITES_REDIS_URL and redis.url. Other users of "
        "this machine can see it in the process list: keep passwords in the other two.",
    ),
]

MISSING_URL: Final = (
    "redis.url is missing: give --redis-url URL, set INVITES_REDIS_URL, or add it to config.json."
)


class Level(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    WARNING = "warning"
    ERROR = "error"


class Format(StrEnum):
    """The format of log records."""

    TEXT = "text"
    JSON = "json"


class CommandError(Exception):
    """Ends the command with `status` (1: failed, 2: wrong use) and one sentence on stderr."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


class Common(Struct, frozen=True):
    """The values of the four common options."""

    config: Config
    file: Path | None
    """The value of --config. The settings in this file are part of `config`."""
    redis_url: str | None
    """The value of --redis-url. `url` also considers the environment and the file."""

    def url(self) -> Secret:
        """`redis.url`. Raises CommandError when it is missing."""
        if self.config.redis.url is None:
            raise CommandError(MISSING_URL, 2)
        return self.config.redis.url

    def on_server(
        self,
        command: Callable[[Session], Coroutine[Any, Any, int]],
        *,
        block_ms: int = 0,
        any_shards: bool = False,
    ) -> int:
        """Run a command that needs the server: see `session.run`."""
        from workers.cli.session import run

        return run(self, command, block_ms=block_ms, any_shards=any_shards)


def _set_up(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The configuration file, config.json. Without it, all settings have their defaults.",
        ),
    ] = None,
    redis_url: RedisUrl = None,
    log_level: Annotated[
        Level,
        typer.Option(
            "--log-level",
            metavar="debug|info|warn|error",
            case_sensitive=False,
            help="The lowest level to log. The log goes to stderr.",
        ),
    ] = Level.INFO,
    log_format: Annotated[
        Format,
        typer.Option(
            "--log-format",
            metavar="text|json",
            case_sensitive=False,
            help="Lines for people, or one JSON object per line.",
        ),
    ] = Format.TEXT,
) -> Common:
    """Start logging and load the configuration. Raises ConfigError."""
    logs.set_up(logs.LEVELS[log_level], log_format.value)
    loaded = load(config, redis_url=redis_url)
    personal.show(shown=loaded.invites.log_context)
    return Common(loaded, config, redis_url)


def with_common(
    *, log_level: Level = Level.INFO, redis_url: object = RedisUrl
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Add the four common options to a command, after its own. Its parameter of type Common receives their values.

    `log_level` is the default of --log-level, `redis_url` the annotation of --redis-url.
    """
    options = dict(signature(_set_up, eval_str=True).parameters)
    options["log_level"] = options["log_level"].replace(default=log_level)
    options["redis_url"] = options["redis_url"].replace(annotation=redis_url)

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def with_options(**given: Any) -> Result:  # noqa: ANN401 - what typer has parsed
            given[common] = _set_up(**{name: given.pop(name) for name in options})
            return command(**given)

        declared = signature(command, eval_str=True)
        (common,) = [one.name for one in declared.parameters.values() if one.annotation is Common]
        own = [one for one in declared.parameters.values() if one.name != common]
        # typer passes keywords. Keyword-only options with a default can precede arguments without one.
        keywords = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*own, *options.values())]
        with_options.__signature__ = declared.replace(parameters=keywords)  # type: ignore[attr-defined] # typer reads it
        return with_options

    return decorate
