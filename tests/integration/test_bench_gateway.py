"""`invites bench gateway` with few devices: real gateway, worker and connections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from workers.lab.bench import gateway

if TYPE_CHECKING:
    from tests.support.commands import Commands

_SHORT = ("bench", "gateway", "--devices", "16", "--rate", "20", "--seconds", "0.5")


def test_prints_one_json_object(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_REACHED", 0.0)  # others may be using this machine
    monkeypatch.setattr(gateway, "WARM_UP_S", 0.2)
    ended = commands.run(*_SHORT, "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert (result.pop("devices"), result.pop("rate")) == (16, 20)
    assert set(result) == {"invite_p50_ms", "invite_p99_ms", "accept_p50_ms", "accept_p99_ms"}
    assert all(value > 0 for value in result.values())
    assert "connecting 16 devices" in ended.err


def test_a_rate_that_is_missed_is_no_result(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_REACHED", 100.0)
    monkeypatch.setattr(gateway, "WARM_UP_S", 0.2)
    ended = commands.run(*_SHORT)
    assert ended.status == 1
    assert "calls/s were offered, not 20" in ended.err
