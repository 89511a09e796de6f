"""OpenTelemetry spans of a call, from a worker on a real server to the exporter."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from invites.config import parse
from invites.events.arguments import RoomClosedArguments
from invites.events.entry import Entry
from invites.events.operation import Operation
from tests.support import pushes
from tests.support.worker import KEYS, running
from workers.telemetry.spans import Spans, spans_of_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.support.worker import Streams
    from workers.lab.fake_sippo import FakeSippo

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
INVITE = '{"peer":{"id":"a","user":"alice"},"to":"bob","inviteId":"1","room":"r"}'
INVITE_2 = INVITE.replace('"1"', '"2"')


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider)


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Trace id and the id of the parent."""
    assert span.context is not None
    assert span.parent is not None
    return f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}"


async def test_every_step_of_a_call_is_a_span_of_its_trace(
    streams: Streams,
    valkey_url: str,
    fake_sippo: FakeSippo,
    jobs: pushes.Jobs,
    spans: Spans,
    exporter: InMemorySpanExporter,
) -> None:
    config = parse({"invites": {"basic": {"resolvePush": True, "wac": fake_sippo.wac}}})
    async with running(config, valkey_url, spans=spans) as service:
        await streams.client.xadd(KEYS.events, {"type": "invite", "payload": INVITE, "traceparent": SAMPLED})
        for device in ("phone", "tablet"):
            await fake_sippo.pushed(device)
        await jobs.settled()
        await service.drain()
    found = exporter.get_finished_spans()
    assert {ids(span) for span in found} == {(TRACE, PARENT)}
    names = Counter(span.name for span in found)
    # The invite is committed twice, around its lookup. Each of two push jobs is read, decoded, sent and committed.
    assert names.pop("push") >= 2  # a busy machine may try again
    assert names == {"read": 3, "decode": 3, "look-up": 1, "commit": 4}
    for span in found:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    commits = [span.attributes or {} for span in found if span.name == "commit"]
    assert {(each["invites.rule"], each["invites.outcome"]) for each in commits} == {
        ("invite", "needs"), ("invite", "done"), ("pushTaken", "done"),
    }  # fmt: skip
    assert {each["invites.ref"] for each in commits} == {"alice|1|bob"}
    told = [fields.get(b"traceparent") for _, fields in await streams.client.xrange(KEYS.notifications)]
    assert set(told) == {SAMPLED.encode()}


async def test_events_without_a_trace_or_not_sampled_make_no_spans(
    streams: Streams, valkey_url: str, spans: Spans, exporter: InMemorySpanExporter
) -> None:
    unsampled = f"{SAMPLED[:-1]}0"
    async with running(parse({}), valkey_url, spans=spans) as service:
        await streams.client.xadd(KEYS.events, {"type": "invite", "payload": INVITE})
        await streams.client.xadd(
            KEYS.events, {"type": "invite", "payload": INVITE_2, "traceparent": unsampled}
        )
        await streams.heard("inviteRejected", 2)
        await service.drain()
    assert exporter.get_finished_spans() == ()


class Collector:
    """Receives the exported spans; answers once `answers` is set."""

    def __init__(self) -> None:
        self.body = b""
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async def collect(request: web.BaseRequest) -> web.Response:
            assert request.path == "/v1/traces"
            self.body += await request.read()
            self.asked.set()
            await self.answers.wait()
            return web.Response()

        runner = web.ServerRunner(web.Server(collect))
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.answers.set()
            await runner.cleanup()


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    found = Collector()
    async with found.serving() as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=mine")
        yield found


def spans_of_a_closed_room() -> Spans:
    spans = spans_of_environment("worker-1")
    assert spans is not None
    operation = Operation("roomClosed", "1-1", RoomClosedArguments("r"), trace=SAMPLED)
    spans.taken(0, Entry("1-1", {}), operation, 5, 6)
    return spans


async def test_the_environment_names_the_collector(collector: Collector) -> None:
    collector.answers.set()
    await asyncio.to_thread(spans_of_a_closed_room().close)
    assert collector.body.count(bytes.fromhex(TRACE)) == 2
    for text in (b"worker-1", b"SippoAS.qss.invites-rooms", b"mine", b"read", b"decode"):
        assert text in collector.body


async def test_a_collector_that_does_not_answer_holds_up_no_stop(collector: Collector) -> None:
    async with asyncio.timeout(8):
        await asyncio.to_thread(spans_of_a_closed_room().close)
        await collector.asked.wait()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=["nothing", "disabled", "no exporter"],
)
def test_without_a_wish_there_are_no_spans(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, Any]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert spans_of_environment("w") is None


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert spans_of_environment("w") is None
    assert "invites-worker[otel]" in caplog.text
