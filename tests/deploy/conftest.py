"""A server as deploy/ makes it, of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import installations, programs
from tests.support.servers import binaries
from tests.support.servers.node import free_port
from tests.support.waiting import wait_until_sync


@pytest.fixture(scope="module", params=binaries.KINDS)
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[installations.Installation]:
    """A server that runs with the files of deploy/, and one more user for the tests, who may do everything."""
    port = free_port()
    secrets = installations.make_secrets(tmp_path_factory.mktemp("deploy"), f"127.0.0.1:{port}")
    users = secrets.parent / "users.acl"
    users.write_text((secrets / "users.acl").read_text() + "user tester on >tester ~* &* +@all\n")
    with installations.start_server(request.param, port, users, tmp_path_factory.mktemp("data")) as server:
        wait_until_sync(
            lambda: "Ready to accept connections" in server.output() or not server.running(),
            "the server is up",
        )
        assert server.running(), server.output()
        yield installations.Installation(secrets, f"redis://tester:tester@127.0.0.1:{port}/0")


@pytest.fixture(scope="session")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of deploy/make-secrets without arguments. Nobody changes it."""
    return installations.make_secrets(tmp_path_factory.mktemp("secrets"), "valkey:6379")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Node project into which the package of deploy/node is installed; skips the test where Node is missing."""
    return programs.install(tmp_path_factory.mktemp("node"))
