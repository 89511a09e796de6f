"""The play: a server, a worker, four devices and five calls on this machine, and nothing left at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from redis.exceptions import RedisError
from rich.console import Console

from invites.connections import connect
from invites.embedded import EmbeddedError, EmbeddedValkey
from invites.guarded import GuardedProcess
from invites.keys import WORKERS_GROUP, Keys
from workers.demo.devices import Device, Gateway, MissingError
from workers.demo.scenes import GRACE_MS, SCENES, Cast, registration, summary
from workers.demo.stage import Stage
from workers.processes import start_worker

_WORKER_START_MS = 10_000  # a cold start on a busy machine; usually half a second
_START_SLICE_MS = 200


async def play(console: Console | None = None, *, pace_s: float | None = None) -> int:
    """Play five calls in the terminal, in less than 20 s.

    Returns 0, or 1 when something that must be heard was not (it says what). Starts a server and a worker of
    its own and ends both, also when it is cancelled.
    """
    alice = Device("Alice", "alice", "alice-laptop-1", "alice-laptop", "1")
    phone = Device("phone", "bob", "bob-phone-1", "bob-phone", "1")
    tablet = Device("tablet", "bob", "bob-tablet-1", "bob-tablet", "1")
    desk = Device("computer", "bob", "bob-desk-1", "bob-desk", "1")
    services = Device("services")
    stage = Stage([device.name for device in (alice, phone, tablet, desk)], console, pace_s)
    keys = Keys()
    try:
        with _server(stage) as url:
            began = time.perf_counter()
            with _worker(url) as worker:
                async with Gateway(url, keys, services) as gateway:
                    cast = Cast(gateway, stage, alice, phone, tablet, desk, services)
                    await _perform(cast, worker, began)
            await _nothing_left(url, keys, phone.user)
            stage.line()
            stage.line(summary(cast))
            stage.line("✓ Nobody rings any more, every event is settled.", "bold green")
    except (MissingError, EmbeddedError, RedisError) as error:
        stage.line()
        stage.line(f"✗ {error}", "bold red")
        return 1
    return 0


async def _perform(cast: Cast, worker: GuardedProcess, worker_began: float) -> None:
    try:
        await _curtain_up(cast, worker, worker_began)
        for number, scene in enumerate(SCENES, 1):
            await scene(cast, number)
    except MissingError as error:
        raise MissingError(f"{error}{_last_words(worker)}") from None


@contextlib.contextmanager
def _server(stage: Stage) -> Iterator[str]:
    began = time.perf_counter()
    with EmbeddedValkey() as server:
        took_ms = (time.perf_counter() - began) * 1000
        stage.line(f"Valkey, started in {took_ms:.0f} ms. While it plays: redis-cli -p {server.port}")
        yield server.url


@contextlib.contextmanager
def _worker(url: str) -> Iterator[GuardedProcess]:
    worker = start_worker(url, {"invites": {"basic": {"removeAfter": GRACE_MS}}})
    try:
        yield worker
    finally:
        worker.terminate()


async def _curtain_up(cast: Cast, worker: GuardedProcess, began: float) -> None:
    """Register the devices; the worker, which is still starting, will find that in the stream."""
    for device in (cast.alice, *cast.bobs):
        cast.gateway.attach(device)
        await cast.gateway.publish("registered", {"registry": registration(device)})
    await cast.gateway.publish("getInvitations", {"peer": cast.phone.identity, "transaction": "hello"})
    with cast.stage.waiting("the worker starts"):
        await _answer(cast.phone, worker)
    took_ms = (time.perf_counter() - began) * 1000
    cast.stage.line(f"Worker, process {worker.pid}: first commit {took_ms:.0f} ms after its start.")
    cast.stage.line("ms: from just before XADD until all who must hear of it have read it.", "dim")


async def _answer(device: Device, worker: GuardedProcess) -> None:
    """Wait for the worker's first answer, but not for that of a worker that has ended."""
    deadline = time.monotonic() + _WORKER_START_MS / 1000
    while True:
        try:
            await device.expect("answer", _START_SLICE_MS, request="getInvitations", code=200)
        except MissingError:
            if not worker.running() or time.monotonic() > deadline:
                raise
        else:
            return


async def _nothing_left(url: str, keys: Keys, user: str) -> None:
    async with connect(url, "demo") as client:
        ringing = await client.execute_command("SCARD", keys.pending(user))
        unsettled = (await client.execute_command("XPENDING", keys.events, WORKERS_GROUP))["pending"]
        dead = await client.execute_command("XLEN", keys.dead)
    if ringing or unsettled or dead:
        raise MissingError(
            f"The calls are over, but {ringing} still ring, {unsettled} events are unsettled, {dead} dead."
        )


def _last_words(worker: GuardedProcess) -> str:
    status = worker.wait(0)
    ended = "" if status is None else f" The worker ended with status {status}."
    output = worker.output()
    return ended + (f" The worker said: {output}" if output else "")
