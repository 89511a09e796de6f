"""Scripted devices behind a small gateway, which publishes with `XADD` and reads notifications with blocking reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import msgspec
from redis.exceptions import RedisError

from invites.connection.clients import connect
from invites.keys import Keys
from workers.aio.tasks import end

_BLOCK_MS = 1000


class MissingError(Exception):
    """An expected notification did not come or differs; the text says which."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A published event: its entry id, and the time just before its `XADD` (`time.perf_counter`, s)."""

    entry: str
    at: float

    @property
    def entry_ms(self) -> int:
        """The server's time of the event, ms since 1970."""
        return int(self.entry.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification, and the time when the blocking read returned it.

    `at` is `time.perf_counter` (s), `wall_ms` the time of day (ms since 1970).
    """

    type: str
    peers: tuple[str, ...]
    payload: dict[str, Any]
    at: float
    wall_ms: float


@dataclass(eq=False, slots=True)
class Device:
    """One device, or (without a peer id) the services that read call records."""

    name: str
    user: str = ""
    peer: str = ""
    hardware: str = ""
    session: str = ""
    inbox: list[Notification] = field(default_factory=list)
    _arrival: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def identity(self) -> dict[str, str]:
        """The `peer` of its events."""
        return {"id": self.peer, "user": self.user}

    def deliver(self, notification: Notification) -> None:
        """Take in a notification from the gateway."""
        self.inbox.append(notification)
        self._arrival.set()

    async def expect(self, kind: str, within_ms: int, **fields: object) -> Notification:
        """Wait for the next notification of this type (and invite, if `inviteId` is given), and check its fields.

        Raises `MissingError` if none comes within `within_ms` or a field differs.
        """
        wanted = f"{self.name}: {kind}{_listed(fields)}"
        try:
            async with asyncio.timeout(within_ms / 1000):
                while (notification := self._next(kind, fields.get("inviteId"))) is None:
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            others = ", ".join(note.type for note in self.inbox) or "nothing"
            raise MissingError(f"{wanted} did not come within {within_ms} ms ({others} came).") from None
        self.inbox.remove(notification)
        told = {name: notification.payload.get(name) for name in fields}
        if told != fields:
            raise MissingError(f"{wanted} was expected, it came with{_listed(told)}.")
        return notification

    def _next(self, kind: str, invite_id: object) -> Notification | None:
        for note in self.inbox:
            if note.type == kind and invite_id in {None, note.payload.get("inviteId")}:
                return note
        return None


class Gateway:
    """Publishes the events of its devices and delivers their notifications.

    It works within `async with`, and reads without a consumer group.
    """

    def __init__(self, url: str, keys: Keys, services: Device) -> None:
        self.published = 0
        self._commands = connect(url, "demo")
        self._reads = connect(url, "demo-reads", block_ms=_BLOCK_MS)
        self._keys = keys
        self._services = services
        self._devices: dict[str, Device] = {}
        self._reader: asyncio.Task[None] | None = None

    def attach(self, device: Device) -> None:
        """Deliver to a device under its current peer id."""
        self._devices[device.peer] = device

    def detach(self, device: Device) -> None:
        """Stop delivering to the device: its connection is gone."""
        self._devices.pop(device.peer, None)

    async def publish(self, kind: str, payload: Mapping[str, object]) -> Sent:
        """Publish one event."""
        self.published += 1
        body = msgspec.json.encode(payload)
        at = time.perf_counter()
        entry: bytes = await self._commands.execute_command(
            "XADD", self._keys.events, "*", "type", kind, "payload", body
        )
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Ctrl-C came during the command, and redis-py swallowed it (see `workers.aio.tasks`).
            raise asyncio.CancelledError
        return Sent(entry.decode(), at)

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read(), name="gateway")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            await end([self._reader])
        await self._commands.aclose()
        await self._reads.aclose()

    async def _read(self) -> None:
        after = b"0-0"
        while True:
            try:
                streams = await self._reads.execute_command(
                    "XREAD", "BLOCK", _BLOCK_MS, "STREAMS", self._keys.notifications, after
                )
            except RedisError:
                # The server is gone: the waiting `expect` says what is missing.
                return
            at, wall_ms = time.perf_counter(), time.time() * 1000
            for _name, entries in streams or ():
                for _entry, fields in entries:
                    self._deliver(fields, at, wall_ms)
                after = entries[-1][0]

    def _deliver(self, fields: Mapping[bytes, bytes], at: float, wall_ms: float) -> None:
        peers = tuple(msgspec.json.decode(fields[b"peers"], type=list[str]))
        payload = msgspec.json.decode(fields[b"payload"], type=dict[str, Any])
        notification = Notification(fields[b"type"].decode(), peers, payload, at, wall_ms)
        if not peers:
            self._services.deliver(notification)
        for peer in peers:
            if peer in self._devices:
                self._devices[peer].deliver(notification)


def _listed(fields: Mapping[str, object]) -> str:
    return "".join(f" {name}={value}" for name, value in fields.items())
