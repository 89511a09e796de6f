"""What all commands take, and what they make of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from msgspec import Struct

from invites import config
from invites.config import Config, ConfigError
from invites.logs import setup as logs

if TYPE_CHECKING:
    from invites.values.secret import Secret


class Level(StrEnum):
    """The least important level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    WARNING = "warning"
    ERROR = "error"


class Format(StrEnum):
    """How log records are written."""

    TEXT = "text"
    JSON = "json"


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="config.json; without it, the default of every setting."),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        metavar="URL",
        help="The server, like redis://HOST:6379/0; goes before INVITES_REDIS_URL and redis.url. Others on "
        "this machine see it in the list of processes: passwords are better kept in the other two.",
    ),
]
LogLevel = Annotated[
    Level,
    typer.Option(
        "--log-level",
        metavar="debug|info|warn|error",
        case_sensitive=False,
        help="The least important lines to log; the log goes to stderr.",
    ),
]
LogFormat = Annotated[
    Format,
    typer.Option(
        "--log-format",
        metavar="text|json",
        case_sensitive=False,
        help="Lines for people, or one JSON object a line.",
    ),
]
# A flag takes no value: without a metavar, its help would show one of type bool.
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.")]
AsJsonLines = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object a line.")]

MISSING_URL: Final = (
    "redis.url is missing: give --redis-url URL, set INVITES_REDIS_URL, or add it to config.json."
)


class CommandError(Exception):
    """The command ends with `status` (1: failed, 2: wrong use); the text is one sentence for stderr."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


class Common(Struct, frozen=True):
    """The options that each command has."""

    config: Path | None
    redis_url: str | None
    log_level: Level
    log_format: Format

    def set_up(self) -> Config:
        """Start logging and load the configuration. Raises CommandError."""
        logs.set_up(logs.LEVELS[self.log_level], self.log_format.value)
        try:
            return config.load(self.config, redis_url=self.redis_url)
        except ConfigError as error:
            raise CommandError(str(error), 2) from None


def url_of(loaded: Config) -> Secret:
    """`redis.url`. Raises CommandError when there is none."""
    if loaded.redis.url is None:
        raise CommandError(MISSING_URL, 2)
    return loaded.redis.url


def check_look_ups(loaded: Config) -> None:
    """Raise CommandError when the configuration asks for look-ups that cannot be made."""
    try:
        config.check_look_ups(loaded)
    except ConfigError as error:
        raise CommandError(str(error), 2) from None
