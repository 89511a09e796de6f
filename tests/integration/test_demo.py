"""`invites demo` as a user runs it, and what it does when something is missing."""

from __future__ import annotations

import io
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from tests.support.demos import demo, nothing_is_left, using
from workers.lab.child_process import ChildProcess
from workers.lab.demo import play, runner
from workers.lab.demo.devices import Device, MissingError, Notification
from workers.lab.demo.renderer import Cell, Renderer
from workers.lab.embedded import EmbeddedError
from workers.lab.fake_sippo import Directory

_SCENES = (
    'Bob answers on his phone, the others hear "accepted elsewhere"',
    "Bob declines on his tablet",
    "Alice hangs up before anybody answers",
    "Bob's phone loses its network and comes back",
    "Nobody answers",
    "Alice calls the group sales, and Carol is the first to answer",
    "Frank's phone sleeps, and a push wakes it",
    "Alice calls +34600123456 on the phone network",
    "Alice's app restarts in the middle, and she calls again",
    "Bob joins the room by a link, and his phones stop",
    "Frank's phone loses its network, and a push reaches it",
    "Frank answers before his woken phone is registered",
    "A gateway to +34600123456 fails, and the next one rings",
)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short enough for a unix socket."""
    return tmp_path_factory.mktemp("d")


def test_plays_all_scenes_and_leaves_nothing_behind(folder: Path) -> None:
    with demo(folder) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), out
    for title in _SCENES:
        assert title in out
    assert len(re.findall(r"^  \w[\w ]+ .* \d+\.\d$", out, re.MULTILINE)) == 37  # rows that took a time
    assert re.search(r"^  decline +▸ declines +\d+\.\d$", out, re.MULTILINE), "Alice hears nothing of it"
    assert re.search(r"^  push, ttl 5\d s +hears of it +▸ wakes it +wakes up$", out, re.MULTILINE)
    assert "call record: ACCEPTED 200 · Carol 200, Dave 603, Erin 487" in out
    assert "Nobody rings any more, every event is settled." in out
    assert "\x1b" not in out, "it is no terminal"
    nothing_is_left(folder)


def test_prints_to_whoever_knows_ascii_only(folder: Path) -> None:
    with demo(folder, PYTHONIOENCODING="ascii", COLUMNS="40") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 40


def test_makes_a_picture_as_wide_as_the_ladder(folder: Path) -> None:
    picture = folder / "ladder.svg"
    with demo(folder, "--svg", str(picture), COLUMNS="40") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), out
    svg = picture.read_text("utf-8")
    words = " ".join(text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))  # noqa: S314 - the text is our own
    words = words.replace("\xa0", " ")
    for shown in ("made its first commit", *_SCENES[:3], "hears ringing", "DECLINED_BY_CREATOR 487"):
        assert shown in words
    assert _SCENES[3] not in words
    assert "font-face" not in svg
    assert not re.search(r"url\((?!#)", svg)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stops_quietly_in_the_middle(folder: Path, end: signal.Signals) -> None:
    with demo(folder, PYTHONUNBUFFERED="1") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "Bob declines" in line:
                break
        assert using(folder), "server and worker run"
        process.send_signal(end)
        assert process.wait(10) != 0
        assert process.stderr.read() == ""
    nothing_is_left(folder)


async def _play_with(
    monkeypatch: pytest.MonkeyPatch, worker: str, *, patience_ms: int = 300
) -> tuple[int, str]:
    """Play with a worker that runs the Python code `worker`."""

    def start(_url: str, _configuration: Mapping[str, object]) -> ChildProcess:
        return ChildProcess([sys.executable, "-c", worker])

    monkeypatch.setattr(runner, "start_worker", start)
    monkeypatch.setattr(runner, "_WORKER_START_MS", patience_ms)
    out = io.StringIO()
    return await play(Console(file=out, width=200), pace_s=0), out.getvalue()


async def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    status, out = await _play_with(monkeypatch, "import signal; signal.pause()")
    assert status == 1
    assert "✗ phone: answer request=getInvitations code=200 did not come within" in out
    assert "(nothing came)" in out


async def test_says_so_when_sippo_server_knows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_directory", lambda *_: Directory())
    out = io.StringIO()
    assert await play(Console(file=out, width=200), pace_s=0) == 1
    said = out.getvalue()
    assert "call record: DECLINED_BY_TIMEOUT 408" in said
    assert "inviteProgress inviteId=call-6 code=100 candidates=3 did not come" in said
    assert "(inviteRejected came)" in said


async def test_does_not_wait_for_a_worker_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    status, out = await _play_with(monkeypatch, "raise SystemExit('no, thank you')", patience_ms=60_000)
    assert status == 1
    assert "The worker ended with status 1. The worker printed: no, thank you" in out


async def test_says_so_when_no_server_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(EmbeddedError, match="There is no embedded Valkey for this machine"):
        await play(Console(file=io.StringIO()), pace_s=0)


async def test_says_so_when_the_picture_cannot_be_written(tmp_path: Path) -> None:
    out = io.StringIO()
    missing = tmp_path / "missing" / "ladder.svg"
    assert await play(Console(file=out), pace_s=0, svg=missing) == 1
    assert "✗ The picture cannot be written: " in out.getvalue()


def _told(kind: str, **payload: object) -> Notification:
    return Notification(kind, (), payload, 0.0, 0.0)


async def test_a_device_expects_one_thing_of_one_call() -> None:
    phone = Device("phone")
    phone.deliver(_told("invitationCancel", inviteId="old", code=200))
    phone.deliver(_told("invitationCancel", inviteId="new", code=487))
    heard = await phone.expect("invitationCancel", 100, inviteId="new", code=487)
    assert heard.payload["inviteId"] == "new"
    assert [note.payload["inviteId"] for note in phone.inbox] == ["old"]


async def test_a_device_objects_to_anything_else() -> None:
    phone = Device("phone")
    phone.deliver(_told("invitationCancel", inviteId="new", code=408))
    with pytest.raises(MissingError, match=r"phone: .* code=487 was expected, it came with .* code=408"):
        await phone.expect("invitationCancel", 100, inviteId="new", code=487)


async def _row(**options: Any) -> str:
    out = io.StringIO()
    renderer = Renderer(["Alice", "phone", "tablet"], Console(file=out, **options), pace_s=0)
    rings = Cell("rings", "yellow")
    cells = {"Alice": Cell("calls", "bold", acts=True), "phone": rings, "tablet": rings}
    await renderer.row("invite", cells, 1.26)
    return out.getvalue()


async def test_wide_terminals_get_a_ladder() -> None:
    assert (await _row(width=80)).split() == ["invite", "▸", "calls", "rings", "rings", "1.3"]
    assert (await _row(width=80)).count("\n") == 1


async def test_narrow_terminals_get_sentences() -> None:
    assert await _row(width=40) == "  invite  1.3 ms\n    ▸ Alice: calls\n    phone, tablet: rings\n"


async def test_only_terminals_get_colours() -> None:
    assert "\x1b[33m" in await _row(width=80, force_terminal=True, color_system="standard")
    assert "\x1b" not in await _row(width=80)


async def test_no_color_is_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    await Renderer(["Alice"], pace_s=0).row("invite", {"Alice": Cell("calls", "yellow", acts=True)}, 1.0)
    assert "\x1b" not in capsys.readouterr().out
