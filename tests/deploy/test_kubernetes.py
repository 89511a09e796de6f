"""The manifests of deploy/kubernetes: all names in them exist, and pods have no permissions beyond their needs."""

from __future__ import annotations

import copy
import functools
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from invites import config
from tests.deploy import installations, kustomize
from workers.cli.app import COMMANDS
from workers.gateway.service import _CLOSE_WITHIN_S, _END_WITHIN_S
from workers.service import DRAIN_S
from workers.telemetry.metrics import Metrics

_BASE, _KEDA, _EXAMPLE = (kustomize.FOLDER / name for name in ("base", "keda", "example"))
_README = (installations.DEPLOY / "README.md").read_text("utf-8")
_SOURCES = {"worker": "workers/http/server.py", "gateway": "workers/gateway/service.py"}


@pytest.fixture(scope="module")
def secrets() -> dict[str, set[str]]:
    """The secrets and their files, as the commands of the README make them."""
    found: dict[str, set[str]] = {}
    for line in _README.replace("\\\n", " ").splitlines():
        words = shlex.split(line) if "create secret generic" in line else []
        if words:
            files = [word.removeprefix("--from-file=") for word in words if word.startswith("--from-file=")]
            found[words[words.index("generic") + 1]] = {Path(file).name for file in files}
    return found


@pytest.fixture(scope="module")
def everything() -> list[kustomize.Resource]:
    """The example with the scaler."""
    return kustomize.render(_KEDA, kustomize.render(_EXAMPLE))


def test_what_they_name_exists(everything: list[kustomize.Resource], secrets: dict[str, set[str]]) -> None:
    assert kustomize.faults(kustomize.render(_BASE), secrets) == []
    assert kustomize.faults(everything, secrets) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            "Deployment/spec/template/metadata/labels/app.kubernetes.io~1name",
            "other",
            "does not match its pods",
        ),
        ("Deployment/spec/template/spec/volumes/0/configMap/name", "other", "volume config is missing"),
        ("Deployment/spec/template/spec/volumes/1/secret/secretName", "other", "volume secrets is missing"),
        ("Deployment/spec/template/spec/containers/0/env/0/value", "/run/x.url", "/run/x.url is not mounted"),
        (
            "Deployment/spec/template/spec/containers/0/livenessProbe/httpGet/port",
            "x",
            "port of livenessProbe",
        ),
        ("Deployment/spec/template/spec/containers/0/volumeMounts/0/name", "x", "mounts"),
        (
            "Deployment/spec/template/metadata/annotations/prometheus.io~1port",
            "1",
            "Prometheus asks the port 1",
        ),
        ("Service/spec/ports/0/targetPort", "x", "there is no port x"),
        (
            "PodDisruptionBudget/spec/selector/matchLabels/app.kubernetes.io~1name",
            "x",
            "pods of 0 deployments",
        ),
        ("NetworkPolicy/spec/ingress/0/ports/0/port", "x", "there is no port x"),
        ("Ingress/spec/rules/0/http/paths/0/backend/service/port/name", "x", "there is no service"),
        ("ScaledObject/spec/scaleTargetRef/name", "x", "it scales nothing"),
    ],
)
def test_a_name_that_is_wrong_is_found(
    path: str, value: str, said: str, everything: list[kustomize.Resource], secrets: dict[str, set[str]]
) -> None:
    resources = copy.deepcopy(everything)
    kind, *parts, last = path.split("/")
    at: Any = next(one for one in resources if one["kind"] == kind)
    for part in parts:
        at = at[int(part)] if isinstance(at, list) else at[part]
    at[last.replace("~1", "/")] = value
    assert said in "\n".join(kustomize.faults(resources, secrets))


