"""The files of deploy/ for Prometheus and Grafana name metrics that exist, and lead to the runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.deploy.installations import DEPLOY
from workers.gateway.metrics import GatewayMetrics
from workers.telemetry.metrics import Metrics
from workers.telemetry.sippo import SippoMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PROMETHEUS: Final = DEPLOY / "prometheus"
_SUFFIXES: Final = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
    "gauge": ("",),
}


def _rules() -> list[dict[str, Any]]:
    text = (_PROMETHEUS / "invites.rules.yml").read_text("utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def _alerts() -> list[dict[str, Any]]:
    return [rule for rule in _rules() if "alert" in rule]


def _dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (DEPLOY / "grafana" / "dashboards" / "invites.json").read_text("utf-8")
    )
    return found


def _asked(dashboard: dict[str, Any]) -> list[str]:
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return panels + [each["expr"] for each in dashboard["annotations"]["list"]]


def _exported() -> set[str]:
    worker, gateway = Metrics().registry, GatewayMetrics().registry
    SippoMetrics(worker)
    families = [*worker.collect(), *gateway.collect()]
    return {family.name + suffix for family in families for suffix in _SUFFIXES[family.type]}


def _promtool(*arguments: str | Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus): nobody evaluates the rules")
    ended = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("asked", ["rules", "dashboard"])
def test_only_metrics_that_exist_are_asked_for(asked: str) -> None:
    expressions = [rule["expr"] for rule in _rules()] if asked == "rules" else _asked(_dashboard())
    text = "\n".join(expressions)
    named = set(re.findall(r"\b(?:invites|process)_[a-z_]+", text))
    assert len(named) > 15
    assert named <= _exported(), named - _exported()
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    assert set(re.findall(r"\binvites:[\w:]+", text)) <= recorded


def test_each_alert_says_what_it_is_and_leads_to_the_runbook() -> None:
    titles = re.findall(r"^## (\w+)$", (DEPLOY / "runbook.md").read_text("utf-8"), re.MULTILINE)
    assert len(set(titles)) == len(titles)
    assert {alert["alert"] for alert in _alerts()} == set(titles)
    for alert in _alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}, alert
        assert set(alert["annotations"]) == {"summary", "runbook_url"}, alert
        assert alert["annotations"]["runbook_url"] == f"runbook.md#{alert['alert'].lower()}"


def test_each_page_of_the_runbook_has_symptom_command_cause_and_fix() -> None:
    pages = (DEPLOY / "runbook.md").read_text("utf-8").split("\n## ")[1:]
    for page in pages:
        parts = [page.find(part) for part in ("**Symptom.** ", "```sh\n", "**Cause.** ", "**Fix.** ")]
        assert parts == sorted(parts), page
        assert parts[0] > 0, page


def test_each_alert_is_tested() -> None:
    tests: list[dict[str, Any]] = []
    for name in ("alerts.test.yml", "objectives.test.yml"):
        tests += yaml.safe_load((_PROMETHEUS / name).read_text("utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {alert["alert"] for alert in _alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts


def test_the_compose_file_scrapes_its_services_and_loads_the_dashboard() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    jobs = yaml.safe_load((_PROMETHEUS / "compose.yml").read_text("utf-8"))["scrape_configs"]
    for job in jobs:
        (found,) = job["dns_sd_configs"]
        for name in found["names"]:
            assert any(published.endswith(f":{found['port']}") for published in services[name]["ports"])
    (mounted,) = [each for each in services["grafana"]["volumes"] if each.startswith("./grafana:")]
    provider = yaml.safe_load((DEPLOY / "grafana" / "dashboards" / "invites.yaml").read_text("utf-8"))
    assert provider["providers"][0]["options"]["path"] == f"{mounted.split(':')[1]}/dashboards"


@pytest.mark.parametrize("file", ["prometheus.yml", "compose.yml"])
def test_promtool_takes_the_files(file: str) -> None:
    _promtool("check", "config", _PROMETHEUS / file)


def test_alerts_fire_when_they_should() -> None:
    _promtool("test", "rules", _PROMETHEUS / "alerts.test.yml", _PROMETHEUS / "objectives.test.yml")


def test_promtool_can_parse_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [
        {"record": f"asked:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(_asked(_dashboard()))
    ]
    file = tmp_path / "asked.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    _promtool("check", "rules", file)


def _datasources(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        if "datasource" in value:
            yield value["datasource"]
        for each in value.values():
            yield from _datasources(each)
    elif isinstance(value, list):
        for each in value:
            yield from _datasources(each)


def test_the_dashboard_can_be_imported_anywhere() -> None:
    dashboard = _dashboard()
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource"]
    found = list(_datasources(dashboard))
    assert found
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in found)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_dashboard_opens_on_the_golden_signals_and_the_calls() -> None:
    panels: Sequence[dict[str, Any]] = _dashboard()["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows[:3] == ["Now", "The four golden signals", "Calls"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
