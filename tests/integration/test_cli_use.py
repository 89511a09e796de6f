"""The command line as such: help, wrong use, and how commands end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from invites import __version__
from invites.build import COMMIT
from tests.support.commands import Commands
from tests.support.seeds import KEYS

_COMMANDS = (
    ("check",),
    ("status",),
    ("show", "a|b|c"),
    ("tail",),
    ("publish", "getInvitations", '{"peer":{"id":"a1","user":"alice"},"transaction":"t"}'),
    ("dead", "list"),
    ("dead", "show", "1-1"),
    ("dead", "retry", "--all"),
    ("dead", "drop", "--all"),
    ("run",),
)
_ON_SERVER = tuple(words for words in _COMMANDS if words != ("run",))
_ROOT = Path(__file__).resolve().parents[2]


def _one_sentence(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("invites: ")
    assert "Traceback" not in err
    return lines[0]


def test_help_names_every_command(commands: Commands) -> None:
    ended = commands.run("--help")
    assert ended.status == 0
    for name in ("run", "demo", "check", "status", "show", "tail", "publish", "dead", "bench"):
        assert f"\n  {name} " in ended.out
    assert commands.run().status == 2


def _loaded(script: str, *packages: str) -> set[str]:
    """Which of the packages are loaded once the script has run."""
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=_ROOT,
    )
    return set(ended.stdout.splitlines()[-1].split()) & set(packages)


@pytest.mark.parametrize(
    "script",
    [
        "invoke(['--help'])",
        (
            "os.environ |= {'_INVITES_COMPLETE': 'complete_bash', 'COMP_WORDS': 'invites st', 'COMP_CWORD': '1'}\n"
            "with contextlib.suppress(SystemExit): invoke([])"
        ),
    ],
    ids=["help", "completion"],
)
def test_help_and_completion_load_nothing_that_only_running_needs(script: str) -> None:
    heavy = (
        "redis",
        "aiohttp",
        "uvloop",
        "prometheus_client",
        "msgspec",
        "rich",
        "re2",
        "jwt",
        "tenacity",
        "workers.lab",
    )
    setting = "import contextlib, os\nfrom workers.cli.app import invoke\n"
    assert _loaded(setting + script, "workers.cli.app", *heavy) == {"workers.cli.app"}


def test_a_production_worker_loads_nothing_of_the_lab() -> None:
    script = """
from workers import service
from workers.cli.app import invoke

async def run(*_, **__):
    return 0

