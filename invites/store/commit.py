"""The calls of the functions of `lua/`: one typed method for each."""

import enum
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from invites.events.operations import Operation
from invites.keys import PUSH_GROUP, RELAY_GROUP, WORKERS_GROUP, Keys
from invites.store.functions import Functions
from invites.store.layout import ANSWER, LayoutError
from invites.store.scripts import Script, Scripts

Fact = tuple[str, ...]
"""The name of a log message, and what fills it in."""

KEEP_NOTIFICATIONS: Final = 1_000_000
"""So many of the youngest notifications are kept as long as no group reads them."""

TRIM_PAGE: Final = 10_000
"""The most entries that one call trims."""

_LATE: Final = 3_600_000  # ms; workers may be configured differently, and a job may be settled a little late

_GROWING: Final = frozenset({"invite", "inviteReturn", "registered", "joined"})
"""What makes state grow: a server that is out of memory refuses it until what ends calls has made room."""


class Source(enum.Enum):
    """The stream that entries are from: its place among the keys of the script."""

    EVENTS = 1
    PUSH = 5
    RELAY = 6

    @property
    def group(self) -> str:
        """The consumer group that settles its entries."""
        return _GROUPS[self]

    def stream(self, keys: Keys) -> str:
        """The key of the stream in a shard."""
        name: str = getattr(keys, self.name.lower())
        return name


_GROUPS: Final = {Source.EVENTS: WORKERS_GROUP, Source.PUSH: PUSH_GROUP, Source.RELAY: RELAY_GROUP}


LookUp = Literal["", "push", "groups", "all", "reachability"]
"""What can be asked of sippo-server: nothing, push devices, groups, both of them, or its Reachability service."""


class Settings(msgspec.Struct, frozen=True):
    """What the rules need of the configuration. Times are in ms."""

    remove_after: int = 0
    ring_timeout: int = 60_000
    max_ring_timeout: int = 120_000
    caller_grace: int = 10_000
    retain_after: int = 300_000
    parallel_sip: bool = False
    only_one_device_with_invitations: bool = False
    ringing_step: int = 10_000
    max_group_size: int = 500
    look_up: LookUp = ""


class Status(enum.Enum):
    """What became of one operation."""

    DONE = "done"
    STALE = "stale"
    """Somebody else has settled the entry."""
    NEEDS = "needs"
    """Nothing was touched: something must be looked up first; `detail` says what."""
    FAILED = "failed"
    """Nothing was touched: the rule failed; `detail` says why. The entry stays pending."""
    NO_GROUP = "no group"
    """Nothing was touched: the consumer group is gone."""
    FULL = "full"
    """Nothing was touched: the server is out of memory. The entry stays pending and has not failed."""


class Outcome(msgspec.Struct):
    """What became of one operation, and what there is to log of it."""

    status: Status
    detail: str = ""
    facts: list[Fact] = []


class Settled(msgspec.Struct):
    """The answer to a batch: an outcome for each operation; the next deadline and the server's time in ms."""

    outcomes: list[Outcome]
    next_due: int | None
    now: int


Commit = Callable[[Sequence[Operation]], Awaitable[Settled]]
"""Commits a batch; raises redis exceptions when the server cannot be asked."""


class Fired(msgspec.Struct):
    """The answer to firing: how many timers were taken; the next deadline and the server's time in ms."""

    count: int
    facts: list[Fact]
    next_due: int | None
    now: int


_DONE: Final = Outcome(Status.DONE)
_STALE: Final = Outcome(Status.STALE)
_FULL: Final = Outcome(Status.FULL)
_WORDS: Final = {1: Status.DONE, 2: Status.NEEDS, 3: Status.FAILED, 4: Status.NO_GROUP}


