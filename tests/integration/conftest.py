"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.support.commands import Commands


@pytest.fixture
def database(valkey_server: str) -> Iterator[redis.Redis]:
    """A client of the emptied Valkey for tests without a loop of their own."""
    with redis.Redis.from_url(valkey_server) as found:
        found.flushall()
        yield found


@pytest.fixture
def commands(
    capsys: pytest.CaptureFixture[str], valkey_server: str, monkeypatch: pytest.MonkeyPatch
) -> Commands:
    """The command line, with nothing in the environment."""
    for name in ("INVITES_REDIS_URL", "INVITES_WAC_PASSWORD", "INVITES_HTTP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    return Commands(capsys, valkey_server)
