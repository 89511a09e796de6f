"""`invites bench gateway`: measures the way of a call through a WebSocket gateway, from frame to frame.

The devices are connections of this process, so it shares the machine with the gateway, the workers and the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
import jwt
import msgspec

from workers.lab.bench.fleet import STUCK_S, Fleet, open_fleet
from workers.lab.bench.latency import NotReachedError, percentile
from workers.lab.bench.target import BenchError, open_target
from workers.lab.child_process import ChildProcess
from workers.lab.gateway_process import port_of, start_gateway

WARM_UP_S: Final = 2.0
"""Calls in this time are not counted."""

_RINGING: Final = 3  # devices of each callee
_CONNECTING: Final = 100  # at once
_REACHED: Final = 0.98  # of the requested rate
_POLL_S: Final = 0.02


class GatewayLatency(msgspec.Struct, frozen=True):
    """The result: connected devices, offered calls a second, and latencies, ms.

    A latency is the time from a device's frame until the frame that it causes has come: `invite` to each `invitation`,
    and `accept` to each `invitationCancel`.
    """

    devices: int
    rate: float
    invite_p50_ms: float
    invite_p99_ms: float
    accept_p50_ms: float
    accept_p99_ms: float


class Plan(msgspec.Struct, frozen=True):
    """What to measure, on which server (None: our own), and under which rules (see `throughput.Plan`)."""

    devices: int
    rate: float
    seconds: float
    workers: int
    url: str | None
    rules: dict[str, Any]


class _Frame(msgspec.Struct):
    type: str
    payload: dict[str, Any]


_FRAMES: Final = msgspec.json.Decoder(_Frame)


def measure(plan: Plan, tell: Callable[[str], None]) -> GatewayLatency:
    """Connect the devices, offer the calls, and summarize. Raises `BenchError` when there is no valid result."""
    secret = secrets.token_hex(32)
    with open_target(plan.url) as target:
        target.make_groups(counted=False)
        configuration = {
            "redis": {"prefix": target.prefix},
            "gateway": {"secret": secret, "messagesPerSecond": 10_000},
        }
        with (
            open_fleet(target, plan.workers, plan.rules) as fleet,
            start_gateway(target.url, configuration) as gateway,
        ):
            return asyncio.run(_Run(plan, secret, fleet, gateway, tell).measure())


class _Run:
    def __init__(
        self, plan: Plan, secret: str, fleet: Fleet, gateway: ChildProcess, tell: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._secret = secret
        self._fleet = fleet
        self._gateway = gateway
        self._tell = tell
        self._callees = max(1, plan.devices // (_RINGING + 1))
        self._sockets: dict[str, aiohttp.ClientWebSocketResponse] = {}
        self._sent: dict[str, float] = {}
        self._accepted: dict[str, float] = {}
        self._rang_s: list[float] = []
        self._stopped_s: list[float] = []
        self._ended = 0

    async def measure(self) -> GatewayLatency:
        plan = self._plan
        port = await self._port()
        calls = int(plan.rate * (WARM_UP_S + plan.seconds))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            self._tell(f"connecting {self._callees * (_RINGING + 1):,} devices")
            turn = asyncio.Semaphore(_CONNECTING)
            names = [f"caller-{number}" for number in range(self._callees)]
            names += [
                f"callee-{number}|{device}" for number in range(self._callees) for device in range(_RINGING)
            ]
            async with self._patience("Not all devices could register"), asyncio.TaskGroup() as connecting:
                for name in names:
                    connecting.create_task(self._connect(http, turn, port, name))
            await self._play(calls)
        counted = int(WARM_UP_S * plan.rate)
        rang, stopped = self._rang_s[counted * _RINGING :], self._stopped_s[counted * (_RINGING - 1) :]
        return GatewayLatency(
            len(names),
            plan.rate,
            *(round(percentile(part, share) * 1e3, 3) for part in (rang, stopped) for share in (0.5, 0.99)),
        )

    async def _play(self, calls: int) -> None:
        gc.collect()
        gc.disable()  # a collection that visits all these connections would stop every one of them
        listening = [asyncio.create_task(self._hear(name, socket)) for name, socket in self._sockets.items()]
        offering = asyncio.create_task(self._offer(calls))
        try:
            done, _ = await asyncio.wait([offering, *listening], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not offering.done():
                raise BenchError("The gateway has closed a connection.")
        finally:
            for task in (offering, *listening):
                task.cancel()
            await asyncio.gather(offering, *listening, return_exceptions=True)
            gc.enable()

    async def _port(self) -> int:
        async with self._patience("The gateway does not listen"):
            while (port := port_of(self._gateway)) is None:  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(_POLL_S)
        return port

    async def _connect(
        self, http: aiohttp.ClientSession, turn: asyncio.Semaphore, port: int, name: str
    ) -> None:
        token = jwt.encode(
            {"sub": name.partition("|")[0], "exp": time.time() + 3_600}, self._secret, algorithm="HS256"
        )
        async with turn:
            socket = await http.ws_connect(f"http://127.0.0.1:{port}/ws", compress=0)
            await socket.send_str(_message("login", token=token))
            await socket.receive()
            # Its answer comes after its registration: from then on it can be called.
            await socket.send_str(_message("getInvitations"))
            while _FRAMES.decode((await socket.receive()).data).type != "answer":
                pass
        self._sockets[name] = socket

    async def _offer(self, calls: int) -> None:
        self._tell(f"offering {self._plan.rate:,.0f} calls/s")
        began = time.perf_counter()
        for call in range(calls):
            wait = began + call / self._plan.rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            who = call % self._callees
            self._sent[str(call)] = time.perf_counter()
            await self._sockets[f"caller-{who}"].send_str(
                _message("invite", to=f"callee-{who}", inviteId=str(call), room="r")
            )
        offered = calls / (time.perf_counter() - began)
        async with self._patience("Not all calls have ended"):
            while self._ended < calls:
                self._fleet.check()
                await asyncio.sleep(_POLL_S)
        if offered < _REACHED * self._plan.rate:
            raise NotReachedError(f"Only {offered:,.0f} calls/s were offered, not {self._plan.rate:,.0f}.")

    async def _hear(self, name: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for received in socket:
            now, frame = time.perf_counter(), _FRAMES.decode(received.data)
            call = frame.payload.get("inviteId", "")
            if frame.type == "invitation":
                self._rang_s.append(now - self._sent[call])
                if name.endswith("|0"):
                    self._accepted[call] = time.perf_counter()
                    said = {"from": frame.payload["from"], "inviteId": call}
                    await socket.send_str(_message("accept", **said))
            elif frame.type == "invitationCancel":
                self._stopped_s.append(now - self._accepted[call])
            elif frame.type == "inviteAccepted":
                self._ended += 1
            elif frame.type in {"error", "inviteRejected"}:
                raise BenchError(f"{name} got {frame.type}: {frame.payload}")

    @contextlib.asynccontextmanager
    async def _patience(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(STUCK_S):
                yield
        except TimeoutError:
            words = f"{self._gateway.output()}\n{self._fleet.words()}".strip()
            raise BenchError(f"{what} within {STUCK_S:.0f} s. {words}".strip()) from None


def _message(kind: str, **payload: object) -> str:
    return msgspec.json.encode({"type": kind, "payload": payload}).decode()
