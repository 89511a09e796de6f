"""OpenTelemetry spans of events that carry a traceparent. Needs the extra `otel`.

Without it, or without an exporter in the environment, a worker has no `Spans` and does nothing here.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from invites import SERVICE, __version__
from invites.values.traceparent import FIELD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.sdk.trace import TracerProvider

    from invites.events.entry import Entry
    from invites.events.operation import Operation
    from invites.lookup.pushes import Push
    from invites.store.answers import Outcome
    from workers.consumer.ticket import Decoded, Ticket

_WANTED_BY: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_END_S: Final = 0.5

_log = logging.getLogger(__name__)


class Spans:
    """Notes each thing that a worker did with an event: each span is a child of the event's traceparent.

    Times are in ns since 1970.
    """

    def __init__(self, provider: TracerProvider) -> None:
        """Make spans with `provider`, which `close` shuts down."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("invites", __version__)
        self._context_of = TraceContextTextMapPropagator().extract

    def taken(self, shard: int, entry: Entry, item: Decoded, read: int, decoded: int) -> None:
        """An entry was `read`, and then decoded. Its span `read` begins when it was added, by the server's clock."""
        if item.trace:
            about = {
                "invites.shard": shard,
                "invites.entry": entry.id,
                "invites.deliveries": entry.deliveries,
            }
            self._add("read", item.trace, min(entry.at * 1_000_000, read), read, about)
            self._add("decode", item.trace, read, decoded, about)

    def looked_up(self, shard: int, operation: Operation, need: str, began: int, ended: int) -> None:
        """A lookup for the event has ended."""
        if operation.trace:
            about = _about(shard, operation) | {"invites.need": need}
            self._add("look-up", operation.trace, began, ended, about)

    def committed(
        self,
        shard: int,
        tickets: Sequence[Ticket[Operation]],
        outcomes: Iterable[Outcome],
        began: int,
        ended: int,
    ) -> None:
        """Entries were committed together."""
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if ticket.item.trace:
                about = _about(shard, ticket.item)
                about |= {"invites.outcome": outcome.status.value, "invites.batch": len(tickets)}
                self._add("commit", ticket.item.trace, began, ended, about)

    def pushed(self, shard: int, push: Push, outcome: str, began: int, ended: int) -> None:
        """A push was sent to sippo-server once."""
        if push.trace:
            about = {"invites.shard": shard, "invites.entry": push.entry, "invites.ref": push.ref}
            self._add("push", push.trace, began, ended, about | {"invites.outcome": outcome})

    def close(self) -> None:
        """Export the remaining spans. Blocks for half a second at most: a stop must not wait for a collector."""
        closing = threading.Thread(target=self._provider.shutdown, name="exporting spans", daemon=True)
        closing.start()
        closing.join(_END_S)

    def _add(self, name: str, trace: str, began: int, ended: int, about: dict[str, Any]) -> None:
        context = self._context_of({FIELD: trace})
        self._tracer.start_span(name, context=context, start_time=began, attributes=about).end(ended)


def _about(shard: int, operation: Operation) -> dict[str, Any]:
    about = {"invites.shard": shard, "invites.entry": operation.entry, "invites.rule": operation.event_rule}
    return about | ({"invites.ref": operation.ref} if operation.ref else {})


def spans_of_environment(worker: str) -> Spans | None:
    """Spans that the standard variables `OTEL_…` ask for; None if they ask for none, or the extra is not installed."""
    if (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    ):
        return None
    if not any(os.environ.get(name) for name in _WANTED_BY):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("Traces are not exported: install the extra, `pip install 'invites-worker[otel]'`.")
        return None
    own = {"service.name": SERVICE, "service.version": __version__, "service.instance.id": worker}
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override it.
    resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # that would take half a minute
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)
