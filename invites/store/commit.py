"""Calls of the server's functions for one shard: one typed method for each function."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final

import msgspec
from redis.exceptions import NoPermissionError, OutOfMemoryError, ResponseError

from invites import __version__
from invites.events.operation import Operation
from invites.events.stops_ahead import with_stops_ahead
from invites.keys import Keys, Stream
from invites.store.announcement import KEPT_MS, WorkerState
from invites.store.answers import (
    FULL,
    CommitResult,
    Ensured,
    FireResult,
    read_commit,
    read_ensured,
    read_fire,
)
from invites.store.functions import Client, Functions
from invites.store.layout import ANSWER, LayoutError
from invites.store.scripts import Script, Scripts
from invites.store.settings import Settings

KEEP_NOTIFICATIONS: Final = 1_000_000
"""How many of the newest notifications are kept while no group reads them."""

TRIM_PAGE: Final = 10_000
"""How many entries one call trims at most."""

# ms. Workers may be configured differently, and a push job may be settled a little late.
_LATE: Final = 3_600_000

_GROWING: Final = frozenset({"invite", "inviteReturn", "registered", "joined", "userState"})
"""Rules that make state grow. A server that is out of memory refuses them until calls have ended."""


class Header(msgspec.Struct, frozen=True):
    """The arguments that every call of the state machine begins with.

    `clock` is the time in ms since 1970, or "" for the server's own. `verbosity` 0 reports warnings, 1 what the log
    level info needs, 2 what debug needs. `settings` is JSON.
    """

    mode: str
    base: str
    shard: int
    shards: int
    clock: int | str
    verbosity: int
    settings: bytes


class SettleMode(msgspec.Struct, frozen=True):
    """Settle entries of a stream of this shard: each with its acknowledgement, in one step."""

    name: ClassVar = "settle"
    stream: Stream = Stream.EVENTS

    def flat(self) -> tuple[int | str, ...]:
        """What goes before the operations."""
        return (self.stream.number,)


class TakeMode(msgspec.Struct, frozen=True):
    """Take entries of the relay stream of the shard `source`, each once.

    Everything before its entry `low_watermark` is settled there.
    """

    name: ClassVar = "take"
    source: int
    low_watermark: str

    def flat(self) -> tuple[int | str, ...]:
        """What goes before the operations."""
        return (self.source, self.low_watermark)


_DENIED: Final = "DENIED "  # the error of lua/core/permissions.lua; commands follow, separated by commas
# The server's own error in a function that does not ask beforehand.
_DENIED_INSIDE: Final = re.compile(r"ACL failure in script: .* run the '([^']+)' command")
_DENIED_UNNAMED: Final = "The user executing the script can't "  # of Redis 7.0


class Committer:
    """Commits operations and fires timers in one shard.

    Both raise LayoutError, and have touched nothing, when the calls are spread over another number of shards. Both
    raise NoPermissionError while the ACL denies a command that writes; calling again later completes the work.
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        settings: Settings,
        scripts: Scripts,
        *,
        verbosity: int = 1,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Prepare the common part of all calls.

        `verbosity` is that of the Header. `clock` (ms since 1970) replaces the server's time, for tests.
        """
        self._functions = Functions(client, scripts)
        self._scripts = scripts
        self._keys = keys
        self._clock = clock
        self._verbosity = verbosity
        self._settings: Final = msgspec.json.encode(settings)
        # By stream: how many entries are kept while nobody reads it, and for how long they are useful (ms).
        self.trimmed_streams: Final[dict[str, tuple[str | int, str | int]]] = {
            keys.events: ("", ""),
            keys.notifications: (KEEP_NOTIFICATIONS, ""),
            keys.push: ("", max(settings.max_ring_timeout, settings.retain_after) + _LATE),
            keys.relay: ("", ""),
        }

    async def commit(
        self, operations: Sequence[Operation], mode: SettleMode | TakeMode | None = None
    ) -> CommitResult:
        """Commit operations in their order, each atomically with the token of its entry (by default in SettleMode).

        An invite whose stop follows without an answer between them ends as it begins.

        On a server that is out of memory, commits only what does not make state grow.

        Raises redis exceptions when the server cannot be asked. Some of the operations may be committed then;
        committing them again is safe.
        """
        mode, operations = mode or SettleMode(), with_stops_ahead(operations)
        keys, scripts = self._keys.script_keys, self._scripts
        try:
            return read_commit(
                await self._call(scripts.refused_when_full, keys, self._batch(mode, operations))
            )
        except OutOfMemoryError:
            shrinking = [operation for operation in operations if not grows(operation)]
            batch = self._batch(mode, shrinking)
            result = read_commit(await self._call(scripts.allowed_when_full, keys, batch))
        outcomes = iter(result.outcomes)
        result.outcomes = [FULL if grows(operation) else next(outcomes) for operation in operations]
        return result

    async def fire(self, limit: int = 100, patience: int = 6_000) -> FireResult:
        """Take and apply at most `limit` timers that are due.

        A timer waits for at most `patience` ms while an event that was published up to its time is not settled.
        """
        answer = await self._call(
            self._scripts.allowed_when_full,
            self._keys.script_keys,
            self.arguments("fire", limit, patience),
        )
        return read_fire(answer)

    async def denied(self) -> list[str]:
        """The write commands that the ACL denies this user. None are known on a server that cannot be asked."""
        answer = await self._call(
            self._scripts.allowed_when_full, self._keys.script_keys, self.arguments("ask")
        )
        return [command.decode() for command in answer or ()]

    async def trim(self, stream: str, kept_from: str = "") -> int:
        """Remove the entries of one of `trimmed_streams` that its groups have settled. Returns how many.

        Entries from `kept_from` on stay (an entry id; "" for none).
        Push jobs are also removed an hour after their time is over: a worker without sippo-server leaves them.
        """
        keep, useful = self.trimmed_streams[stream]
        trimmed = 0
        arguments = (keep, TRIM_PAGE, useful, kept_from)
        while went := int(await self._call(self._scripts.trim, (stream,), arguments)):
            trimmed += went
        return trimmed

    async def retire_consumer(self, name: str, silent_ms: int, stream: Stream = Stream.EVENTS) -> bool:
        """Delete a consumer without pending entries, whose worker was silent for `silent_ms`."""
        keys = (stream.key(self._keys), self._keys.worker(name))
        return bool(await self._call(self._scripts.retire, keys, (stream.group, name, silent_ms)))

    async def ensure(
        self, streams: Sequence[Stream], worker: WorkerState, known_origin: str, new_origin: str
    ) -> Ensured:
        """Write the layout, create the groups of `streams` and the origin, unless they exist. Announce `worker`.

        Also says what there is to do in all streams.

        If this worker knows another origin ("" for none) the data are lost: services are notified, once. Works on
        a full server. Raises redis exceptions, and LayoutError when the calls are spread over another number of shards.
        """
        keys = self._keys
        all_streams = (*streams, *(stream for stream in Stream if stream not in streams))
        names = (
            *(keys.layout, keys.origin, keys.notifications, keys.worker(worker.name), keys.timers, keys.dead),
            *(stream.key(keys) for stream in all_streams),
        )
        arguments = (
            *(keys.shard, keys.shards, known_origin, new_origin, KEPT_MS),
            *(worker.name, __version__, worker.since, worker.last_commit or "", len(streams)),
            *(stream.group for stream in all_streams),
        )
        return read_ensured(await self._call(self._scripts.ensure, names, arguments))

    async def drop_other_releases(self) -> list[str]:
        """Delete the libraries of other releases on the server; return their names."""
        return await self._functions.drop_other_releases()

    def arguments(self, mode: str, *rest: bytes | str | int) -> tuple[bytes | str | int, ...]:
        """The arguments of one call: the header, and the `rest`, which depends on the mode."""
        keys, clock = self._keys, self._clock() if self._clock else ""
        header = Header(mode, keys.base, keys.shard, keys.shards, clock, self._verbosity, self._settings)
        return (*msgspec.structs.astuple(header), *rest)

    def _batch(
        self, mode: SettleMode | TakeMode, operations: Iterable[Operation]
    ) -> tuple[bytes | str | int, ...]:
        return self.arguments(mode.name, *mode.flat(), *flatten(operations))

    async def _call(
        self, function: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]
    ) -> Any:  # noqa: ANN401
        try:
            return await self._functions.call(function, keys, arguments)
        except ResponseError as error:
            if str(error).startswith(ANSWER):
                raise LayoutError(str(error).removeprefix(ANSWER), self._keys.shards) from None
            if str(error).startswith(_DENIED):
                raise NoPermissionError(denied_sentence(str(error).split()[1].split(","))) from None
            if found := _DENIED_INSIDE.match(str(error)):
                raise NoPermissionError(denied_sentence([found[1].upper()])) from None
            if _DENIED_UNNAMED in str(error):
                raise NoPermissionError(denied_sentence(["a command of a function"])) from None
            raise


def denied_sentence(commands: Sequence[str]) -> str:
    """What is missing, and what to do."""
    return f"the ACL denies the Redis user {', '.join(commands)}: allow the worker's user what it needs"


def flatten(operations: Iterable[Operation]) -> list[bytes | str | int]:
    """Operations as the function takes them: rule (and traceparent), entry, number of arguments, arguments."""
    flat: list[bytes | str | int] = []
    for operation in operations:
        arguments = operation.arguments.flat()
        rule = f"{operation.rule} {operation.trace}" if operation.trace else operation.rule
        flat += (rule, operation.entry, len(arguments))
        flat += arguments
    return flat


def grows(operation: Operation) -> bool:
    """Whether the operation makes state grow, so that a full server refuses it."""
    return operation.event_rule in _GROWING
