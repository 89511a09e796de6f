"""`invites size`: its figures are those of a real server, and its sums are right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from invites.queries import sizes
from tests.support import events as e
from tests.support.sizes import calls, marks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.commands import Commands
    from tests.support.events import Published

_WITHIN = 0.2
_SMALL_WITHIN = 0.3  # the server's tables are half empty or full


def _id(number: int) -> str:
    return f"4f1c2a9d0b7e{number:012d}"


def _guest_ends(number: int) -> Iterator[Published]:
    yield e.disconnected(f"peer-{_id(number)}", _id(number))


def _device_ends(number: int) -> Iterator[Published]:
    user = f"user-{_id(number)}"
    yield e.registered(f"peer-{user}", user, device=f"hardware-{user}")
    yield e.disconnected(f"peer-{user}", user)


def _leaves(number: int) -> Iterator[Published]:
    yield e.joined(_id(number), _id(number))
    yield e.left(_id(number), _id(number))


def _closes(number: int) -> Iterator[Published]:
    yield e.room_closed(f"another-{_id(number)}")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 6])
def test_a_call_takes_what_is_said(devices: int) -> None:
    registered, pending, finished = calls(devices)
    assert registered == pytest.approx(sizes.USER + devices * sizes.DEVICE, rel=_WITHIN)
    assert pending == pytest.approx(sizes.PENDING + sizes.STORY + devices * sizes.CANDIDATE, rel=_WITHIN)
    story = sizes.STORY_FINISHED + devices * sizes.STORY_CANDIDATE
    ended = sizes.FINISHED + devices * sizes.FINISHED_CANDIDATE
    assert finished == pytest.approx(ended + story, rel=_WITHIN)


@pytest.mark.slow
def test_the_order_of_events_takes_what_is_said() -> None:
    found = marks(_guest_ends, _device_ends, _leaves, _closes)
    assert found == pytest.approx(
        [sizes.GONE, sizes.GONE_DEVICE, sizes.LEFT, sizes.CLOSED], rel=_SMALL_WITHIN
    )


def test_it_adds_up(commands: Commands) -> None:
    ended = commands.run("size", "--rate", "10", "--devices", "3000", "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert [(one["what"], one["count"]) for one in found["parts"]] == [
        ("registered devices", 3_000),
        ("ringing calls", 150),
        ("ended calls", 3_000),
        ("calls whose order is kept", 36_000),
        ("stories of calls", 3_150),
    ]
    assert found["bytes"] == sum(one["bytes"] for one in found["parts"])
    assert found["maxmemory"] == 2 * found["bytes"]


def test_it_knows_the_settings(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(
        json.dumps({"invites": {"retainAfter": 3_600_000, "callerGrace": 7_200_000, "story": False}})
    )
    ended = commands.run("size", "--rate", "1", "--devices", "0", "--json", "--config", str(file))
    assert [one["count"] for one in json.loads(ended.out)["parts"]] == [0, 15, 3_600, 7_260]


def test_it_says_what_it_assumes(commands: Commands) -> None:
    ended = commands.run("size", "--rate", "10", "--devices", "3000")
    assert ended.status == 0, ended.err
    assert "maxmemory, twice as much" in ended.out
    assert "Ended calls are kept for 300 s, the order of events for 3,600 s." in ended.out
