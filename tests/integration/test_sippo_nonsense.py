"""Invalid answers: wrong content, too much of it, broken HTTP, statuses that the contract does not know."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
from collections.abc import AsyncIterator

import pytest

from invites.sippo import ApiCall, CallOutcome, NoAnswer, PushResult, SippoServer
from tests.support import sippo
from workers.lab.fake_sippo import GARBAGE, OVERSIZE, WRONG_TYPES, Fault, status

_MIB = 1024 * 1024


@pytest.mark.parametrize("fault", [GARBAGE, WRONG_TYPES, OVERSIZE], ids=lambda fault: fault.kind)
@pytest.mark.parametrize("call", sippo.LOOK_UPS)
async def test_nonsense_is_no_answer_and_is_not_asked_for_again(call: ApiCall, fault: Fault) -> None:
    async with sippo.pair(breakAfter=1) as pair:
        pair.fake_sippo.fault(fault, call)
        for _ in range(3):
            await sippo.fails(pair.look_up(call), CallOutcome.NONSENSE)
        assert pair.fake_sippo.requests[call] == 3
        assert pair.watch.requests[call, "nonsense"] == pair.watch.calls[call, "nonsense"] == 3
        pair.fake_sippo.heal()
        assert await pair.look_up(call, "nobody") is None, "who answers nonsense is not dead"


@pytest.mark.parametrize("code", [201, 202, 204, 206, 300, 302, 307, 400, 403, 405, 410, 418, 499])
async def test_a_status_that_the_contract_does_not_know_is_no_answer(code: int) -> None:
    async with sippo.pair(breakAfter=1) as pair:
        for call in sippo.LOOK_UPS:
            pair.fake_sippo.fault(status(code), call)
            error = await sippo.fails(pair.look_up(call), CallOutcome.REFUSED)
            assert f"status {code}" in str(error)
            assert pair.fake_sippo.requests[call] == 1, "it is not asked again, nor anywhere else"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (200, CallOutcome.REFUSED),
        (204, CallOutcome.REFUSED),
        (400, CallOutcome.REFUSED),
        (302, CallOutcome.REFUSED),
    ],
)
async def test_a_push_is_taken_with_202_alone(code: int, reason: CallOutcome) -> None:
    async with sippo.pair() as pair:
        pair.fake_sippo.fault(status(code), ApiCall.PUSH)
        await sippo.fails(pair.client.push(sippo.job()), reason)
        pair.fake_sippo.fault(status(202), ApiCall.PUSH)
        assert await pair.client.push(sippo.job()) is PushResult.TAKEN


# Sends what the fake sippo-server cannot: arbitrary bytes on a socket.


def _reply(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", *headers]
    if not headers:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


_GRANTED = _reply(b'{"token":"t","expiresIn":3600}')


@contextlib.asynccontextmanager
async def _answering(raw: bytes) -> AsyncIterator[str]:
    """A server whose login works, and which then answers everything with the same bytes and hangs up."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                await reader.readuntil(b"}")
                writer.write(_GRANTED)
                head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"GET /sapi/groups/sales HTTP/1.1\r\n")
            writer.write(raw)
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        while handlers:
            await asyncio.wait(handlers)


async def _asked(raw: bytes, *reasons: CallOutcome) -> str:
    # The breaker opens after one failure: there is no second request, and the error is that of the first.
    wac = {"timeout": 5_000, "deadline": 5_000, "breakAfter": 1}
    async with _answering(raw) as address, SippoServer(sippo.wac_of(address, **wac)) as client:
        return str(await sippo.fails(client.group("sales"), *reasons))


_SALES = b'{"id":"sales","participants":["alice"]}'


async def test_the_server_of_these_tests_can_also_answer() -> None:
    async with _answering(_reply(_SALES)) as address, SippoServer(sippo.wac_of(address)) as client:
        found = await client.group("sales")
        assert found is not None
        assert found.participants == ("alice",)


async def test_the_largest_answer_is_one_mib() -> None:
    largest = _SALES + b" " * (_MIB - len(_SALES))
    async with _answering(_reply(largest)) as address, SippoServer(sippo.wac_of(address)) as client:
        assert await client.group("sales") is not None
    assert "1048576 bytes" in await _asked(_reply(largest + b" "), CallOutcome.NONSENSE)


async def test_an_endless_answer_is_left() -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    raw = _reply(chunk * 40, b"Transfer-Encoding: chunked")
    assert "1048576 bytes" in await _asked(raw, CallOutcome.NONSENSE)


async def test_a_small_answer_that_would_unpack_to_a_large_one_is_not_unpacked() -> None:
    packed = gzip.compress(_SALES + b" " * (64 * _MIB))
    raw = _reply(packed, b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed))
    await _asked(raw, CallOutcome.NONSENSE)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"\r\n" * 10,
        b"\x00" * 1000,
    ],
    ids=range(10),
)
async def test_what_is_no_http_is_no_answer(raw: bytes) -> None:
    await _asked(raw, CallOutcome.NONSENSE, CallOutcome.LOST)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + _SALES,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n27\r\n" + _SALES,
    ],
    ids=["nothing", "half a line", "half a body", "half the chunks"],
)
async def test_half_an_answer_is_a_lost_connection(raw: bytes) -> None:
    await _asked(raw, CallOutcome.LOST)


async def test_whatever_comes_nothing_but_no_answer_is_raised() -> None:
    dice = random.Random(3)
    good = _reply(_SALES)
    for _ in range(150):
        raw = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        async with _answering(bytes(raw)) as address:
            wac = sippo.wac_of(address, timeout=100, deadline=100)
            async with SippoServer(wac) as client:
                with contextlib.suppress(NoAnswer):
                    await client.group("sales")
