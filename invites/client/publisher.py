"""Publishes events to the right shard, and waits for answers."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Final

import msgspec
from tenacity import stop_after_delay

from invites.client.answers import Answers
from invites.client.servers import keys_of_all, until_served
from invites.client.shard_count import ShardCount
from invites.connection.clients import BLOCK_MS, Clients
from invites.events.protocol import (
    EVENT_STRUCTS,
    Accept,
    Decline,
    Event,
    GetInvitations,
    Silence,
    StopInvite,
    decode_event,
)
from invites.events.routing import routing_key
from invites.keys import shard_of
from invites.logs.rarely import Rarely
from invites.store.layout import Layout
from invites.values.traceparent import FIELD

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from redis.typing import EncodableT

    from invites.notifications import Answer

Request = Accept | Decline | Silence | StopInvite | GetInvitations
"""An event that is answered."""

WITHIN_S: Final = 10.0
"""How long to wait for an unreachable server, or for an answer, by default (s)."""

_AGAIN_S: Final = 3.0
"""How long to wait for an answer before the event is published again."""

_log = logging.getLogger(__name__)

_KINDS: Final = {struct: kind for kind, struct in EVENT_STRUCTS.items()}


def opaque(value: object) -> msgspec.Raw:
    """A value for `context`, `mediatypes` or `from_details`: any JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


class Publisher:
    """Publishes events. `url` is as in `redis.url`; `shards` and `prefix` are those of the workers.

    Fewer shards than the workers have cost a hop; with more, nobody would read the events, so they are refused.
    One publisher is enough for a process. Any number of tasks may use it.

    All events for a server go over one connection. So an event never overtakes one of a task that was cancelled, and a
    server that hangs holds up no other one. After a lost connection, events that several tasks were publishing may come
    in any order.
    """

    def __init__(self, url: str, *, shards: int = 1, prefix: str = "invites") -> None:
        self._url = url
        self._keys = keys_of_all(prefix, shards)
        self._clients = Clients(url, "publisher")
        self._count = ShardCount(self._clients.of(self._keys[0]), self._keys[0])
        self.checks_shards = True
        """Set it to False if the owner compares the numbers of shards."""
        self._warnings = Rarely(_log)  # many events may wait
        self._answers: Answers | None = None
        self._starting = asyncio.Lock()

    async def publish(
        self, event: Event, *, within_s: float = WITHIN_S, traceparent: str | None = None
    ) -> str:
        """Publish an event and return its entry id. Waits up to `within_s` for an unreachable server.

        `traceparent` (W3C trace context) is passed on to the notifications that the event causes.
        An event whose reply was lost is published again, which workers take for a repeat. Raises BadEvent when a field
        is wrong, LayoutError when the workers have fewer shards, and redis exceptions when the server does not take the
        event.
        """
        kind, payload = _encoded(event)
        keys = self._keys[shard_of(routing_key(event), len(self._keys))]
        add: list[EncodableT] = [b"XADD", keys.events, b"*", b"type", kind, b"payload", payload]
        if traceparent is not None:
            add += [FIELD, traceparent]

        async def publish() -> bytes:
            await self._check(Layout.takes_from)
            added: bytes = await self._clients.ordered(keys).execute_command(*add)
            return added

        stop, warn = stop_after_delay(within_s), self._warnings.warning
        entry = await until_served(f"Publishing {kind}", publish, stop, warn=warn)
        return entry.decode()

    async def ask(
        self, request: Request, *, within_s: float = WITHIN_S, traceparent: str | None = None
    ) -> Answer:
        """Publish an event and return its answer. Its user must be allowed to read notifications.

        An event without `transaction` gets one. It is published again every 3 s until it is answered, which changes
        nothing: a repeat gets the same answer. Raises TimeoutError when no answer comes within `within_s`, ValueError
        for a stop without `peer`, BadEvent when a field is wrong, LayoutError when the workers have another number of
        shards, and redis exceptions.
        """
        peer = request.peer
        if peer is None:
            raise ValueError("a stopInvite without peer is not answered: publish it")
        if request.transaction is None:
            request = msgspec.structs.replace(request, transaction=uuid.uuid4().hex)
        kind, _ = _encoded(request)
        try:
            async with asyncio.timeout(within_s):
                await self._check(Layout.reaches)  # the answer may be in any shard
                answers = await self._listening()
                with answers.expecting(kind, request.transaction, peer.id) as answer:
                    while True:
                        await self.publish(request, within_s=within_s, traceparent=traceparent)
                        done, _ = await asyncio.wait([answer], timeout=_AGAIN_S)
                        if done:
                            return answer.result()
                        await self._check(Layout.reaches)  # as before: a reshard may be over
        except TimeoutError:
            raise TimeoutError(
                f"{kind} of {peer.id} was not answered within {within_s:g} s; `invites status` says whether workers run"
            ) from None

    async def aclose(self) -> None:
        """Close all connections."""
        if self._answers is not None:
            await self._answers.aclose()
        await self._count.aclose()
        await self._clients.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _check(self, suits: Callable[[Layout, int], bool]) -> None:
        if self.checks_shards:
            await self._count.check(suits)

    async def _listening(self) -> Answers:
        async with self._starting:
            if self._answers is not None and self._answers.has_ended:
                await self._answers.aclose()
                self._answers = None
            if self._answers is None:
                answers = Answers(Clients(self._url, "answers", block_ms=BLOCK_MS), self._keys)
                try:
                    await answers.start()
                except BaseException:
                    await answers.aclose()
                    raise
                self._answers = answers
            return self._answers


def _encoded(event: Event) -> tuple[str, bytes]:
    """Type and payload. Raises BadEvent: what a program puts into a struct is not checked before."""
    kind = _KINDS[type(event)]
    payload = msgspec.json.encode(event)
    decode_event(kind, payload)
    return kind, payload
