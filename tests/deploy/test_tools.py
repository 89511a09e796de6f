"""The files of deploy/, as tools for each kind of file see them; and the tools that deploy/ brings itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy import installations, kustomize

_TOOLS = installations.ROOT / ".tools" / "deploy" / "bin"
_OLDEST = "1.27.0"
"""The version of Kubernetes that deploy/README.md names."""
_LOCKED = re.compile(r"^([a-z0-9._-]+)(?:\[.*?\])?==(\S+)", re.MULTILINE)


def _run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the tools; skips the test if it is not installed."""
    if not (_TOOLS / tool).exists():
        pytest.skip(f"{tool} is not installed: make tools")
    command = [_TOOLS / tool, *arguments]
    return subprocess.run(command, cwd=installations.ROOT, check=False, capture_output=True, text=True)


def test_the_dockerfile(tmp_path: Path) -> None:
    done = _run("hadolint", installations.DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python\nRUN cd /tmp\n")
    assert _run("hadolint", wrong).returncode == 1


def test_the_scripts() -> None:
    done = _run("shellcheck", installations.DEPLOY / "make-secrets", installations.DEPLOY / "pin-images")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_files() -> None:
    files = [installations.DEPLOY / name for name in ("compose.yaml", "compose.tls.yaml")]
    done = _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)
    assert done.returncode == 0, done.stdout


def test_the_manifests(tmp_path: Path) -> None:
    """Kubernetes knows each field."""
    readme = (installations.DEPLOY / "README.md").read_text()
    assert f"Kubernetes {_OLDEST.removesuffix('.0')} or newer" in readme
    resources = kustomize.render(kustomize.FOLDER / "example")
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(yaml.safe_dump_all(resources))
    bad.write_text(yaml.safe_dump(resources[0] | {"specc": {}}))
    done = _run("kubernetes-validate", "--strict", "--quiet", "--kubernetes-version", _OLDEST, good, bad)
    (fault,) = done.stdout.splitlines()
    assert fault.startswith(f"ERROR {bad} ")
    assert "specc" in fault


def test_the_bill_of_materials(tmp_path: Path) -> None:
    """`make sbom`: each locked package, with its version and a hash."""
    makefile = (installations.ROOT / "Makefile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^\t\$\(TOOLS\)/deploy/bin/cyclonedx-py (.*)$", makefile, re.MULTILINE)
    written = tmp_path / "sbom.json"
    done = _run("cyclonedx-py", *line.replace("sbom.json", str(written)).split())
    assert done.returncode == 0, done.stderr
    components = json.loads(written.read_text())["components"]
    locked = _LOCKED.findall((installations.ROOT / "requirements.lock").read_text())
    assert {(one["name"], one["version"]) for one in components} == set(locked)
    assert all(reference["hashes"] for one in components for reference in one["externalReferences"])


_DOCKER = """#!/bin/sh
[ "$1 $2 $3 $4" = "buildx imagetools inspect --format" ] || exit 1
for image in "$@"; do :; done
case $image in *missing*) echo "not found"; exit 0 ;; esac
printf 'sha256:'; printf %s "$image$(cat "$0.day")" | sha256sum | cut -c 1-64
"""


def test_images_are_pinned_to_their_digests(tmp_path: Path) -> None:
    """With a `docker` that knows a digest for each image; the next day it is another one."""
    (tmp_path / "docker").write_text(_DOCKER)
    (tmp_path / "docker").chmod(0o755)
    files = [
        Path(shutil.copy(installations.DEPLOY / name, tmp_path)) for name in ("Dockerfile", "compose.yaml")
    ]
    before = [file.read_text() for file in files]
    command = [installations.DEPLOY / "pin-images", *files]
    pinned: list[list[str]] = []
    for day in ("1", "2"):
        (tmp_path / "docker.day").write_text(day)
        done = subprocess.run(
            command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        pinned.append([file.read_text() for file in files])
        assert [re.sub("@sha256:[0-9a-f]{64}", "", text) for text in pinned[-1]] == before
        images = re.findall(r"(?:image: |^ARG BASE=)(\S+)$", "\n".join(pinned[-1]), re.MULTILINE)
        built = [image for image in images if "@" not in image]
        assert set(built) == {"invites-worker"}
        assert len(set(images) - set(built)) == len(done.stdout.split()) == 4
    assert pinned[0] != pinned[1]
    files[0].write_text(before[0].replace("python:", "missing:"))
    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False, capture_output=True, text=True
    )
    assert (done.returncode, "gave no digest for missing:" in done.stderr) == (1, True)
