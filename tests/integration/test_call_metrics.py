"""What a worker counts of the calls that it settles."""

from __future__ import annotations

from tests.support import events as e
from tests.support.waiting import wait_until
from tests.support.worker import Streams, worker


async def _publish(streams: Streams, *events: e.Published) -> None:
    for event in events:
        await streams.publish(*event)


async def test_calls_are_counted_by_their_ends_whoever_ends_them(streams: Streams, valkey_url: str) -> None:
    async with worker(valkey_url) as service:

        def value(name: str, **labels: str) -> float:
            found = service.metrics.registry.get_sample_value(f"invites_{name}", labels)
            assert found is not None
            return found

        def ended(state: str, reason: str) -> float:
            return value("calls_ended_total", kind="direct", state=state, reason=reason)

        assert ended("ACCEPTED", "accepted") == value("stop_seconds_count") == 0
        await _publish(streams, e.registered("phone"), e.registered("tablet"), e.invite(), e.ringing("phone"))
        await wait_until(lambda: value("ring_seconds_count", reach="connection") == 1, "the phone rings")
        await _publish(streams, e.accept("phone"))
        await wait_until(lambda: ended("ACCEPTED", "accepted") == 1, "the accepted call is counted")
        assert value("stop_seconds_count") == value("answer_seconds_count") == 1
        await _publish(streams, e.invite(invite_id="2", expires=100))
        await wait_until(
            lambda: ended("DECLINED_BY_TIMEOUT", "timeout") == 1, "the timed out call is counted"
        )
        await _publish(streams, e.accept("phone"), e.accept("phone", invite_id="2"), e.left("bob"))
        await wait_until(lambda: value("event_delay_seconds_count") == 9, "all events are measured")
        assert ended("ACCEPTED", "accepted") == ended("DECLINED_BY_TIMEOUT", "timeout") == 1
        assert value("answer_seconds_count") == value("stop_seconds_count") == 1
