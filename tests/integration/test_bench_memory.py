"""`invites bench memory` on few invites: it counts correctly, and refuses invalid results."""

from __future__ import annotations

import json

import pytest
import redis

from invites.store.settings import Settings
from tests.support.commands import Commands
from workers.lab.bench.load import Load
from workers.lab.bench.memory import measure
from workers.lab.bench.target import BenchError


def _bytes(load: Load) -> float:
    return measure(load, None, Settings(), lambda _: None)[0].bytes_per_invite


def test_prints_one_json_object(commands: Commands) -> None:
    ended = commands.run("bench", "memory", "--pending", "300", "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert list(result) == ["pending", "bytes_per_invite"]
    assert result["pending"] == 300
    assert 500 < result["bytes_per_invite"] < 5000


def test_measures_what_a_finished_call_leaves(commands: Commands) -> None:
    ended = commands.run("bench", "memory", "--pending", "300", "--ended", "--json")
    assert ended.status == 0, ended.err
    assert 500 < json.loads(ended.out)["bytes_per_ended_call"] < 5000


def test_says_what_the_parts_are(commands: Commands) -> None:
    ended = commands.run("bench", "memory", "--pending", "300", "--callees", "10")
    assert ended.status == 0, ended.err
    assert "of that invite" in ended.out
    assert "of that timers" in ended.out
    assert "registry" not in ended.out


def test_measures_another_server_and_deletes_its_keys(commands: Commands, database: redis.Redis) -> None:
    database.set("theirs", "1")
    ended = commands.on_server("bench", "memory", "--pending", "20", "--json")
    assert ended.status == 0, ended.err
    assert database.keys() == [b"theirs"]


def test_each_device_takes_more() -> None:
    few, many = (_bytes(Load(500, devices, 0, callees=500)) for devices in (1, 6))
    assert many > few + 5 * 50


def test_invites_that_are_not_pending_are_no_result() -> None:
    refused = Settings(max_ring_timeout=1)
    with pytest.raises(BenchError, match="20 invites should be pending, but 0 are"):
        measure(Load(20, 0, 0, callees=20), None, refused, lambda _: None)
