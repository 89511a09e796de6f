"""The shared parts of the tests of deploy/: its secrets, made in a copy, and a server that runs with its files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.servers import binaries
from workers.lab.child_process import ChildProcess

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
USERS = ("publisher", "gateway", "worker", "operator", "resharder", "eraser", "probe", "admin", "exporter")


class Installation(NamedTuple):
    """A server that runs with the files of deploy/, and the secrets of its users."""

    secrets: Path
    admin_url: str

    def url(self, user: str) -> str:
        """Where a user's client connects to."""
        return (self.secrets / f"{user}.url").read_text().strip()


def make_secrets(folder: Path, server: str, *options: str) -> Path:
    """Run deploy/make-secrets in a copy of the folder; returns the secrets' folder."""
    if "--tls" in options and shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    for name in ("make-secrets", "users.acl.template"):
        shutil.copy(DEPLOY / name, folder)
    subprocess.run([folder / "make-secrets", *options, server], check=True, capture_output=True)
    return folder / "secrets"


def rules(template: str, user: str) -> list[str]:
    """The permissions of a user in one of the templates, as ACL SETUSER takes them."""
    lines = (DEPLOY / template).read_text().splitlines()
    return next(line.split()[4:] for line in lines if line.startswith(f"user {user} "))


def start_server(kind: str, port: int, users: Path, folder: Path) -> ChildProcess:
    """Start a `kind` of server with deploy/valkey.conf, changed only in where its files are and where it listens."""
    places = {"/run/secrets/users.acl": users, "dir /data": f"dir {folder}", "port 6379": f"port {port}"}
    changed = _moved("valkey.conf", folder, places)
    return ChildProcess([binaries.program(kind), changed, "--bind", "127.0.0.1"])


def start_tls_server(program: Path, port: int, secrets: Path, folder: Path) -> ChildProcess:
    """Start a server that is built with TLS with deploy/tls.conf, changed in the same way."""
    places = {"/run/secrets/users.acl": secrets / "users.acl", "dir /data": f"dir {folder}"}
    plain = _moved("valkey.conf", folder, places)
    places = {
        "include /etc/valkey/valkey.conf": f"include {plain}",
        "tls-port 6379": f"tls-port {port}",
        "/etc/valkey/tls/": f"{secrets}/tls-server/",
    }
    return ChildProcess([program, _moved("tls.conf", folder, places), "--bind", "127.0.0.1"])


def _moved(name: str, folder: Path, places: Mapping[str, object]) -> Path:
    """A copy of a file of deploy/ in the folder, in which some places are others."""
    text = (DEPLOY / name).read_text()
    for there, here in places.items():
        assert there in text
        text = text.replace(there, str(here))
    changed = folder / name
    changed.write_text(text)
    return changed
