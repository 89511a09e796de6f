"""Runs the demo: a server, a worker, a sippo-server, devices and their calls. It leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from redis.exceptions import RedisError
from rich.console import Console

from invites.connection.clients import connect
from invites.keys import Keys, Stream
from invites.sippo import PushDevice
from workers.lab.child_process import ChildProcess
from workers.lab.demo import edges, reaching, scenes
from workers.lab.demo.calls import Cast, registration
from workers.lab.demo.devices import Device, Gateway, MissingError
from workers.lab.demo.renderer import Renderer
from workers.lab.demo.scenes import GRACE_MS
from workers.lab.embedded import EmbeddedValkey
from workers.lab.fake_sippo import Directory, FakeSippo, GroupEntry
from workers.lab.worker_process import start_worker

_WORKER_START_MS = 10_000  # a cold start on a busy machine; usually half a second
_START_SLICE_MS = 200
_PICTURED = 3  # scenes; more make the picture too tall for a page


async def play(
    console: Console | None = None, *, pace_s: float | None = None, svg: Path | None = None
) -> int:
    """Play the calls in the terminal, in less than 20 s, and write a picture of the first to `svg`.

    Returns 0, or 1 when an expected notification is missing (and prints which). Starts its own server and worker, and
    ends both, even when it is cancelled. Raises EmbeddedError when there is no server to start.
    """
    alice = Device("Alice", "alice", "alice-laptop-1", "alice-laptop", "1")
    phone = Device("phone", "bob", "bob-phone-1", "bob-phone", "1")
    tablet = Device("tablet", "bob", "bob-tablet-1", "bob-tablet", "1")
    desk = Device("computer", "bob", "bob-desk-1", "bob-desk", "1")
    members = tuple(_phone_of(user) for user in ("carol", "dave", "erin"))
    sleeper = Device("Frank's phone", "frank", "frank-phone-1", "frank-phone", "1")
    trunk = Device("trunk", "pstn", "pstn-1", "pstn", "1")
    services = Device("services")
    renderer = Renderer([device.name for device in (alice, phone, tablet, desk)], console, pace_s)
    if svg is not None:
        renderer.record()
    keys = Keys()
    try:
        with _server(renderer) as url:
            async with FakeSippo(_directory(sleeper, members)) as fake_sippo:
                renderer.line(f"A fake sippo-server listens on {fake_sippo.address}.")
                began = time.perf_counter()
                with _worker(url, fake_sippo) as worker:
                    async with Gateway(url, keys, services) as gateway:
                        cast = Cast(
                            gateway,
                            renderer,
                            fake_sippo,
                            alice,
                            phone,
                            tablet,
                            desk,
                            members,
                            sleeper,
                            trunk,
                            services,
                        )
                        await _perform(cast, worker, began)
            await _nothing_left(url, keys, cast)
            renderer.line()
            renderer.line(_summary(cast))
            renderer.line("✓ Nobody rings any more, every event is settled.", "bold green")
    except (MissingError, RedisError) as error:
        renderer.line()
        renderer.line(f"✗ {error}", "bold red")
        return 1
    if svg is not None:
        try:
            await asyncio.to_thread(svg.write_text, renderer.picture, "utf-8")
        except OSError as error:
            renderer.line(f"✗ The picture cannot be written: {error}", "bold red")
            return 1
    return 0


async def _perform(cast: Cast, worker: ChildProcess, worker_began: float) -> None:
    try:
        await _register(cast, worker, worker_began)
        for number, scene in enumerate((*scenes.SCENES, *reaching.SCENES, *edges.SCENES), 1):
            await scene(cast, number)
            if number == _PICTURED:
                cast.renderer.take_picture()
    except MissingError as error:
        raise MissingError(f"{error}{_last_words(worker)}") from None


@contextlib.contextmanager
def _server(renderer: Renderer) -> Iterator[str]:
    began = time.perf_counter()
    with EmbeddedValkey() as server:
        took_ms = (time.perf_counter() - began) * 1000
        renderer.line(
            f"Valkey started in {took_ms:.0f} ms. Look inside meanwhile: redis-cli -p {server.port}"
        )
        yield server.url


@contextlib.contextmanager
def _worker(url: str, fake_sippo: FakeSippo) -> Iterator[ChildProcess]:
    basic = {"removeAfter": GRACE_MS, "resolveGroups": True, "resolvePush": True, "wac": fake_sippo.wac}
    worker = start_worker(url, {"invites": {"basic": basic}})
    try:
        yield worker
    finally:
        worker.terminate()


async def _register(cast: Cast, worker: ChildProcess, began: float) -> None:
    """Register the devices. The worker is still starting and finds the events in the stream."""
    for device in cast.present:
        cast.gateway.attach(device)
        leads = {"type": "PSTN", "trunk": True, "match": r"\+[0-9]+"} if device is cast.trunk else {}
        await cast.gateway.publish("registered", {"registry": registration(device, **leads)})
    await cast.gateway.publish("getInvitations", {"peer": cast.phone.identity, "transaction": "hello"})
    with cast.renderer.waiting("the worker starts"):
        await _answer(cast.phone, worker)
    took_ms = (time.perf_counter() - began) * 1000
    cast.renderer.line(
        f"The worker (process {worker.pid}) made its first commit {took_ms:.0f} ms after its start."
    )
    cast.renderer.line("ms: the time from XADD until every recipient has read its notification.", "dim")


async def _answer(device: Device, worker: ChildProcess) -> None:
    """Wait for the worker's first answer, but only while the worker runs."""
    deadline = time.monotonic() + _WORKER_START_MS / 1000
    while True:
        try:
            await device.expect("answer", _START_SLICE_MS, request="getInvitations", code=200)
        except MissingError:
            if not worker.running() or time.monotonic() > deadline:
                raise
        else:
            return