service.run = run
assert invoke(["run", "--redis-url", "redis://127.0.0.1:1/0"]) == 0
"""
    packages = "workers.http.server", "workers.lab", "opentelemetry.exporter"
    assert _loaded(script, *packages) == {"workers.http.server"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("statu",), "Did you mean 'status'?"),
        (("status", "--jsn"), "--json"),
        (("status", "extra"), "unexpected extra argument"),
        (("status", "--log-level", "loud"), "'debug', 'info', 'warn', 'warning', 'error'"),
        (("status", "--log-format", "xml"), "'text', 'json'"),
        (("show",), "REF"),
        (("show", "alice"), "from|inviteId|to"),
        (("show", "a||c"), "from|inviteId|to"),
        (("publish", "invite"), "JSON"),
        (("publish", "invte", "{}"), "did you mean invite?"),
        (("publish", "invite", "{"), "not JSON"),
        (
            ("publish", "invite", '{"peer":{"id":"a1","user":"alice"},"to":"bob","room":"r"}'),
            "field inviteId is missing",
        ),
        (("dead", "lst"), "Did you mean 'list'?"),
        (("dead", "show", "yesterday"), "not the id of a dead letter"),
        (("dead", "retry"), "--all"),
        (("dead", "retry", "1-1", "--all"), "--all"),
        (("dead", "drop"), "--all"),
        (("run", "--embedded", "--redis-url", "redis://x"), "exclude each other"),
        (("run", "--redis-url", "redis+sentinel://x"), "must name the service"),
        (("tail", "--last", "-1"), "--last"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_is_one_sentence_and_status_2(
    commands: Commands, arguments: tuple[str, ...], said: str
) -> None:
    ended = commands.run(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert said in _one_sentence(ended.err)


@pytest.mark.parametrize("words", _COMMANDS, ids=" ".join)
def test_a_bad_configuration_is_one_sentence_and_status_2(
    commands: Commands, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"redis": {"prefx": "x"}}', "utf-8")
    ended = commands.run(*words, "--config", str(file))
    assert (ended.status, ended.out) == (2, "")
    assert "redis.prefx is not a known key; did you mean redis.prefix?" in _one_sentence(ended.err)


@pytest.mark.parametrize("words", _COMMANDS, ids=" ".join)
def test_no_server_is_one_sentence_and_status_2(commands: Commands, words: tuple[str, ...]) -> None:
    ended = commands.run(*words)
    assert (ended.status, ended.out) == (2, "")
    assert "redis.url is missing" in _one_sentence(ended.err)


@pytest.mark.parametrize("words", _ON_SERVER, ids=" ".join)
def test_a_server_that_is_away_is_one_sentence_and_status_1(
    commands: Commands, words: tuple[str, ...]
) -> None:
    ended = commands.run(*words, "--redis-url", "redis://user:hunter2@127.0.0.1:1/0")
    assert ended.status == 1
    assert "hunter2" not in ended.out + ended.err
    said = ended.out if words == ("check",) else _one_sentence(ended.err)
    assert "Redis at redis://127.0.0.1:1/0 does not answer" in said
    assert "Traceback" not in ended.out


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("words", _ON_SERVER, ids=" ".join)
def test_refused_credentials_are_one_sentence_and_status_1(
    commands: Commands, words: tuple[str, ...]
) -> None:
    ended = commands.run(*words, "--redis-url", commands.url.replace("redis://", "redis://nobody:hunter2@"))
    assert ended.status == 1
    assert "hunter2" not in ended.out + ended.err
    assert "refuses the credentials" in (ended.out if words == ("check",) else _one_sentence(ended.err))


def test_what_is_not_allowed_is_one_sentence_and_status_1(commands: Commands, database: redis.Redis) -> None:
    database.execute_command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@read", "+@connection")
    url = commands.url.replace("redis://", "redis://reader:x@")
    ended = commands.run("publish", "roomClosed", '{"roomId":"r"}', "--redis-url", url)
    assert ended.status == 1
    assert "does not allow the command" in _one_sentence(ended.err)
    assert "xadd" in ended.err
    database.execute_command("ACL", "DELUSER", "reader")


def test_a_command_error_cannot_forge_a_line(commands: Commands) -> None:
    ended = commands.run("show", "a\nforged\x1b[2J")
    assert ended.status == 2
    assert r"\u000aforged\u001b" in _one_sentence(ended.err)


@pytest.mark.usefixtures("database")
def test_the_environment_names_the_server(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INVITES_REDIS_URL", commands.url)
    assert commands.run("status").status == 0
    monkeypatch.delenv("INVITES_REDIS_URL")
    (tmp_path / "url").write_text(commands.url, "utf-8")
    monkeypatch.setenv("INVITES_REDIS_URL_FILE", str(tmp_path / "url"))
    assert commands.run("status").status == 0
    monkeypatch.setenv("INVITES_REDIS_URL", commands.url)
    ended = commands.run("status")
    assert ended.status == 2
    assert "both set" in _one_sentence(ended.err)


def test_the_prefix_of_the_configuration_is_used(
    commands: Commands, database: redis.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"redis": {"prefix": "calls", "url": commands.url}}), "utf-8")
    assert commands.run("publish", "roomClosed", '{"roomId":"r"}', "--config", str(file)).status == 0
    assert database.keys() == [b"calls:{0}:events"]


def test_the_version(commands: Commands) -> None:
    ended = commands.run("--version")
    assert ended.status == 0
    assert ended.out == f"invites {__version__} (commit {COMMIT})\n"


def test_a_reader_that_has_seen_enough_is_no_error(commands: Commands, database: redis.Redis) -> None:
    """`invites dead list | head -1`: no traceback, although the pipe is closed."""
    with database.pipeline() as pipe:
        for _ in range(5000):
            pipe.xadd("invites:{0}:dead", {"type": "x", "payload": "x" * 100, "error": "y" * 100})
        pipe.execute()
    process = subprocess.Popen(
        [sys.executable, "-m", "workers", "dead", "list", "--redis-url", commands.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=_ROOT,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.usefixtures("database")
def test_started_as_a_process_it_ends_quickly(commands: Commands) -> None:
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "workers", "status", "--json", "--redis-url", commands.url],
        capture_output=True,
        check=True,
        cwd=_ROOT,
    )
    assert json.loads(ended.stdout)["shards"][0]["deadLetters"] == 0
    assert time.monotonic() - began < 10


_SEE_ALL = (
    ("status",),
    ("list",),
    ("show", "a|b|c"),
    ("tail",),
    ("gateways", "list"),
    ("gateways", "drop", "g"),
    ("dead", "list"),
    ("dead", "drop", "--all"),
    ("erase", "bob"),
)


@pytest.mark.leaks  # the layout is written by hand
def test_no_command_takes_a_part_of_the_shards_for_all(commands: Commands, database: redis.Redis) -> None:
    database.set(KEYS.layout, "3")
    said = "The calls in Redis are in 3 shards, but redis.shards is 1: set redis.shards to 3"
    for words in _SEE_ALL:
        ended = commands.on_server(*words)
        assert (ended.status, ended.out) == (1, ""), words
        assert _one_sentence(ended.err).startswith(f"invites: {said}"), words
    ended = commands.on_server("status", "--exit-code")
    assert ended.status == 2
    assert ended.out.startswith(f"CRITICAL: shard 0: {said}")
    assert commands.on_server("publish", "roomClosed", '{"roomId":"r1"}').status == 0


@pytest.mark.leaks
def test_during_a_reshard_commands_read_and_erase_nothing(commands: Commands, database: redis.Redis) -> None:
    database.set(KEYS.layout, "1>3")
    assert commands.on_server("status").status == 0
    ended = commands.on_server("erase", "bob")
    assert (ended.status, ended.out) == (1, "")
    assert "are being moved from 1 shard to 3" in _one_sentence(ended.err)


def test_arguments_are_utf8(commands: Commands) -> None:
    for words in (("show", "zo\udceb"), ("list", "--user", "zo\udceb"), ("erase", "zo\udceb")):
        ended = commands.on_server(*words)
        assert (ended.status, ended.out) == (2, ""), words
        assert _one_sentence(ended.err) == "invites: The argument zo\\udceb is not UTF-8."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
@pytest.mark.parametrize("words", [("--help",), ("status",)])
def test_a_full_disk_is_one_sentence(valkey_url: str, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "workers", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=_ROOT,
            env={"INVITES_REDIS_URL": valkey_url},
        )
    assert ended.returncode == 1
    assert _one_sentence(ended.stderr) == "invites: The output cannot be written: No space left on device."


def test_wrong_use_is_one_line(commands: Commands) -> None:
    assert _one_sentence(commands.run("completion").err).endswith("Choose from: bash, zsh, fish")
    ended = commands.on_server("status", "--watch", "--exit-code")
    assert (ended.status, ended.out) == (2, "")
    assert _one_sentence(ended.err) == "invites: --exit-code looks once: leave out --watch."
