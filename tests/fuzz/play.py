"""Gives a worker process the generated input, and checks that it keeps working and what each entry becomes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from invites.config import ConfigError, parse
from invites.events.arguments import RelayArguments
from invites.events.decoding import decode_event_entry, decode_relay_entry
from invites.events.entry import Entry as Delivered
from invites.keys import Keys, Stream
from invites.store.scripts import messages, sources
from invites.values.printable import escape
from tests.fuzz.shapes import SHARDS, Configuration, Entry, Input, Reply, Request
from tests.support.leaks import assert_nothing_leaks
from tests.support.memory import memory_of
from tests.support.waiting import wait_until
from tests.support.worker import is_settled
from workers.lab.child_process import ChildProcess
from workers.lab.worker_process import start_worker

KEYS: Final = [Keys(shard=number, shards=SHARDS) for number in range(SHARDS)]
_TIMEOUT_S: Final = 60.0
_RING_MS: Final = 1_000
_IMPATIENT: Final = {"timeout": 300, "deadline": 300, "breakFor": 100}
_MOST_GROWTH: Final = 64 * 1024 * 1024
_STATUS: Final = re.compile(rb"HTTP/[0-9]\.[0-9] ([0-9]{3}) ")  # in the version of the request


_KNOWN: Final = messages(sources())


class Fuzzed:
    """One worker process with everything that it talks to. `given` counts its inputs by kind.

    `unusable`: how many events of them no worker can process; `letters`: how many dead letters of events there are.
    """

    def __init__(self, client: Redis, worker: ChildProcess, port: int, sippo: _Sippo) -> None:
        self.given: Counter[str] = Counter()
        self.letters = 0
        self.memory: list[int] = []
        self._client: Any = client
        self._worker = worker
        self._port = port
        self._sippo = sippo
        self.unusable = 0
        self._seen = dict.fromkeys(range(SHARDS), "-")

    async def take(self, inputs: Sequence[Input]) -> None:
        """Give it all of this."""
        async with self._client.pipeline(transaction=False) as pipe:
            for each in inputs:
                match each:
                    case Entry() if _waits(each):
                        self.given[each.stream.value] += (
                            1  # for an hour, for a worker of the release that knows it
                        )
                    case Entry():
                        self._count(each)
                        pipe.xadd(each.stream.key(KEYS[each.shard]), dict(each.fields))
                    case Reply():
                        self._sippo.reply = each
                        self.given["replies"] += 1
                    case Request():
                        await self._ask(each)
                        self.given["requests"] += 1
                    case Configuration():
                        _check_configuration(each.raw)
                        self.given["configurations"] += 1
            await pipe.execute()

    async def check(self) -> None:
        """Wait until all is settled; then the worker still works, and each entry was kept or is a dead letter."""
        streams = [stream.key(keys) for keys in KEYS for stream in Stream if stream is not Stream.RELAY]
        await wait_until(lambda: is_settled(self._client, *streams), "all events are settled", _TIMEOUT_S)
        await wait_until(self._are_messages_settled, "all messages are settled", _TIMEOUT_S)
        await wait_until(self._is_ready, "the worker is ready", _TIMEOUT_S)
        assert self._worker.running(), self._worker.output()
        assert "Traceback" not in self._worker.output(), self._worker.output()
        of_events = await self._read_letters()
        assert of_events == self.unusable, f"{of_events} dead letters of {self.unusable} unusable events"
        self.memory.append(memory_of(self._worker.pid))

    async def check_that_nothing_stays(self) -> None:
        """No key is left that cannot expire, and the worker has not grown."""
        await self.check()
        for keys in KEYS:
            await assert_nothing_leaks(self._client, keys)
        early, late = self.memory[len(self.memory) // 4], self.memory[-1]
        assert late - early < _MOST_GROWTH, f"the worker has grown from {early} to {late} bytes"

    async def _are_messages_settled(self) -> bool:
        """Whether only messages of unknown kinds are pending: a bundle may have had them."""
        relay = Stream.RELAY
        for keys in KEYS:
            if (await self._client.xinfo_groups(keys.relay))[0]["lag"]:
                return False
            for one in await self._client.xpending_range(keys.relay, relay.group, "-", "+", 10_000):
                found = await self._client.xrange(keys.relay, one["message_id"], one["message_id"])
                if not all(_waits(Entry(relay, keys.shard, fields)) for _, fields in found):
                    return False
        return True

    def _count(self, entry: Entry) -> None:
        self.given[entry.stream.value] += 1
        if entry.stream is Stream.EVENTS:
            delivered = Delivered("1-1", dict(entry.fields))
            operation = decode_event_entry(delivered, max_deliveries=1, keys=KEYS[entry.shard])
            self.unusable += operation.rule == "dead"

    async def _read_letters(self) -> int:
        """Read the new dead letters; how many there are by now of events. No rule fails for an event."""
        for keys in KEYS:
            for name, letter in await self._client.xrange(keys.dead, self._seen[keys.shard]):
                self._seen[keys.shard] = f"({name.decode()}"
                sentence = letter[b"error"].decode()
                assert sentence.isprintable(), repr(sentence)
                assert sentence, letter
                if b"stream" not in letter:
                    assert "the entry failed" not in sentence, letter
                    self.letters += 1
        return self.letters

    async def _ask(self, request: Request) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.suppress(ConnectionError):
            writer.write(request.raw)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), _TIMEOUT_S)
            status = _STATUS.match(answer)
            assert not answer or status, answer
            assert not status or int(status[1]) < 500 or status[1] == b"503", (request, answer)
        writer.close()

    async def _is_ready(self) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer.startswith(b"HTTP/1.1 200 ")


class _Sippo:
    """A sippo-server whose login works, and which gives each other request the same reply."""

    def __init__(self) -> None:
        self.reply = Reply(404, b"")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: ([0-9]+)", head)
            if length:
                await reader.readexactly(int(length[1]))
            reply = self.reply
            if b"/login" in head.partition(b"\r\n")[0]:
                reply = Reply(200, b'{"token":"t","expiresIn":3600}')
            lines = (
                f"HTTP/1.1 {reply.status} X\r\nContent-Length: {len(reply.body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(lines.encode() + reply.body)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def fuzzed(url: str) -> AsyncIterator[Fuzzed]:
    """Start a worker on this server, which must be empty, and a sippo-server."""
    sippo = _Sippo()
    server = await asyncio.start_server(sippo.serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    wac = {"address": address, "username": "w", "password": "secret", **_IMPATIENT}
    configuration = {
        "invites": {
            "basic": {"resolveGroups": True, "resolvePush": True, "wac": wac},
            "maxDeliveries": 1,
            "ringTimeout": _RING_MS,
            "maxRingTimeout": _RING_MS,
            "ringingStep": 500,
            "callerGrace": 500,
        },
        "redis": {"shards": SHARDS},
        "http": {"host": "127.0.0.1", "port": port},
    }
    worker = start_worker(url, configuration, log_level="error")
    try:
        async with server, Redis.from_url(url) as client:
            found = Fuzzed(client, worker, port, sippo)
            await wait_until(lambda: _listens(port), "the worker listens")
            await wait_until(found._is_ready, "the worker is ready")
            yield found
    finally:
        worker.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _check_configuration(raw: Any) -> None:
    """It is taken, or refused with a sentence that can be printed."""
    sentence = ""
    try:
        parse(json.loads(json.dumps(raw)))
    except ConfigError as error:
        sentence = str(error)
    assert sentence == escape(sentence), repr(sentence)


def _waits(entry: Entry) -> bool:
    """Whether it is a message of a kind that no rule knows."""
    if entry.stream is not Stream.RELAY:
        return False
    decoded = decode_relay_entry(Delivered("1-1", dict(entry.fields)), max_deliveries=1)
    return isinstance(decoded.arguments, RelayArguments) and decoded.arguments.message not in _KNOWN
