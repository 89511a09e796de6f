"""The contract's pages and the code say the same, and the files that the folders' pages name exist."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.main

from invites.config import Config, parse
from invites.events import fields, protocol
from invites.events.fields import BadEvent
from invites.events.protocol import EVENT_TYPES, decode_event
from invites.logs.messages import TEMPLATES
from invites.logs.setup import JsonLines
from invites.notifications import PAYLOADS
from invites.store.measures import ENDS
from tests.lua.test_notifications import KEYS
from tests.unit.test_messages import CONTRACT_LINES
from workers.cli.app import app
from workers.telemetry.metrics import Metrics
from workers.telemetry.sippo import SippoMetrics

_ROOT = Path(__file__).resolve().parents[2]
_INVITES = _ROOT / "invites"
_PAGES = {path.name: path.read_text("utf-8") for path in (_INVITES / "contract").glob("*.md")}
_PAGES["PROTOCOL.md"] = (_INVITES / "PROTOCOL.md").read_text("utf-8")


def _rows(page: str) -> list[list[str]]:
    lines = (line for line in _PAGES[page].splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


_ALL = sorted(
    path.relative_to(_ROOT).as_posix()
    for folder in (".", "invites", "invites/contract", "lua", "workers", "tests", "deploy", "deploy/node")
    for path in (_ROOT / folder).glob("*.md")
)


@pytest.mark.parametrize("page", _ALL)
def test_every_link_leads_somewhere(page: str) -> None:
    here = _ROOT / page
    for target in re.findall(r"\]\(([^)]+)\)", here.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (here.parent / file).resolve() if file else here
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, titles), target


def _fields(kind: str) -> tuple[set[str], set[str]]:
    """The mandatory and the optional fields of an event's payload."""
    struct: Any = getattr(protocol, kind[0].upper() + kind[1:])
    found = msgspec.structs.fields(struct)
    if kind == "registered":
        found = msgspec.structs.fields(protocol.Registry)
    return {one.encode_name for one in found if one.required}, {
        one.encode_name for one in found if not one.required
    }


def test_each_event_is_there_with_its_fields() -> None:
    described = {}
    for cells in _rows("publishing.md"):
        for kind in re.findall(r"`(\w+)`", cells[0]):
            if kind in EVENT_TYPES and len(cells) == 3:
                described[kind] = cells[1].removeprefix("`registry` with ")
    assert set(described) == set(EVENT_TYPES)
    for kind, text in described.items():
        optional = set(re.findall(r"\[(\w+)", text))
        mandatory = set(re.findall(r"\w+", re.sub(r"\[[^\]]*\]", "", text)))
        assert (mandatory, optional) == _fields(kind), kind


@pytest.mark.parametrize(
    ("page", "types"), [("publishing.md", len(EVENT_TYPES)), ("notifications.md", len(PAYLOADS))]
)
def test_the_number_of_types_is_that_of_the_table(page: str, types: int) -> None:
    numbers = [
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ]
    assert f"| one of the {numbers[types - 12]} types below" in _PAGES[page]


def _payload_fields(kind: str) -> tuple[set[str], set[str]]:
    """The fields of a notification's payload that are always present, and the others."""
    found = msgspec.structs.fields(PAYLOADS[kind])
    always = {one.encode_name for one in found if one.required}
    return always, {one.encode_name for one in found} - always


def test_each_notification_is_there_with_its_fields() -> None:
    described = set()
    for cells in _rows("notifications.md"):
        for kind in re.findall(r"`(\w+)`", cells[0]):
            if kind in PAYLOADS and len(cells) == 3 and kind != "INVITE_COMPLETED":
                described.add(kind)
                sometimes = set(re.findall(r"\[(\w+)", cells[2]))
                always = set(re.findall(r"\w+", re.sub(r"\[[^\]]*\]", "", cells[2])))
                assert (always, sometimes) == _payload_fields(kind), kind
    assert described == set(PAYLOADS) - {"INVITE_COMPLETED"}
    record = next(
        json.loads(text)
        for text in re.findall(r"```json\n(.+?)```", _PAGES["notifications.md"], re.DOTALL)
        if "endedAt" in text
    )
    assert set(record) == _payload_fields("INVITE_COMPLETED")[0]


