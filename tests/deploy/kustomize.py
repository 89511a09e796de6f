"""Renders the kustomizations of deploy/kubernetes, with the parts of Kustomize that they use, and checks the result."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy.installations import DEPLOY

FOLDER: Final = DEPLOY / "kubernetes"
CLUSTER_WIDE: Final = {"Namespace"}
_KNOWN: Final = {
    "apiVersion", "kind", "resources", "components", "configMapGenerator", "labels", "namespace", "images", "patches",
}  # fmt: skip

Resource = dict[str, Any]


def render(folder: Path, below: list[Resource] | None = None) -> list[Resource]:
    """The resources of a kustomization. Names of config maps get no suffix. `below` is what a component changes."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(kustomization) <= _KNOWN, (
        f"{folder}: this renderer does not know {set(kustomization) - _KNOWN}"
    )
    found = below if below is not None else []
    for name in kustomization.get("resources", ()):
        path = folder / name
        found += render(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for name in kustomization.get("components", ()):
        found = render(folder / name, found)
    for wanted in kustomization.get("configMapGenerator", ()):
        _generate(folder, wanted, found)
    for change in kustomization.get("patches", ()):
        _patch(change, found)
    for resource in found:
        _transform(kustomization, resource)
    return found


def _transform(kustomization: Resource, resource: Resource) -> None:
    """Set labels, namespace and images."""
    for labels in kustomization.get("labels", ()):
        _label(resource, labels)
    if "namespace" in kustomization and resource["kind"] not in CLUSTER_WIDE:
        resource["metadata"]["namespace"] = kustomization["namespace"]
    for container in containers(resource):
        for image in kustomization.get("images", ()):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"


def _generate(folder: Path, wanted: Resource, found: list[Resource]) -> None:
    data = {name: (folder / name).read_text() for name in wanted["files"]}
    if wanted.get("behavior") == "replace":
        (former,) = (one for one in found if key_of(one) == ("ConfigMap", wanted["name"]))
        former["data"] = data
    else:
        metadata = {"name": wanted["name"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _patch(change: Resource, found: list[Resource]) -> None:
    """Apply a JSON patch (RFC 6902) of `add` and `remove`."""
    (target,) = (one for one in found if key_of(one) == (change["target"]["kind"], change["target"]["name"]))
    for step in yaml.safe_load(change["patch"]):
        *path, last = step["path"].strip("/").split("/")
        at: Any = target
        for part in path:
            at = at[int(part)] if isinstance(at, list) else at[part]
        match step["op"], last:
            case "add", "-":
                at.append(step["value"])
            case "add", _:
                at[last] = step["value"]
            case "remove", _:
                del at[last]
            case _:
                raise AssertionError(f"this renderer does not know {step}")


def _label(resource: Resource, labels: Resource) -> None:
    resource["metadata"].setdefault("labels", {}).update(labels["pairs"])
    if labels.get("includeTemplates") and "template" in resource.get("spec", {}):
        resource["spec"]["template"]["metadata"].setdefault("labels", {}).update(labels["pairs"])


def key_of(resource: Resource) -> tuple[str, str]:
    """Kind and name."""
    return resource["kind"], resource["metadata"]["name"]


def containers(resource: Resource) -> list[Resource]:
    """The containers of a deployment; none of other kinds."""
    return (
        list(resource["spec"]["template"]["spec"]["containers"]) if resource["kind"] == "Deployment" else []
    )


def faults(resources: list[Resource], secrets: dict[str, set[str]]) -> list[str]:
    """Where a resource names something that does not exist. `secrets` has the files of those made by hand."""
    deployments = [one for one in resources if one["kind"] == "Deployment"]
    checks = (
        *(_faults_of_pods(one, resources, secrets) for one in deployments),
        *(_faults_of_selector(one, deployments) for one in resources),
        *(_faults_of_targets(one, resources) for one in resources),
    )
    return [f"{kind} {name}: {fault}" for (kind, name), fault in itertools.chain(*checks)]


Fault = tuple[tuple[str, str], str]


def _faults_of_pods(
    deployment: Resource, found: list[Resource], secrets: dict[str, set[str]]
) -> Iterator[Fault]:
    template = deployment["spec"]["template"]
    pod = template["spec"]
    if not _selects(deployment["spec"]["selector"]["matchLabels"], template):
        yield key_of(deployment), "its selector does not match its pods"
    for spread in pod["topologySpreadConstraints"]:
        if not _selects(spread["labelSelector"]["matchLabels"], template):
            yield key_of(deployment), "it spreads other pods"
    maps = {one["metadata"]["name"]: set(one["data"]) for one in found if one["kind"] == "ConfigMap"}
    volumes = {}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volumes[volume["name"]] = maps.get(volume["configMap"]["name"])
        elif "secret" in volume:
            volumes[volume["name"]] = secrets.get(volume["secret"]["secretName"])
        else:
            volumes[volume["name"]] = set()
    for name in [name for name, files in volumes.items() if files is None]:
        yield key_of(deployment), f"the source of the volume {name} is missing"
    for container in pod["containers"]:
        yield from ((key_of(deployment), fault) for fault in _faults_of_container(container, volumes))
        annotated = int(template["metadata"]["annotations"]["prometheus.io/port"])
        if annotated not in _ports(container).values():
            yield key_of(deployment), f"Prometheus asks the port {annotated}"


def _faults_of_container(container: Resource, volumes: dict[str, set[str] | None]) -> Iterator[str]:
    files: set[str] = set()
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    if mounted != set(volumes):
        yield f"volumes {set(volumes)} and mounts {mounted} differ"
    for mount in container["volumeMounts"]:
        of_volume = volumes.get(mount["name"]) or set()
        if "subPath" in mount:
            files |= {mount["mountPath"]} if mount["subPath"] in of_volume else set()
        else:
            files |= {f"{mount['mountPath']}/{name}" for name in of_volume}
    named = {one["value"] for one in container["env"] if one["name"].endswith("_FILE")}
    named.add(container["args"][container["args"].index("--config") + 1])
    for file in named - files:
        yield f"the file {file} is not mounted"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container[probe]["httpGet"]["port"] not in _ports(container):
            yield f"the port of {probe} has no name"


def _faults_of_selector(resource: Resource, deployments: list[Resource]) -> Iterator[Fault]:
    """Services, disruption budgets and policies select the pods of a deployment, and ports of these pods."""
    spec = resource.get("spec", {})
    match resource["kind"]:
        case "Service":
            labels, ports = spec["selector"], [port["targetPort"] for port in spec["ports"]]
        case "PodDisruptionBudget":
            labels, ports = spec["selector"]["matchLabels"], []
        case "NetworkPolicy":
            labels = spec["podSelector"]["matchLabels"]
            ports = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
        case _:
            return
    selected = [one for one in deployments if _selects(labels, one["spec"]["template"])]
    if len(selected) != 1:
        yield key_of(resource), f"{labels} selects the pods of {len(selected)} deployments"
        return
    known = {name for container in containers(selected[0]) for name in _ports(container)}
    for port in set(ports) - known:
        yield key_of(resource), f"there is no port {port}"


def _faults_of_targets(resource: Resource, found: list[Resource]) -> Iterator[Fault]:
    """An ingress names services and their ports, a scaler names a deployment."""
    spec = resource.get("spec", {})
    if resource["kind"] == "ScaledObject" and ("Deployment", spec["scaleTargetRef"]["name"]) not in map(
        key_of, found
    ):
        yield key_of(resource), "it scales nothing"
    if resource["kind"] == "Ingress":
        services = {
            one["metadata"]["name"]: one["spec"]["ports"] for one in found if one["kind"] == "Service"
        }
        for path in (path for rule in spec["rules"] for path in rule["http"]["paths"]):
            service = path["backend"]["service"]
            if service["port"]["name"] not in {port["name"] for port in services.get(service["name"], ())}:
                yield key_of(resource), f"there is no service {json.dumps(service)}"


def _selects(labels: dict[str, str], template: Resource) -> bool:
    return bool(labels) and labels.items() <= template["metadata"]["labels"].items()


def _ports(container: Resource) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}
