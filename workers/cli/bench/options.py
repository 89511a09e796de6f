"""What the measurements share: their options, their errors, the rules of the configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.options import CommandError, Common, Level, with_common

if TYPE_CHECKING:
    from invites.config import Config

with_options = with_common(
    log_level=Level.WARN,
    redis_url=Annotated[
        str | None,
        typer.Option(
            "--redis-url",
            metavar="URL",
            help="Measure this server instead of a temporary one. The keys have their own prefix and are deleted.",
        ),
    ],
)

Devices = Annotated[int, typer.Option(min=1, metavar="N", help="Registered devices of each callee.")]
SeveralDevices = Annotated[int, typer.Option(min=2, metavar="N", help="Registered devices of each callee.")]
Rate = Annotated[float, typer.Option(min=1, metavar="N", help="Calls offered per second.")]
Rounds = Annotated[int, typer.Option(min=1, metavar="N", help="Rounds. The command reports their medians.")]
Workers = Annotated[int, typer.Option(min=1, metavar="N", help="Worker processes.")]


@contextlib.contextmanager
def faults_as_sentences() -> Iterator[None]:
    """Turn the failure of a measurement into a CommandError."""
    from redis.exceptions import RedisError

    from workers.lab.bench.target import BenchError
    from workers.lab.embedded import EmbeddedError

    try:
        yield
    except (BenchError, EmbeddedError) as error:
        raise CommandError(str(error)) from None
    except (RedisError, OSError) as error:
        raise CommandError(f"The measurement failed: {error}") from None


def refuse_lookups(loaded: Config) -> None:
    """Raise CommandError if a setting needs sippo-server, which most measurements do not have."""
    if loaded.lookups():
        named = " and ".join(loaded.lookups())
        raise CommandError(
            f"This benchmark measures calls without sippo-server: set {named} to the default, or use `look-ups`.",
            2,
        )


def rules_of(common: Common) -> dict[str, Any]:
    """The section `invites` of the configuration file, for the workers of the benchmark."""
    from workers.lab.worker_process import configuration_in

    return dict(configuration_in(common.file).get("invites", {}))