def test_the_limits_are_there() -> None:
    text = _PAGES["publishing.md"] + _PAGES["PROTOCOL.md"]
    assert fields.MAX_CONTEXT == 16 * 1024
    assert "`context` has at most 16 KiB" in text
    assert fields.MAX_REPLY_CONTEXT == 4 * 1024
    assert "has at most 4 KiB" in text
    assert protocol.MAX_PAYLOAD == 64 * 1024
    assert "The whole payload has at most 64 KiB" in text
    assert f"nested at most {protocol.MAX_DEPTH} levels deep" in text
    assert f"a text of 1 to {fields.MAX_ID} characters" in text
    assert f"of at most {fields.MAX_MATCH:,} characters" in text


def _settings(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _settings(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return found


def test_each_setting_is_there_with_its_default() -> None:
    described = {}
    section = ""
    for cells in _rows("operating.md"):
        begins = re.fullmatch(r"key of `(.+)`", cells[0])
        if begins:
            section = begins[1]
        elif cells[0].startswith("`") and len(cells) == 4:
            for name in re.findall(r"`([\w.]+)`", cells[0]):
                described[f"{section}.{name}"] = cells[1].strip("`")
    assert described.pop("invites.basic.wac.paths") == ""
    shown = {None: "none", True: "true", False: "false", (): "[]"}
    defaults = _settings(msgspec.to_builtins(Config(), enc_hook=str))
    assert described == {
        name: str(value) if isinstance(value, str) or type(value) is int else shown[value]
        for name, value in defaults.items()
    }


def test_each_template_of_the_log_is_there() -> None:
    lines = [line for line in CONTRACT_LINES.strip().splitlines() if line]
    assert len(lines) == 20
    for line in lines:
        assert f"\n{line}\n" in _PAGES["operating.md"]
    assert len(TEMPLATES) >= len(lines)


def test_the_migration_page_keeps_the_settings_and_the_log_lines() -> None:
    """The service's own `config.json` loads, and each line that it logs in parts is a template."""
    service: dict[str, Any] = {
        "basic": {
            "removeAfter": 10000,
            "resolveGroups": False,
            "resolvePush": False,
            "legacyUserGroupResolution": True,
            "wac": {"address": "http://wac:8000", "username": "admin@quobis", "password": "secret"},
        },
        "parallelSip": False,
        "onlyOneDeviceWithInvitations": False,
    }
    kept = [cells[0].strip("`") for cells in _rows("migration.md") if cells[1] == "kept"]
    assert set(kept) == set(_settings(service))
    for invites in (service, {"basic": {**service["basic"], "parallelSip": False}}):
        found = parse({"invites": invites, "other": {"a": 1}})
        assert found.invites.basic.remove_after == 10_000
    lines = set(re.findall(r"^\[\w+\] +(.*)$", CONTRACT_LINES, re.MULTILINE))
    assert f"All {len(lines)} [log lines]" in _PAGES["migration.md"]
    logged = [
        [cell.strip("`") for cell in cells] for cells in _rows("migration.md") if cells[0].startswith('`"')
    ]
    assert len(logged) == 6
    for parts, line in logged:
        words = [part.strip('"') if part[0] == '"' else f"${{{part}}}" for part in parts.split(", ")]
        assert " ".join(words) == line
        assert line in lines


def test_each_field_of_a_json_log_line_is_there() -> None:
    record = logging.LogRecord("test", logging.INFO, __file__, 1, "message", None, None)
    assert f"`{', '.join(json.loads(JsonLines().format(record)))}`" in _PAGES["operating.md"]


def test_each_metric_is_there() -> None:
    described = {
        name
        for cells in _rows("operating.md")
        if len(cells) == 3
        for name in re.findall(r"`(\w+)`", cells[0])
    }
    registry = Metrics().registry
    SippoMetrics(registry)
    suffixes = {"counter": "_total", "info": "_info"}
    ours = {
        (family.name + suffixes.get(family.type, "")).removeprefix("invites_")
        for family in registry.collect()
        if family.name.startswith("invites")
    }
    assert ours <= described, ours - described


def test_each_end_is_measured() -> None:
    ends = {
        (cells[1].strip("`"), cells[3].strip("`"))
        for cells in _rows("PROTOCOL.md")
        if len(cells) == 4 and cells[1].startswith(("`ACCEPTED", "`DECLINED"))
    }
    assert ends == set(ENDS)
    assert len(ENDS) == len(set(ENDS))


def test_each_command_is_there() -> None:
    rows = "\n".join(cells[0] for cells in _rows("operating.md") if len(cells) == 2)
    top: Any = typer.main.get_command(app)
    for name, command in top.commands.items():
        assert f"`{name}" in rows
        for inner in getattr(command.load(), "commands", {}):
            assert re.search(rf"`(?:{name} )?{inner}\b", rows), (name, inner)


def test_each_type_that_the_scripts_tell_is_there() -> None:
    lua = "\n".join(path.read_text("utf-8") for path in (_ROOT / "lua").rglob("*.lua"))
    told = set(re.findall(r"\bnotify\('(\w+)'", lua)) | set(
        re.findall(r"\btell_\w+\([^()]*?'([A-Za-z]\w+)'", lua)
    )
    described = {name for cells in _rows("notifications.md") for name in re.findall(r"`(\w+)`", cells[0])}
    assert {"answer", "INVITE_COMPLETED", "invitation", "userLeft", "inviteAccepted"} <= told <= described


@pytest.mark.parametrize("folder", ["lua", "invites", "workers", "tests"])
def test_each_file_that_a_folder_explains_is_there(folder: str) -> None:
    place = _ROOT / folder
    named = re.findall(
        r"`([\w/-]+(?:\.(?:py|lua|json|yaml|conf|template|md)|/))`", (place / "README.md").read_text("utf-8")
    )
    assert named
    folders = [place, place.parent, *(path for path in place.iterdir() if path.is_dir())]
    for name in named:
        assert any((one / name).exists() for one in folders), name


def test_each_notification_is_there_with_its_payload() -> None:
    described = {}
    for cells in _rows("notifications.md"):
        kinds = [kind for kind in re.findall(r"`(\w+)`", cells[0]) if kind in KEYS]
        for kind in kinds if len(cells) == 3 else ():
            always = set(re.findall(r"\w+", re.sub(r"\[[^\]]*\]", "", cells[2])))
            described[kind] = always, set(re.findall(r"\[(\w+)\]", cells[2]))
    assert set(described) == set(KEYS)
    del described["INVITE_COMPLETED"]  # has an example instead of a list
    for kind, (always, sometimes) in described.items():
        assert always <= KEYS[kind] <= always | sometimes, kind


def _examples(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _PAGES[page], re.MULTILINE | re.DOTALL)


def test_the_example_of_a_record_is_one() -> None:
    examples = [json.loads(text) for text in _examples("notifications.md", "json")]
    assert [set(one) for one in examples if "startedAt" in one] == [KEYS["INVITE_COMPLETED"]]


def test_each_example_of_an_event_is_valid() -> None:
    decoded = [
        decode_event("registered" if "registry" in text else "invite", text.encode())
        for text in _examples("publishing.md", "json")
    ]
    assert [type(event).__name__ for event in decoded] == ["Invite", "Registered", "Registered"]


_PEER = '"peer":{"id":"p","user":"u"}'


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("inviteRequest", f'{{{_PEER},"to":"b"}}'),
        ("getInvitations", '{"peer":{"id":7,"user":"u"}}'),
        ("registered", '{"registry":{"id":"p","user":"u","expires":"60s"}}'),
        ("registered", '{"registry":{"id":"p","user":"u","match":"("}}'),
        ("inviteRequest", f'{{{_PEER},"to":"b","inviteId":"i","context":"{"x" * 16383}"}}'),
        ("inviteRequest", f'{{{_PEER},"to":"\\ud800","inviteId":"i"}}'),
        ("invitte", "{}"),
    ],
)
def test_each_example_of_a_sentence_is_one(kind: str, payload: str) -> None:
    sentences = next(
        text for text in _examples("publishing.md", "") if text.startswith("field ")
    ).splitlines()
    with pytest.raises(BadEvent) as refused:
        decode_event(kind, payload.encode())
    assert str(refused.value) in sentences


@pytest.mark.parametrize("page", ["guarantees.md", "threats.md"])
def test_each_claim_names_tests_that_are_there(page: str) -> None:
    bullets = re.split(r"\n(?=- |\n)", _PAGES[page])
    claims = [bullet for bullet in bullets if "*Bound:*" in bullet or "*Shown by:*" in bullet]
    assert claims
    for claim in claims:
        assert "::test_" in claim, claim
    for file, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", _PAGES[page]):
        assert re.search(rf"^(?:async )?def {name}\(", (_ROOT / file).read_text("utf-8"), re.MULTILINE), name


@pytest.mark.parametrize("page", ["guarantees.md", "threats.md"])
def test_each_setting_that_bounds_a_claim_is_one(page: str) -> None:
    named = set(re.findall(r"`((?:invites|redis|http)\.[\w.]+)`", _PAGES[page]))
    assert named
    assert named <= _settings(msgspec.to_builtins(Config(), enc_hook=str)).keys()
