"""Calls the sippo-server API: with a token, a deadline, retries where they help, and a circuit breaker."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import msgspec
from cachetools import TTLCache
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from invites.config import Wac
from invites.sippo.answers import Group, PushDevice, PushDevices, Reachability, decode
from invites.sippo.breaker import Admission, Breaker
from invites.sippo.calls import ApiCall, CallOutcome, NoAnswer, PushJob, PushResult, Unwatched, Watch
from invites.sippo.login import Login
from invites.sippo.timing import Budget, Timing
from invites.sippo.transport import Request, Transport

_Answer = TypeVar("_Answer")

_AGAIN: Final = frozenset({CallOutcome.TIMEOUT, CallOutcome.LOST, CallOutcome.ERROR, CallOutcome.LIMITED})
# Outcomes that count as failures for the breaker, and those that show that the server is up.
_DEAD: Final = frozenset({CallOutcome.TIMEOUT, CallOutcome.LOST, CallOutcome.ERROR, CallOutcome.UNAUTHORIZED})
_ALIVE: Final = frozenset({CallOutcome.REFUSED, CallOutcome.NONSENSE})
_LOOKUPS: Final = (ApiCall.GROUPS, ApiCall.PUSH_DEVICES, ApiCall.REACHABILITY)

# How long a lookup waits when it is the probe. Devices must ring within 50 ms while sippo-server is down. The probe
# itself continues in the background.
_PROBE_PATIENCE_S: Final = 0.03

# Not valid ids, and in a path they would name another resource, however they are encoded.
_STEPS: Final = frozenset({".", ".."})

_MOST_GROUPS: Final = 1_000  # in the cache, which drops the least recently used ones first

_log = logging.getLogger(__name__)


class SippoServer:
    """The client of the sippo-server API; `async with` opens and closes it.

    All methods raise NoAnswer when there is no valid reply, after `wac.deadline` ms at the latest. Calls may be
    concurrent: at most `wac.max_concurrent` lookups and as many pushes are sent at the same time. Each kind of call
    has its own circuit breaker, so that lookups continue while pushes fail.

    Raises ValueError when `wac` lacks address, username or password.
    """

    def __init__(self, wac: Wac, *, watch: Watch | None = None, timing: Timing | None = None) -> None:
        if wac.address is None or wac.username is None or wac.password is None:
            raise ValueError("sippo-server needs an address, a username and a password")
        self._wac = wac
        self._address, self._username, self._password = wac.address, wac.username, wac.password
        self._watch = Unwatched() if watch is None else watch
        self._timing = Timing() if timing is None else timing
        # With a lifetime of 0 an entry has expired as soon as it is stored.
        self._groups: TTLCache[str, Group | None] = TTLCache(
            _MOST_GROUPS, wac.group_cache / 1000, self._timing.clock
        )
        lookups, pushes = asyncio.Semaphore(wac.max_concurrent), asyncio.Semaphore(wac.max_concurrent)
        self._slots = {ApiCall.PUSH: pushes, **dict.fromkeys(_LOOKUPS, lookups)}
        self._breakers = {call: self._breaker(call) for call in self._slots}
        self._probes: set[asyncio.Task[Any]] = set()
        self._opened: tuple[Transport, Login] | None = None

    async def __aenter__(self) -> Self:
        transport = Transport(self._address, self._timing, self._watch)
        path, timeout = self._wac.paths.login, self._wac.timeout / 1000
        login = Login(transport, path, self._username, self._password, timeout, self._timing)
        self._opened = (transport, login)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        transport, login = opened
        for probe in self._probes:
            probe.cancel()
        if self._probes:
            await asyncio.wait(self._probes)
        await login.close()
        await transport.close()

    @property
    def failing(self) -> list[str]:
        """The calls that fail at once, because sippo-server has not answered them lately."""
        return sorted(call.value for call, breaker in self._breakers.items() if breaker.open)

    async def group(self, group: str) -> Group | None:
        """The group with this id, or None when there is none. Both answers are cached for `wac.group_cache` ms."""
        with contextlib.suppress(KeyError):
            return self._groups[group]
        found = await self._look_up(ApiCall.GROUPS, self._wac.paths.groups, "{id}", group, Group)
        self._groups[group] = found
        return found

    async def push_devices(self, user: str) -> list[PushDevice] | None:
        """The devices of a user that a push can wake; None when there is no such user."""
        path = self._wac.paths.push_devices
        found = await self._look_up(ApiCall.PUSH_DEVICES, path, "{user}", user, PushDevices)
        return None if found is None else list(found.devices)

    async def reachability(self, resource: str) -> Reachability | None:
        """A resource as the Reachability service knows it; None when it does not."""
        path = self._wac.paths.reachability
        return await self._look_up(ApiCall.REACHABILITY, path, "{resource}", resource, Reachability)

    async def push(self, job: PushJob, *, once: bool = False, traceparent: str = "") -> PushResult:
        """Push to one device, with retries until `wac.deadline` or the end of the job's `ttl`.

        `once` makes a single attempt, for callers with retries of their own. `traceparent` is the header, "" for none.
        """
        if job.ttl <= 0:
            raise NoAnswer(CallOutcome.TIMEOUT, ApiCall.PUSH, "its ttl is over")
        statuses = {202: PushResult.TAKEN, 404: PushResult.GONE, 410: PushResult.GONE}
        body = msgspec.json.encode(job)
        request = Request(
            ApiCall.PUSH, self._wac.paths.push, statuses=statuses, body=body, traceparent=traceparent
        )
        return await self._call(request, min(self._wac.deadline / 1000, job.ttl), once=once)

    async def _look_up(
        self, call: ApiCall, path: str, placeholder: str, name: str, kind: type[_Answer]
    ) -> _Answer | None:
        if name in _STEPS:
            return None

        def read(body: bytes) -> _Answer | None:
            return decode(call, kind, body)

        path = path.replace(placeholder, quote(name, safe=""))
        request: Request[_Answer | None] = Request(call, path, decode=read, statuses={404: None})
        return await self._call(request, self._wac.deadline / 1000)

    async def _call(self, request: Request[_Answer], within: float, *, once: bool = False) -> _Answer:
        """One call with all its requests, within `within` s."""
        if self._opened is None:
            raise RuntimeError("the sippo-server client is not open")
        call, clock = request.call, self._timing.clock
        began, outcome = clock(), None
        try:
            answer = await self._admitted(request, Budget(within, clock), once=once)
            unknown = answer is None or answer is PushResult.GONE
            outcome = CallOutcome.UNKNOWN if unknown else CallOutcome.FOUND
        except NoAnswer as error:
            outcome = error.reason
            raise
        else:
            return answer
        finally:
            if outcome is not None:  # None: the caller was cancelled
                self._watch.called(call, outcome, clock() - began)

    async def _admitted(self, request: Request[_Answer], budget: Budget, *, once: bool) -> _Answer:
        breaker = self._breakers[request.call]
        admission = breaker.admit()
        if admission is Admission.REFUSED:
            raise _not_sent(request.call)
        if admission is Admission.PROBE:
            return await self._probe(request, budget, breaker)
        attempt = self._attempt if once else self._repeatedly
        return await attempt(request, budget, breaker)

    async def _repeatedly(self, request: Request[_Answer], budget: Budget, breaker: Breaker) -> _Answer:
        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            asked = error.retry_after if isinstance(error, NoAnswer) else 0.0
            return max(asked, self._timing.backoff(state))

        def stop(state: RetryCallState) -> bool:
            return breaker.open or self._opened is None or state.upcoming_sleep >= budget.left()

        attempts = AsyncRetrying(
            sleep=self._timing.sleep,
            wait=wait,
            stop=stop,
            retry=retry_if_exception(lambda error: isinstance(error, NoAnswer) and error.reason in _AGAIN),
            reraise=True,
        )
        return await attempts(self._attempt, request, budget, breaker)

    async def _probe(self, request: Request[_Answer], budget: Budget, breaker: Breaker) -> _Answer:
        """Test whether sippo-server is up again. A lookup waits only briefly for the result."""

        async def probe() -> _Answer:
            try:
                return await self._attempt(request, budget, breaker, probing=True)
            finally:
                breaker.probe_ended()

        task = asyncio.create_task(probe(), name=f"probe of sippo-server's {request.call}")
        self._probes.add(task)
        task.add_done_callback(self._probed)
        patience = budget.left() if request.call is ApiCall.PUSH else _PROBE_PATIENCE_S
        done, _ = await asyncio.wait({task}, timeout=patience)
        if not done or task.cancelled():
            raise _not_sent(request.call)
        return task.result()

    def _probed(self, task: asyncio.Task[Any]) -> None:
        self._probes.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved, since the caller may have stopped waiting

    async def _attempt(
        self, request: Request[_Answer], budget: Budget, breaker: Breaker, *, probing: bool = False
    ) -> _Answer:
        """Send once, or twice when the token is rejected, and report the result to the breaker."""
        try:
            answer = await self._authorized(request, budget, breaker, probing=probing)
        except NoAnswer as error:
            if error.reason in _DEAD:
                breaker.failed()
            elif error.reason in _ALIVE:
                breaker.worked()
            raise
        breaker.worked()
        return answer

    async def _authorized(
        self, request: Request[_Answer], budget: Budget, breaker: Breaker, *, probing: bool
    ) -> _Answer:
        if self._opened is None:
            raise _closed(request.call)
        transport, login = self._opened
        refused = None
        while True:
            token = await login.token(budget, refused)
            async with self._slot(request.call, budget):
                # During the wait for a slot the breaker may have opened, and the client may have closed.
                if breaker.open and not probing:
                    raise _not_sent(request.call)
                if self._opened is None:
                    raise _closed(request.call)
                try:
                    return await transport.send(request, token, min(self._wac.timeout / 1000, budget.left()))
                except NoAnswer as error:
                    if error.reason is not CallOutcome.UNAUTHORIZED or refused is not None:
                        raise
            refused = token

    @contextlib.asynccontextmanager
    async def _slot(self, call: ApiCall, budget: Budget) -> AsyncIterator[None]:
        """Hold one of the `wac.max_concurrent` slots for requests."""
        slots, free = self._slots[call], False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget.left()):
                free = await slots.acquire()
        if not free:
            raise NoAnswer(
                CallOutcome.BUSY,
                call,
                f"not sent, because {self._wac.max_concurrent} others were under way all the time",
            )
        try:
            yield
        finally:
            slots.release()

    def _breaker(self, call: ApiCall) -> Breaker:
        wac = self._wac
        return Breaker(
            wac.break_after, wac.break_for / 1000, self._timing.clock, functools.partial(self._report, call)
        )

    def _report(self, call: ApiCall, broken: bool) -> None:  # noqa: FBT001 - the state itself
        self._watch.broken(call, broken)
        if broken:
            _log.warning(
                "sippo-server does not answer (%s): the worker sends one request every %d ms until it does.",
                call,
                self._wac.break_for,
            )
        else:
            _log.warning("sippo-server answers again (%s).", call)


def _closed(call: ApiCall) -> NoAnswer:
    return NoAnswer(CallOutcome.LOST, call, "the client was closed")


def _not_sent(call: ApiCall) -> NoAnswer:
    return NoAnswer(CallOutcome.OPEN, call, "not sent, because recent requests were not answered")