@pytest.mark.parametrize("folder", [_BASE, _EXAMPLE])
def test_kubectl_renders_the_same(folder: Path) -> None:
    """So the checks here are about what a cluster gets."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = re.sub(r"invites-config-\w{10}", "invites-config", done.stdout)
    rendered = {kustomize.key_of(one): one for one in yaml.safe_load_all(text)}
    assert rendered == {kustomize.key_of(one): one for one in kustomize.render(folder)}


def test_kubectl_adds_the_scaler(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    copied = shutil.copytree(kustomize.FOLDER, tmp_path / "kubernetes") / "example"
    text = (copied / "kustomization.yaml").read_text()
    assert text.count("# components:") == 1
    (copied / "kustomization.yaml").write_text(text.replace("# components:", "components:"))
    done = subprocess.run(["kubectl", "kustomize", copied], check=True, capture_output=True, text=True)
    rendered = {kustomize.key_of(one): one for one in yaml.safe_load_all(done.stdout)}
    assert "replicas" not in rendered["Deployment", "invites-worker"]["spec"]
    assert rendered["ScaledObject", "invites-worker"]["metadata"]["namespace"] == "invites"


@functools.cache
def _deployments() -> dict[str, kustomize.Resource]:
    return {
        container["name"]: one for one in kustomize.render(_BASE) for container in kustomize.containers(one)
    }


@pytest.mark.parametrize("role", ["worker", "gateway"])
def test_pods_have_no_rights_that_they_do_not_need(role: str) -> None:
    """What the level `restricted` of Kubernetes wants, and no token."""
    pod = _deployments()[role]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"\nUSER {user}\n" in (installations.DEPLOY / "Dockerfile").read_text()
    assert {"requests", "limits"} == set(container["resources"])


@pytest.mark.parametrize("role", ["worker", "gateway"])
def test_probes_ask_what_the_role_serves(role: str) -> None:
    source = (installations.ROOT / _SOURCES[role]).read_text("utf-8")
    served = set(re.findall(r'web\.get\("(/\w+)"', source))
    (container,) = kustomize.containers(_deployments()[role])
    asked = {
        probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")
    }
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert set(asked.values()) | {"/metrics"} <= served
    assert container["args"][0] in COMMANDS


def test_the_time_to_end_is_enough() -> None:
    needed = {"worker": DRAIN_S + 3, "gateway": 5 + 2 * _END_WITHIN_S + _CLOSE_WITHIN_S + 3}
    for role, deployment in _deployments().items():
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needed[role], role


@pytest.mark.parametrize("folder", [_BASE, _EXAMPLE])
def test_the_configuration_and_the_secrets_load(folder: Path, made_secrets: Path, tmp_path: Path) -> None:
    (tmp_path / "wac.password").write_text("secret")
    ports = {}
    for one in kustomize.render(folder):
        for container in kustomize.containers(one):
            files = {env["name"]: Path(env["value"]).name for env in container["env"]}
            places = {name: made_secrets / file for name, file in files.items()}
            if "INVITES_WAC_PASSWORD_FILE" in places:
                places["INVITES_WAC_PASSWORD_FILE"] = tmp_path / "wac.password"
            environ = {name: str(place) for name, place in places.items()}
            loaded = config.load(folder / "config.json", environ=environ)
            if container["name"] == "worker":
                config.check_lookups(loaded)
            assert loaded.redis.url is not None
            assert loaded.redis.url.reveal().startswith(f"redis://{container['name']}:")
            ports[container["name"]] = container["ports"][0]["containerPort"]
    loaded = config.load(folder / "config.json", environ={})
    assert (loaded.http.host, loaded.gateway.host) == ("0.0.0.0", "0.0.0.0")  # noqa: S104 - what the manifest says
    assert ports == {"worker": loaded.http.port, "gateway": loaded.gateway.port}


def test_the_ways_to_other_servers_are_open() -> None:
    """The server of the URLs, sippo-server, and names; nothing else."""
    address = json.loads((_EXAMPLE / "config.json").read_text())["invites"]["basic"]["wac"]["address"]
    for folder, more in ((_BASE, set()), (_EXAMPLE, {int(address.rpartition(":")[2])})):
        policies = {
            one["metadata"]["name"]: {
                port["port"] for rule in one["spec"]["egress"] for port in rule["ports"]
            }
            for one in kustomize.render(folder)
            if one["kind"] == "NetworkPolicy"
        }
        assert policies == {"invites-worker": {53, 6379} | more, "invites-gateway": {53, 6379}}


def test_the_scaler_asks_for_a_metric_that_exists(everything: list[kustomize.Resource]) -> None:
    (scaler,) = (one for one in everything if one["kind"] == "ScaledObject")
    (trigger,) = scaler["spec"]["triggers"]
    (name,) = re.findall(r"invites_\w+", trigger["metadata"]["query"])
    exposed, _ = Metrics().exposition("")
    assert f"# TYPE {name} gauge\n".encode() in exposed
