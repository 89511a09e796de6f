"""The play: a server, a worker, a sippo-server, devices and eight calls on this machine; nothing left at the end."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence

from redis.exceptions import RedisError
from rich.console import Console

from invites.commit import Source
from invites.connections import connect
from invites.embedded import EmbeddedValkey
from invites.guarded import GuardedProcess
from invites.keys import Keys
from invites.sippo import PushDevice
from workers.demo import reaching, scenes
from workers.demo.calls import Cast, registration
from workers.demo.devices import Device, Gateway, MissingError
from workers.demo.scenes import GRACE_MS
from workers.demo.stage import Stage
from workers.processes import start_worker
from workers.standin import Directory, GroupEntry, StandIn

_WORKER_START_MS = 10_000  # a cold start on a busy machine; usually half a second
_START_SLICE_MS = 200


async def play(console: Console | None = None, *, pace_s: float | None = None) -> int:
    """Play eight calls in the terminal, in less than 20 s.

    Returns 0, or 1 when something that must be heard was not (it says what). Starts a server and a worker of
    its own and ends both, also when it is cancelled. Raises `EmbeddedError` when there is no server to start.
    """
    alice = Device("Alice", "alice", "alice-laptop-1", "alice-laptop", "1")
    phone = Device("phone", "bob", "bob-phone-1", "bob-phone", "1")
    tablet = Device("tablet", "bob", "bob-tablet-1", "bob-tablet", "1")
    desk = Device("computer", "bob", "bob-desk-1", "bob-desk", "1")
    members = tuple(_phone_of(user) for user in ("carol", "dave", "erin"))
    sleeper = Device("Frank's phone", "frank", "frank-phone-1", "frank-phone", "1")
    trunk = Device("trunk", "pstn", "pstn-1", "pstn", "1")
    services = Device("services")
    stage = Stage([device.name for device in (alice, phone, tablet, desk)], console, pace_s)
    keys = Keys()
    try:
        with _server(stage) as url:
            async with StandIn(_directory(sleeper, members)) as standin:
                stage.line(f"A stand-in for sippo-server, on {standin.address}.")
                began = time.perf_counter()
                with _worker(url, standin) as worker:
                    async with Gateway(url, keys, services) as gateway:
                        cast = Cast(
                            gateway,
                            stage,
                            standin,
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
            stage.line()
            stage.line(_summary(cast))
            stage.line("✓ Nobody rings any more, every event is settled.", "bold green")
    except (MissingError, RedisError) as error:
        stage.line()
        stage.line(f"✗ {error}", "bold red")
        return 1
    return 0


async def _perform(cast: Cast, worker: GuardedProcess, worker_began: float) -> None:
    try:
        await _curtain_up(cast, worker, worker_began)
        for number, scene in enumerate((*scenes.SCENES, *reaching.SCENES), 1):
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
def _worker(url: str, standin: StandIn) -> Iterator[GuardedProcess]:
    basic = {"removeAfter": GRACE_MS, "resolveGroups": True, "resolvePush": True, "wac": standin.wac}
    worker = start_worker(url, {"invites": {"basic": basic}})
    try:
        yield worker
    finally:
        worker.terminate()


async def _curtain_up(cast: Cast, worker: GuardedProcess, began: float) -> None:
    """Register the devices; the worker, which is still starting, will find that in the stream."""
    for device in cast.present:
        cast.gateway.attach(device)
        leads = {"type": "PSTN", "trunk": True, "match": r"\+[0-9]+"} if device is cast.trunk else {}
        await cast.gateway.publish("registered", {"registry": registration(device, **leads)})
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


async def _nothing_left(url: str, keys: Keys, cast: Cast) -> None:
    async with connect(url, "demo") as client:
        ringing = unsettled = 0
        for user in {device.user for device in (*cast.present, cast.sleeper)}:
            ringing += await client.execute_command("SCARD", keys.pending(user))
        for source in Source:
            summary = await client.execute_command("XPENDING", source.stream(keys), source.group)
            unsettled += summary["pending"]
        dead = await client.execute_command("XLEN", keys.dead)
    if ringing or unsettled or dead:
        raise MissingError(
            f"The calls are over, but {ringing} still ring, {unsettled} entries are unsettled, {dead} dead."
        )


def _phone_of(user: str) -> Device:
    return Device(user.capitalize(), user, f"{user}-phone-1", f"{user}-phone", "1")


def _directory(sleeper: Device, members: Sequence[Device]) -> Directory:
    """What the stand-in knows: one phone that can be woken, and the group."""
    return Directory(
        users={sleeper.user: [PushDevice(sleeper.hardware, "ios")]},
        groups={reaching.GROUP: GroupEntry([device.user for device in members])},
    )


def _summary(cast: Cast) -> str:
    """What the calls came to, in one sentence each."""
    took = sorted(cast.took_ms)
    counts = ", ".join(f"{cast.states.count(state)} {state}" for state in dict.fromkeys(cast.states))
    asked = sum(cast.standin.requests.values())
    return (
        f"{len(cast.states)} calls, {cast.gateway.published} events: {counts}. "
        f"All who had to hear of an event had read it after {statistics.median(took):.1f} ms (median), "
        f"{took[-1]:.1f} ms at the latest. The ring time ended {cast.late_ms:.1f} ms late. "
        f"sippo-server was asked {asked} times meanwhile."
    )


def _last_words(worker: GuardedProcess) -> str:
    status = worker.wait(0)
    ended = "" if status is None else f" The worker ended with status {status}."
    output = worker.output()
    return ended + (f" The worker said: {output}" if output else "")
