"""One worker process: starts the loops of every shard, and stops them without leaving anything behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final, assert_never

from redis.exceptions import MovedError, NoPermissionError, RedisError

from invites.connection.clients import Clients
from invites.connection.errors import ErrorKind, RefusedError, classify
from invites.logs.setup import identify
from invites.sippo import SippoServer
from invites.store.commit import denied_sentence
from invites.store.layout import LayoutError
from workers.aio.backoff import Backoff
from workers.aio.gc import freeze_gc
from workers.aio.signals import stop_signals
from workers.aio.tasks import end
from workers.context import WorkerContext
from workers.shard_worker import ShardWorker
from workers.telemetry.metrics import Metrics
from workers.telemetry.outage import Outage
from workers.telemetry.readiness import Readiness
from workers.telemetry.sippo import SippoMetrics
from workers.telemetry.spans import spans_of_environment

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.config import Config
    from invites.keys import Keys
    from workers.telemetry.spans import Spans

DRAIN_S: Final = 7.0
"""How long a stopping worker may finish its work. Handing back takes another 3 s at most.

Together that is the 10 s after which the first supervisors kill."""

_ROLE: Final = "starting"

_log = logging.getLogger(__name__)


class Service:
    """A worker on all shards of one server.

    `drain` and `aclose` may come at any time, also while it starts. The owner must call `aclose`.
    """

    def __init__(
        self, config: Config, url: str, *, consumer: str | None = None, spans: Spans | None = None
    ) -> None:
        self.refusal = ""
        """Why the worker stopped by itself, and what to do; "" if it has not."""
        self.moving = False
        """Whether the calls are being moved to other shards. No worker can say where a call is then."""
        metrics, readiness = Metrics(), Readiness()
        metrics.ready_if(readiness.is_ready)
        metrics.expect_errors(_ROLE)
        self._context = WorkerContext(
            config=config,
            url=url,
            consumer=consumer or _consumer_name(),
            clients=Clients(url, "commands"),
            sippo=_sippo_server(config, metrics),
            refused=self._refused,
            metrics=metrics,
            outage=Outage(metrics, readiness),
            spans=spans,
            readiness=readiness,
        )
        self._opened = contextlib.AsyncExitStack()
        self._shards = [ShardWorker(keys, self._context) for keys in config.shards()]
        for shard in self._shards:
            shard.meet(other for other in self._shards if other is not shard)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the worker takes nothing new."""
        return self._context.stopping

    @property
    def consumer(self) -> str:
        """The worker's name in the consumer groups."""
        return self._context.consumer

    @property
    def metrics(self) -> Metrics:
        """The worker's metrics."""
        return self._context.metrics

    @property
    def readiness(self) -> Readiness:
        """Whether the worker works."""
        return self._context.readiness

    @property
    def sippo(self) -> SippoServer | None:
        """The client for all shards; None without a configured sippo-server."""
        return self._context.sippo

    def commands(self, keys: Keys) -> Redis:
        """The client for commands to a shard, which do not wait for entries."""
        return self._context.clients.of(keys)

    async def start(self) -> None:
        """Start all loops. Waits for an unreachable server, as long as it takes or until `stopping` is set.

        Raises RefusedError when the server may evict keys (an evicted invite is a call that never ends), when its ACL
        denies commands that write, when the calls are spread over another number of shards, and when the server belongs
        to a cluster and the URL does not say so. Waits while the calls are moved to the number of shards in the
        configuration.
        """
        if self.sippo is not None:
            await self._opened.enter_async_context(self.sippo)
        backoff = Backoff()
        while not self.stopping.is_set():
            try:
                await self._prepare()
            except Exception as error:  # noqa: BLE001 - `_wait_after` raises what waiting does not mend
                self._wait_after(error)
            else:
                self._context.outage.over(_ROLE)
                self.readiness.trouble = ""
                self.moving = False
                self._tasks = [task for shard in self._shards for task in shard.start()]
                _log.info("The worker %s is running.", self.consumer)
                return
            await backoff.wait(self.stopping)

    async def wait(self) -> None:
        """Return once `stopping` is set. Raises the error of a loop that ended by itself."""
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([stopping, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        await end([stopping])
        if not self.stopping.is_set():
            for task in self._tasks:
                if task.done():
                    task.result()

    async def drain(self, within_s: float = DRAIN_S) -> None:
        """Take nothing new, finish what was begun within the time, hand back the rest for others to claim."""
        self.stopping.set()
        self.readiness.trouble = "the worker is stopping"
        await asyncio.gather(*(shard.drain(within_s) for shard in self._shards))

    async def aclose(self) -> None:
        """End all loops and close all connections. Other workers claim the entries in flight."""
        self.stopping.set()
        for shard in self._shards:
            await shard.aclose()
        await self._opened.aclose()
        await self._context.clients.aclose()

    async def _prepare(self) -> None:
        for shard in self._shards:
            await _check_memory_policy(shard.shard.commands)
        for shard in self._shards:
            denied = await shard.shard.committer.denied()
            if denied:
                raise RefusedError(
                    f"This worker could not write: {denied_sentence(denied)} (`invites check`)."
                )
            await shard.shard.ensure()

    def _wait_after(self, error: Exception) -> None:
        """Log what the start waits for. Raises an error that waiting does not cure."""
        match kind := classify(error):
            case ErrorKind.REFUSED if isinstance(error, LayoutError) and error.comes:
                self._wait_for_move(error)
            case ErrorKind.MOVED if isinstance(error, MovedError) and self._context.clients.kind != "cluster":
                raise RefusedError(
                    "This Redis node belongs to a cluster and does not own the shard: "
                    "use `redis+cluster://` in `redis.url`."
                ) from None
            case ErrorKind.UNAVAILABLE | ErrorKind.FULL | ErrorKind.MOVED:
                self.readiness.trouble = str(error)
                self._context.outage.met(_ROLE, error)
            case ErrorKind.BUG if isinstance(error, RedisError):
                said = str(error).rstrip(". ")
                raise RefusedError(f"Redis cannot be used: {said}: see `invites check`.") from error
            case ErrorKind.NO_GROUP | ErrorKind.REFUSED | ErrorKind.BUG:
                raise error
            case _:
                assert_never(kind)

    def _wait_for_move(self, error: LayoutError) -> None:
        if not self.moving:
            self.moving = True
            self.readiness.trouble = str(error)
            _log.warning("%s", error)

    def _refused(self, error: Exception) -> None:
        """Stop: the calls are spread over another number of shards, or being moved there. Nothing can be committed."""
        if not self.refusal:
            self.refusal = str(error)
            self.moving = True
            _log.error("%s This worker is stopping.", error)
        self.stopping.set()


async def run(config: Config, *, embedded: bool = False) -> int:
    """Run one worker until SIGTERM, SIGINT or SIGHUP; returns the exit status. A second signal ends it at once.

    `embedded` starts a server of its own and ends it with the worker. Raises `HttpError` and `EmbeddedError`.
    """
    with contextlib.ExitStack() as stack:
        if embedded:
            from workers.lab.embedded import EmbeddedValkey

            server = stack.enter_context(EmbeddedValkey())
            url = server.unix_url
            _log.info("The embedded server listens on %s.", server.url)
        elif config.redis.url is None:
            raise ValueError("a worker needs redis.url or a server of its own")
        else:
            url = config.redis.url.reveal()
        return await _run(config, url)


async def _run(config: Config, url: str) -> int:
    from workers.http.server import HttpServer

    consumer = _consumer_name()
    identify(worker=consumer)
    spans = spans_of_environment(consumer)
    service = Service(config, url, consumer=consumer, spans=spans)
    hurry = asyncio.Event()

    def signalled() -> None:
        (hurry if service.stopping.is_set() else service.stopping).set()

    loop = asyncio.get_running_loop()
    signals = stop_signals()
    for number in signals:
        loop.add_signal_handler(number, signalled)
    server = HttpServer(config, service, url)
    try:
        await server.start()
        await service.start()
        freeze_gc()
        await service.wait()
        _log.info("The worker %s is stopping.", service.consumer)
        draining = asyncio.create_task(service.drain())
        hurrying = asyncio.create_task(hurry.wait())
        await asyncio.wait([draining, hurrying], return_when=asyncio.FIRST_COMPLETED)
        await end([draining, hurrying])
        if not draining.cancelled():
            draining.result()
    except RefusedError as error:
        _log.error("%s", error)
        return 1
    finally:
        await service.aclose()
        await server.aclose()
        if spans is not None:
            await asyncio.to_thread(spans.close)
        for number in signals:
            loop.remove_signal_handler(number)
    return 1 if service.refusal else 0


def _sippo_server(config: Config, metrics: Metrics) -> SippoServer | None:
    wac = config.invites.basic.wac
    if wac.address is None or wac.username is None or wac.password is None:
        return None
    return SippoServer(wac, watch=SippoMetrics(metrics.registry))


async def _check_memory_policy(client: Redis) -> None:
    try:
        memory = await client.info("memory")
    except NoPermissionError:
        _log.warning("The memory policy cannot be checked: the Redis user may not ask for INFO.")
        return
    policy, limit = memory.get("maxmemory_policy"), memory.get("maxmemory")
    if policy == "noeviction":
        return
    remedy = "Set `maxmemory-policy noeviction`."
    if limit:
        raise RefusedError(
            f"Redis evicts keys when it is full (maxmemory-policy {policy}), and so would lose calls. {remedy}"
        )
    _log.warning("Redis would lose calls once it has a maxmemory: its policy is %s. %s", policy, remedy)


def _consumer_name() -> str:
    """A name that no other worker has, not even one of the same host, process id and past."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
