"""Receives the answers to the events of this process."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from invites.client.page import Page
from invites.client.servers import by_client, until_served
from invites.connection.clients import BLOCK_MS
from invites.events.entry import entries_of
from invites.notifications import Answer, BadNotification, decode_notification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invites.connection.clients import Clients
    from invites.events.entry import Entry
    from invites.keys import Keys

_PAGE: Final = 500

_Question = tuple[str, str | int | None, str]


class Answers:
    """Reads the notifications of all shards, from `start` on, and hands answers to the tasks that expect them."""

    def __init__(self, clients: Clients, all_keys: list[Keys]) -> None:
        self._clients = clients
        self._keys = all_keys
        self._expected: dict[_Question, asyncio.Future[Answer]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def has_ended(self) -> bool:
        """Whether an error has ended the listening."""
        return any(task.done() for task in self._tasks)

    async def start(self) -> None:
        """Begin to listen: no later answer is missed. Raises redis exceptions."""
        for client, found in by_client(self._clients, self._keys):
            after = {keys.notifications.encode(): await _last(client, keys) for keys in found}
            self._tasks.append(asyncio.create_task(self._listen(client, after), name="reading answers"))

    @contextlib.contextmanager
    def expecting(
        self, request: str, transaction: str | int | None, peer: str
    ) -> Iterator[asyncio.Future[Answer]]:
        """The answer to a peer's event, once it has come. Raises ValueError if the same one is already expected."""
        question = (request, transaction, peer)
        if question in self._expected:
            raise ValueError(f"the answer to {request} of {peer} with transaction {transaction} is awaited")
        self._expected[question] = asyncio.get_running_loop().create_future()
        try:
            yield self._expected[question]
        finally:
            del self._expected[question]

    async def aclose(self) -> None:
        """Stop listening, and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._clients.aclose()

    async def _listen(self, client: Any, after: dict[bytes, bytes]) -> None:  # noqa: ANN401 - see Clients
        page = Page(_PAGE)

        async def read() -> Any:  # noqa: ANN401 - a raw reply
            with page.sized() as count:
                return await client.execute_command(
                    *(b"XREAD", b"COUNT", count, b"BLOCK", BLOCK_MS, b"STREAMS", *after, *after.values())
                )

        while True:
            reply = await until_served("Reading answers", read)
            for stream, raw in reply or ():
                entries = entries_of(raw)
                after[stream] = entries[-1].id.encode()
                for entry in entries:
                    self._hear(entry)

    def _hear(self, entry: Entry) -> None:
        if entry.fields.get(b"type") != b"answer":
            return
        with contextlib.suppress(BadNotification):
            told = decode_notification(entry.fields)
            answer = told.payload
            if isinstance(answer, Answer):
                for peer in told.peers:
                    expected = self._expected.get((answer.request, answer.transaction, peer))
                    if expected is not None and not expected.done():
                        expected.set_result(answer)


async def _last(client: Any, keys: Keys) -> bytes:  # noqa: ANN401 - see Clients
    """The last entry of the notifications: a reader that begins there misses nothing."""
    last = (b"XREVRANGE", keys.notifications, b"+", b"-", b"COUNT", 1)
    reply: Any = await until_served("Reading answers", partial(client.execute_command, *last))
    return bytes(reply[0][0]) if reply else b"0-0"