class Committer:
    """Settles events and fires timers of one shard.

    All that does so raises LayoutError, and has touched nothing, when the calls are in another number of shards.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        settings: Settings,
        scripts: Scripts,
        *,
        verbosity: int = 1,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Prepare what every call has in common.

        `verbosity` 0 reports warnings only, 1 what the level info needs, 2 what debug needs. `clock` (ms since 1970)
        replaces the server's time, for tests.
        """
        self._functions = Functions(client, scripts)
        self._scripts = scripts
        self._clock = clock
        self._keys: Final = (keys.events, keys.notifications, keys.timers, keys.dead, keys.push, keys.relay)
        # By stream: how many entries are kept while nobody reads it, and for how long they are of use (ms).
        self._streams: Final[dict[str, tuple[str | int, str | int]]] = {
            keys.events: ("", ""),
            keys.notifications: (KEEP_NOTIFICATIONS, ""),
            keys.push: ("", max(settings.max_ring_timeout, settings.retain_after) + _LATE),
            keys.relay: ("", ""),
        }
        self._shards: Final = keys.shards
        self._place: Final = (keys.base, keys.shard, keys.shards)
        self._settings: Final = (
            verbosity,
            settings.remove_after,
            settings.ring_timeout,
            settings.max_ring_timeout,
            settings.caller_grace,
            settings.retain_after,
            int(settings.parallel_sip),
            int(settings.only_one_device_with_invitations),
            settings.ringing_step,
            settings.max_group_size,
            settings.look_up,
        )

    async def settle(self, operations: Sequence[Operation], source: Source = Source.EVENTS) -> Settled:
        """Settle a batch in order, each operation atomically with the acknowledgement of its entry in `source`.

        Raises redis exceptions when the server cannot be asked; it is not known then which of them were settled, and
        settling them again is safe.
        """
        return await self._allowing(lambda some: ("settle", (source.value, *flatten(some))), operations)

    async def take(self, source: int, floor: str, operations: Sequence[Operation]) -> Settled:
        """Take what the relay stream of another shard, `source`, has for this one; each entry once.

        Before its entry `floor` everything must be settled there. Raises as `settle` does; taking again is safe.
        """
        return await self._allowing(lambda some: ("take", (source, floor, *flatten(some))), operations)

    async def fire(self, limit: int = 100) -> Fired:
        """Take and apply at most `limit` timers that are due."""
        answer = await self._run(self._scripts.allowed_when_full, self._keys, self._header("fire", (limit,)))
        return Fired(int(answer[2]), [_fact(fact) for fact in answer[3:]], _due(answer[1]), int(answer[0]))

    async def trim(self) -> dict[str, int]:
        """Trim the streams by what their groups have settled. Returns how many entries went, by stream.

        Push jobs go an hour after their time is over, too: a worker that asks nothing of sippo-server leaves them.
        """
        trimmed = {}
        for stream, (keep, useful) in self._streams.items():
            trimmed[stream] = 0
            while went := int(await self._run(self._scripts.trim, (stream,), (keep, TRIM_PAGE, useful))):
                trimmed[stream] += went
        return trimmed

    async def retire_consumer(self, name: str, min_idle: int, source: Source = Source.EVENTS) -> bool:
        """Delete a consumer of a stream that owes nothing and was idle for `min_idle` ms."""
        key = self._keys[source.value - 1]
        return bool(await self._run(self._scripts.retire, (key,), (source.group, name, min_idle)))

    async def drop_other_releases(self) -> list[str]:
        """Delete what other releases have left on the server; return the names of these libraries."""
        return await self._functions.drop_other_releases()

    def header(self, mode: str) -> tuple[str | int, ...]:
        """Return the arguments that go before the operations."""
        clock = self._clock() if self._clock else ""
        return (mode, *self._place, clock, *self._settings)

    def _header(self, mode: str, rest: Iterable[Any]) -> tuple[Any, ...]:
        return (*self.header(mode), *rest)

    async def _allowing(
        self,
        call: Callable[[Sequence[Operation]], tuple[str, Sequence[Any]]],
        operations: Sequence[Operation],
    ) -> Settled:
        """Commit all; on a server that is out of memory, what does not make state grow."""
        try:
            return await self._settle(self._scripts.refused_when_full, *call(operations))
        except OutOfMemoryError:
            shrinking = [operation for operation in operations if not _grows(operation)]
            settled = await self._settle(self._scripts.allowed_when_full, *call(shrinking))
            outcomes = iter(settled.outcomes)
            settled.outcomes = [_FULL if _grows(operation) else next(outcomes) for operation in operations]
            return settled

    async def _settle(self, script: Script, mode: str, arguments: Sequence[Any]) -> Settled:
        answer = await self._run(script, self._keys, self._header(mode, arguments))
        return Settled([_outcome(one) for one in answer[2:]], _due(answer[1]), int(answer[0]))

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401
        try:
            return await self._functions.call(script, keys, arguments)
        except ResponseError as error:
            if str(error).startswith(ANSWER):
                raise LayoutError(str(error).removeprefix(ANSWER), self._shards) from None
            raise


def _grows(operation: Operation) -> bool:
    # An event from another shard comes with its entry and its own rule.
    rule = operation.args[1] if operation.handler == "relayedEvent" else operation.handler
    return rule in _GROWING


def flatten(operations: Iterable[Operation]) -> list[bytes | str | int]:
    """Return operations as the script takes them: handler, entry, number of arguments, arguments."""
    flat: list[bytes | str | int] = []
    for operation in operations:
        flat += (operation.handler, operation.entry, len(operation.args))
        flat += operation.args
    return flat


def _due(value: bytes) -> int | None:
    return int(float(value)) if value else None


def _fact(parts: Sequence[bytes | int]) -> Fact:
    return tuple(part.decode() if isinstance(part, bytes) else str(part) for part in parts)


def _outcome(answer: Any) -> Outcome:  # noqa: ANN401
    if answer == 1:
        return _DONE
    if answer == 0:
        return _STALE
    word, *rest = answer
    status = _WORDS[word]
    detail = ""
    if status in (Status.NEEDS, Status.FAILED):
        detail = rest.pop(0).decode(errors="replace")
    return Outcome(status, detail, [_fact(fact) for fact in rest])
