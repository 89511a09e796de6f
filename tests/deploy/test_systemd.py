"""The units of deploy/systemd: systemd understands them, and they give away little."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from invites import config
from tests.deploy import installations
from workers.cli.app import COMMANDS
from workers.gateway.service import _CLOSE_WITHIN_S, _END_WITHIN_S
from workers.service import DRAIN_S

_UNITS = {
    name: installations.DEPLOY / "systemd" / f"invites-{name}.service" for name in ("worker", "gateway")
}
_ENDS_WITHIN_S = {"worker": DRAIN_S + 3, "gateway": 2 * _END_WITHIN_S + _CLOSE_WITHIN_S + 3}


def _values(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


@pytest.mark.parametrize("role", _UNITS)
def test_a_unit_hands_over_what_its_command_needs(role: str, made_secrets: Path) -> None:
    unit = _UNITS[role]
    program, command, *options = shlex.split(_values(unit, "ExecStart")[0])
    assert program == "/opt/invites/bin/invites"
    assert command in COMMANDS
    assert options == ["--config", "/etc/invites/config.json"]
    loaded = dict(value.split(":") for value in _values(unit, "LoadCredential"))
    assert loaded == {name: f"/etc/invites/secrets/{name}" for name in loaded}
    environ = dict(value.split("=") for value in _values(unit, "Environment"))
    assert {value.removeprefix("%d/") for value in environ.values()} == set(loaded)
    environ = {name: value.replace("%d", str(made_secrets)) for name, value in environ.items()}
    found = config.load(installations.DEPLOY / "config.json", environ=environ)
    assert found.redis.url is not None
    assert found.redis.url.reveal().startswith(f"redis://{role}:")
    assert {"worker": found.http.token, "gateway": found.gateway.secret}[role] is not None
    assert float(_values(unit, "TimeoutStopSec")[0]) > _ENDS_WITHIN_S[role]


def test_the_units_protect_alike() -> None:
    """They differ in nothing after the line about their user."""
    (one, other) = (unit.read_text().partition("DynamicUser=")[2] for unit in _UNITS.values())
    assert one == other != ""


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copies = []
    for unit in _UNITS.values():
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(unit.read_text().replace("/opt/invites/bin/invites", "/bin/true"))
    assert _analyze("verify", *copies) == ""
    for copy in copies:
        judged = json.loads(_analyze("security", "--offline=yes", "--threshold=15", "--json=short", copy))
        assert [
            one["name"] for one in judged if one["set"] is False and float(one["exposure"] or 0) > 0.5
        ] == []


def test_a_unit_with_a_mistake_is_refused(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    wrong = tmp_path / "wrong.service"
    wrong.write_text("[Service]\nExecStart=/bin/true\nProtectSystm=strict\n")
    assert "ProtectSystm" in _analyze("verify", wrong)
    with pytest.raises(AssertionError):
        _analyze("security", "--offline=yes", "--threshold=15", "--json=short", wrong)


def _analyze(*arguments: str | Path) -> str:
    command = ["systemd-analyze", "--no-pager", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
