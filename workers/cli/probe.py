"""`invites probe`: a call to itself through a running installation."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Annotated, Final

import typer

from workers.cli.options import AsJson, CommandError, Common, Level, with_common
from workers.cli.output import say, say_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.config import Redis
    from workers.probe import Measured

_LATE: Final = 1
_UNKNOWN: Final = 2
_AT_ONCE: Final = 16  # shards; each takes four connections
_LOOK_S: Final = 2.0

_log = logging.getLogger(__name__)

_Slo = Annotated[
    int, typer.Option("--slo", metavar="MS", min=1, help="How long a device may take to ring, and to stop.")
]
_Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.1, max=30, help="How long to wait for the whole call."
    ),
]
_Shards = Annotated[
    str, typer.Option("--shards", metavar="all|N", help="The shards to probe: all of them, or one.")
]
_User = Annotated[
    str,
    typer.Option(
        "--user", metavar="NAME", help="How the ids of the probe's users begin. No real user's may."
    ),
]


@with_common(log_level=Level.WARN)
def probe(
    *,
    common: Common,
    slo: _Slo = 1_000,
    timeout: _Timeout = 10.0,
    shards: _Shards = "all",
    user: _User = "invites-probe",
    as_json: AsJson = False,
) -> int:
    """Call a device of its own through the running installation, and measure how long it takes to ring and to stop.

    In each shard the probe registers two devices of a user of its own, invites that user, and accepts with one device.
    It measures from `invite` to `invitation` (ring), and from `accept` to the cancel for the other device (stop). The
    call leaves no record, reaches no other device, and needs no sippo-server.

    Exit status: 0 if both times are within `--slo` in each shard, 1 if one is beyond it, 2 if one could not be
    measured.
    """
    url, redis = common.url().reveal(), common.config.redis
    if shards != "all" and not (shards.isdecimal() and int(shards) < redis.shards):
        raise CommandError(
            f"--shards must be all or a number below redis.shards ({redis.shards}), not {shards}.", 2
        )
    numbers = range(redis.shards) if shards == "all" else [int(shards)]

    from invites.events.fields import BadEvent
    from workers.probe import Place, measure

    at_once = asyncio.Semaphore(_AT_ONCE)

    async def one(shard: int) -> Measured:
        async with at_once:
            return await measure(Place(url, redis.prefix, shard, redis.shards, user), timeout)

    async def each() -> list[Measured]:
        await _refuse_other_shards(url, redis)
        measuring = asyncio.gather(*map(one, numbers))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, measuring.cancel)
        return await measuring

    try:
        found = asyncio.run(each())
    except BadEvent as error:
        raise CommandError(f"--user: {error}", 2) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise CommandError("The probe was interrupted.", _UNKNOWN) from None
    status = status_of(found, slo)
    if as_json:
        say_json({"status": status, "slo": slo, "shards": found})
    else:
        say(line_of(found, slo))
    return status


async def _refuse_other_shards(url: str, redis: Redis) -> None:
    """Raise CommandError if the calls are in another number of shards. The probes report a server that fails."""
    from redis.exceptions import NoPermissionError, RedisError

    from invites.connection.clients import Clients
    from invites.keys import Keys
    from invites.store.layout import mismatch, unreadable

    first = Keys(redis.prefix, 0, redis.shards)
    try:
        async with Clients(url, "probe") as clients, asyncio.timeout(_LOOK_S):
            wrong = await mismatch(clients.of(first), first, redis.shards)
    except NoPermissionError:
        _log.warning("%s", unreadable(first))
    except (RedisError, OSError):  # a time-out is an OSError, too
        pass
    else:
        if wrong is not None:
            raise CommandError(f"{wrong} Give the workers' configuration with --config.", _UNKNOWN)


def status_of(found: Sequence[Measured], slo: int) -> int:
    """The exit status: 0 within the objective (ms), 1 beyond it, 2 not measured."""
    if any(each.error for each in found):
        return _UNKNOWN
    return 0 if all(each.is_within(slo) for each in found) else _LATE


def line_of(found: Sequence[Measured], slo: int) -> str:
    """The line for people and cron."""
    failed = [f"shard {each.shard}: {each.error}" for each in found if each.error]
    if failed:
        return f"FAILED: {'; '.join(failed)}"
    late = [each for each in found if not each.is_within(slo)]
    if late:
        return f"LATE, beyond {slo} ms: {'; '.join(map(_times, late))}"
    if len(found) == 1:
        return f"OK: {_times(found[0])}"
    ring, stop = max(each.ring_ms or 0 for each in found), max(each.stop_ms or 0 for each in found)
    return f"OK: {len(found)} shards, ring {ring:g} ms and stop {stop:g} ms at most"


def _times(measured: Measured) -> str:
    return f"shard {measured.shard}: ring {measured.ring_ms:g} ms, stop {measured.stop_ms:g} ms"