async def _nothing_left(url: str, keys: Keys, cast: Cast) -> None:
    async with connect(url, "demo") as client:
        ringing = unsettled = 0
        for user in {device.user for device in (*cast.present, cast.sleeper)}:
            ringing += await client.execute_command("SCARD", keys.pending(user))
        for source in Stream:
            summary = await client.execute_command("XPENDING", source.key(keys), source.group)
            unsettled += summary["pending"]
        dead = await client.execute_command("XLEN", keys.dead)
    if ringing or unsettled or dead:
        raise MissingError(
            f"The calls are over, but {ringing} still ring, {unsettled} entries are not settled and {dead} are dead."
        )


def _phone_of(user: str) -> Device:
    return Device(user.capitalize(), user, f"{user}-phone-1", f"{user}-phone", "1")


def _directory(sleeper: Device, members: Sequence[Device]) -> Directory:
    """The fake sippo-server's directory: a phone that a push can wake, and the group."""
    return Directory(
        users={sleeper.user: [PushDevice(sleeper.hardware, "ios")]},
        groups={reaching.GROUP: GroupEntry([device.user for device in members])},
    )


def _summary(cast: Cast) -> str:
    """The figures of the run, in one paragraph."""
    took = sorted(cast.took_ms)
    counts = ", ".join(f"{cast.states.count(state)} {state}" for state in dict.fromkeys(cast.states))
    asked = sum(cast.fake_sippo.requests.values())
    return (
        f"{len(cast.states)} calls, {cast.gateway.published} events: {counts}. "
        f"Recipients had read an event's notifications after {statistics.median(took):.1f} ms (median), "
        f"{took[-1]:.1f} ms at most. The ring time ended {cast.late_ms:.1f} ms late. "
        f"sippo-server got {asked} requests."
    )


def _last_words(worker: ChildProcess) -> str:
    status = worker.wait(0)
    ended = "" if status is None else f" The worker ended with status {status}."
    output = worker.output()
    return ended + (f" The worker printed: {output}" if output else "")
