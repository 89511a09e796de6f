"""The HTTP server of the fake sippo-server: the five calls of the API, its counters, and its faults."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote

import msgspec
from aiohttp import web

from invites.config import Paths
from invites.sippo.calls import ApiCall, PushJob
from workers.lab.fake_sippo.directory import Directory
from workers.lab.fake_sippo.faults import Fault, inflict

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST: Final = "127.0.0.1"
_STOP_WITHIN_S: Final = 1.0
_LONGEST_LINE: Final = 16_384
_ANY: Final = "*"


class ReceivedPush(msgspec.Struct, frozen=True, rename="camel"):
    """An accepted push, when it arrived (ms since 1970), and its header `traceparent`, None without one."""

    job: PushJob
    at: int
    traceparent: str | None = None


class _Credentials(msgspec.Struct):
    username: str
    password: str


class FakeSippo:
    """A sippo-server on 127.0.0.1; `async with` starts and stops it.

    `token_lifetime` is in s. Port 0 means any free port. `requests` counts requests by call, `asked` lists call and id
    in order, `connections` counts connections, and `most_at_once` is the largest number of concurrent requests.
    """

    def __init__(
        self,
        directory: Directory | None = None,
        *,
        username: str = "admin@quobis",
        password: str = "fake-sippo",  # noqa: S107 - it protects nothing
        token_lifetime: float = 3600.0,
        paths: Paths | None = None,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = Directory() if directory is None else directory
        self.token_lifetime = token_lifetime
        self.requests: Counter[str] = Counter()
        self.asked: list[tuple[str, str]] = []
        self.pushes: list[ReceivedPush] = []
        self.most_at_once = 0
        self._at_once = 0
        self._peers: set[tuple[str, int]] = set()
        self._credentials = _Credentials(username, password)
        self._port = port
        self._clock = clock
        self._tokens: dict[str, float] = {}
        self._faults: dict[str, tuple[Fault, int | None]] = {}
        self._paths = Paths() if paths is None else paths
        self._routes = _routes(self._paths)
        self._healed = asyncio.Event()
        self._ending = asyncio.Event()
        self._pushed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        """The value for `wac.address`."""
        if self._runner is None:
            raise RuntimeError("the fake sippo-server has not been started")
        return f"http://{_HOST}:{self._runner.addresses[0][1]}"

    @property
    def wac(self) -> dict[str, Any]:
        """The settings for `invites.basic.wac`."""
        known = msgspec.structs.asdict(self._credentials)
        paths = {} if self._paths == Paths() else {"paths": msgspec.to_builtins(self._paths)}
        return {"address": self.address, **known, **paths}

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return len(self._peers)

    @property
    def under_way(self) -> int:
        """The number of requests that wait for a reply."""
        return self._at_once

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        server = None if self._runner is None else self._runner.server
        return 0 if server is None else len(server.connections)

    @property
    def faults(self) -> Mapping[str, Fault]:
        """The active faults, by call or `*`."""
        return {call: fault for call, (fault, _) in self._faults.items()}

    def fault(self, fault: Fault, call: str = _ANY, times: int | None = None) -> None:
        """Inject a fault into `call`, or into all calls without a fault of their own; only `times` times if given."""
        if call != _ANY:
            ApiCall(call)
        self._faults[call] = (fault, times)

    def heal(self) -> None:
        """End all faults. Slow requests are answered; those that hang continue to hang."""
        self._faults.clear()
        self._healed.set()
        self._healed = asyncio.Event()

    def revoke_tokens(self) -> None:
        """Forget all logins, as after a restart."""
        self._tokens.clear()

    async def pushed(
        self, device: str, kind: str = "invitation", nth: int = 1, within_ms: int = 15_000
    ) -> ReceivedPush:
        """Wait for the `nth` push of a kind to a device. Earlier pushes count too. Raises TimeoutError."""

        def found() -> list[ReceivedPush]:
            return [push for push in self.pushes if (push.job.device, push.job.type) == (device, kind)]

        async with asyncio.timeout(within_ms / 1000), self._pushed:
            await self._pushed.wait_for(lambda: len(found()) >= nth)
            return found()[nth - 1]

    async def pushed_after(self, count: int) -> list[ReceivedPush]:
        """Wait until there are more than `count` pushes, and return the further ones."""
        async with self._pushed:
            await self._pushed.wait_for(lambda: len(self.pushes) > count)
            return self.pushes[count:]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/fake-sippo", self._state)
        app.router.add_post("/fake-sippo/faults", self._set_fault)
        app.router.add_delete("/fake-sippo/faults", self._heal)
        app.router.add_route("*", "/{path:.*}", self._api)
        self._ending.clear()
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            max_line_size=_LONGEST_LINE,
            shutdown_timeout=_STOP_WITHIN_S,
        )
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, _HOST, self._port).start()
        except OSError:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        self._ending.set()
        if runner is not None:
            await runner.cleanup()

    async def _api(self, request: web.Request) -> web.Response:
        for call, (method, pattern) in self._routes.items():
            match = pattern.fullmatch(request.raw_path)
            if match is not None and request.method == method:
                return await self._counted(request, call, unquote("".join(match.groups())))
        return web.Response(status=404)

    async def _counted(self, request: web.Request, call: ApiCall, name: str) -> web.Response:
        if request.transport is not None:
            self._peers.add(request.transport.get_extra_info("peername"))
        self.requests[call] += 1
        self.asked.append((call, name))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            fault = self._next_fault(call)
            answer = None if fault is None else await inflict(fault, request, self._healed, self._ending)
            return await self._answer(request, call, name) if answer is None else answer
        finally:
            self._at_once -= 1

    def _next_fault(self, call: ApiCall) -> Fault | None:
        key = call if call in self._faults else _ANY
        fault, times = self._faults.get(key, (None, None))
        if fault is not None and times is not None:
            self._faults[key] = (fault, times - 1)
            if times <= 1:
                del self._faults[key]
        return fault

    async def _answer(self, request: web.Request, call: ApiCall, name: str) -> web.Response:
        if call is ApiCall.LOGIN:
            return self._log_in(await request.read())
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self._tokens.get(token, 0.0) <= self._clock():
            return web.Response(status=401)
        if call is ApiCall.PUSH:
            return await self._push(await request.read(), request.headers.get("traceparent"))
        look_up = {
            ApiCall.GROUPS: self.directory.group,
            ApiCall.PUSH_DEVICES: self.directory.push_devices,
            ApiCall.REACHABILITY: self.directory.reachability,
        }[call]
        found = look_up(name)
        return web.Response(status=404) if found is None else _json(found)

    def _log_in(self, body: bytes) -> web.Response:
        try:
            credentials = msgspec.json.decode(body, type=_Credentials)
        except msgspec.DecodeError:
            return web.Response(status=400)
        if credentials != self._credentials:
            return web.Response(status=401)
        token = secrets.token_urlsafe()
        self._tokens[token] = self._clock() + self.token_lifetime
        return _json({"token": token, "expiresIn": self.token_lifetime})

    async def _push(self, body: bytes, traceparent: str | None) -> web.Response:
        try:
            job = msgspec.json.decode(body, type=PushJob)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=str(error))
        if f"{job.user}/{job.device}" in self.directory.gone:
            return web.Response(status=410)
        if not self.directory.has_device(job.user, job.device):
            return web.Response(status=404)
        async with self._pushed:
            self.pushes.append(ReceivedPush(job, round(time.time() * 1000), traceparent))
            self._pushed.notify_all()
        return web.Response(status=202)

    async def _state(self, _: web.Request) -> web.Response:
        return _json(
            {
                "requests": self.requests,
                "pushes": self.pushes,
                "faults": self.faults,
                "connections": self.connections,
                "mostAtOnce": self.most_at_once,
            }
        )

    async def _set_fault(self, request: web.Request) -> web.Response:
        """Handle `{"fault": {"kind": …}, "call"?: …, "times"?: …}`."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=_Wanted)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=str(error))
        self.fault(wanted.fault, wanted.call or _ANY, wanted.times)
        return web.Response(status=204)

    async def _heal(self, _: web.Request) -> web.Response:
        self.heal()
        return web.Response(status=204)


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    fault: Fault
    call: ApiCall | None = None
    times: int | None = None


def _routes(paths: Paths) -> dict[ApiCall, tuple[str, re.Pattern[str]]]:
    """Method and path pattern of each call. Paths are matched before decoding, so that an id may contain a `/`."""
    templates: dict[str, str] = msgspec.to_builtins(paths)
    return {
        call: (
            "POST" if call in {ApiCall.LOGIN, ApiCall.PUSH} else "GET",
            re.compile(r"([^/?&#]+)".join(map(re.escape, re.split(r"\{\w+\}", templates[call])))),
        )
        for call in ApiCall
    }


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")
