"""A short run of the chaos, and proof that it finds the faults that it looks for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.calls import DEVICES, Calls
from tests.chaos.driver import play


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "shards"),
    [("sentinel", 1), ("cluster", 3), ("cluster-going-on", 3), ("moving", 1), ("moving-atomically", 3)],
)
async def test_every_event_has_its_effect_once_while_servers_fail_over_and_shards_move(
    place: str, shards: int
) -> None:
    result = await play(
        place, seconds=2.0, workers=2, server_every_s=1.0, seed=7, tell=lambda _: None, shards=shards
    )
    assert result.faults == [], result.words()
    assert result.calls > 100, result.words()
    assert result.away_s, result.words()


@pytest.mark.chaos
@pytest.mark.slow
async def test_every_event_has_its_effect_once_while_workers_and_server_die() -> None:
    said: list[str] = []
    result = await play("single", seconds=4.0, workers=2, server_every_s=2.0, seed=7, tell=said.append)
    assert result.faults == [], result.words()
    assert result.calls > 500, result.words()
    assert sum(result.harm.values()) >= 2, result.words()


@pytest.mark.chaos
@pytest.mark.slow
async def test_every_event_has_its_effect_once_while_the_network_of_a_worker_is_cut() -> None:
    result = await play(
        "network", seconds=1.0, workers=2, server_every_s=0.5, seed=7, tell=lambda _: None, shards=2
    )
    assert result.faults == [], result.words()
    assert result.away_s, result.words()


def played(plan: str) -> tuple[Calls, dict[str, Any]]:
    """One call of a plan that has begun to ring, and the ids in its payloads."""
    calls = Calls(seed=1)
    while True:
        _, invite = calls.begin()
        number = int(invite["inviteId"].removeprefix("call-"))
        if calls.open[number].plan == plan:
            break
        del calls.open[number]
    ids = {"inviteId": invite["inviteId"]}
    calls.hear("first", "invitation", [f"{invite['to']}-{device}" for device in range(DEVICES)], ids)
    return calls, ids


def test_a_call_without_end_is_seen() -> None:
    calls, _ = played("silence")
    assert "there is no record" in " ".join(calls.check())


def test_a_call_that_went_as_it_should_has_no_faults() -> None:
    calls, ids = played("silence")
    rung = [f"user-{int(ids['inviteId'][5:])}-{device}" for device in range(DEVICES)]
    calls.hear("second", "invitationCancel", rung, ids)
    calls.hear("third", "inviteRejected", ["caller"], {**ids, "code": 408})
    calls.hear("fourth", "INVITE_COMPLETED", [], {**ids, "state": "DECLINED_BY_TIMEOUT", "error": 408})
    assert calls.check() == []


@pytest.mark.parametrize(
    ("identity", "fault"),
    [("third", "notification third came twice"), ("fourth", "there are 2 records")],
)
def test_an_effect_that_comes_twice_is_seen(identity: str, fault: str) -> None:
    calls, ids = played("silence")
    record = {**ids, "state": "DECLINED_BY_TIMEOUT", "error": 408}
    calls.hear("third", "INVITE_COMPLETED", [], record)
    calls.hear(identity, "INVITE_COMPLETED", [], record)
    assert fault in " ".join(calls.check())


def test_a_device_that_goes_on_ringing_is_seen() -> None:
    calls, ids = played("silence")
    calls.hear("second", "INVITE_COMPLETED", [], {**ids, "state": "DECLINED_BY_TIMEOUT", "error": 408})
    assert len([fault for fault in calls.check() if "was not told to stop" in fault]) == DEVICES


def test_two_winners_are_seen() -> None:
    calls, ids = played("race")
    for transaction in ("0", "1"):
        calls.hear(transaction, "answer", [], {**ids, "transaction": transaction, "code": 200})
    assert "have all won" in " ".join(calls.check())
