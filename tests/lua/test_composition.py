"""The loader of the scripts: order, blocks, addresses, and errors; and the globals that the composed script may use."""

import hashlib
import json
import re
from pathlib import Path
from typing import Final

import pytest

from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.logs.messages import TEMPLATES
from invites.store.scripts import CompositionError, Script, Scripts, compose, sources
from tests.support import events as e
from tests.support.bytecode import Global, compiled, globals_of
from tests.support.shard import Server

ENTRIES: Final = ("main", "trim", "retire", "ensure")
PROVIDED: Final = {
    "bit", "cjson", "error", "ipairs", "math", "next", "os", "pairs", "pcall", "redis", "select", "setmetatable",
    "string", "table", "tonumber", "tostring", "type", "unpack",
}  # fmt: skip
"""The globals of a server's scripts, as far as they are used. Older servers have no `os`."""


def test_a_part_stands_behind_what_it_includes() -> None:
    parts = {"main": "-- include: core/b\nmain()", "core/a": "a()", "core/b": "-- include: core/a\nb()"}
    assert compose(parts) == "a()\nb()\nmain()\n"


def test_a_part_that_two_others_include_stands_there_once() -> None:
    parts = {
        "main": "-- include: core/b\n-- include: core/c\nmain()",
        "core/a": "a()",
        "core/b": "-- include: core/a\nb()",
        "core/c": "-- include: core/a\nc()",
    }
    assert compose(parts) == "a()\nb()\nc()\nmain()\n"


def test_a_folder_is_included_in_the_order_of_names() -> None:
    parts = {"main": "-- include: core/*", "core/b": "b()", "core/a": "a()", "other/c": "c()"}
    assert compose(parts) == "a()\nb()\n"


def test_what_nobody_includes_is_left_out() -> None:
    assert compose({"main": "main()", "core/a": "a()"}) == "main()\n"


@pytest.mark.parametrize("folder", ["events", "group"])
def test_events_and_group_calls_are_blocks_whose_names_stay_theirs(folder: str) -> None:
    parts = {
        "main": f"-- include: {folder}/*\nreturn name",
        f"{folder}/a": "local name = 1",
        f"{folder}/b": "b()",
    }
    assert compose(parts) == "do\nlocal name = 1\nend\ndo\nb()\nend\nreturn name\n"
    assert [found.name for found in globals_of(compose(parts))] == ["b", "name"]


def test_a_part_with_exports_is_a_block_whose_other_names_stay_its_own() -> None:
    parts = {
        "main": "-- include: core/a\nreturn b, c, d",
        "core/a": "-- exports: b, c\nlocal d = 1\nfunction b() end\nc = d",
    }
    assert compose(parts) == "local b, c\ndo\nlocal d = 1\nfunction b() end\nc = d\nend\nreturn b, c, d\n"
    assert [found.name for found in globals_of(compose(parts))] == ["d"]


def test_comments_are_left_out_and_strings_are_not() -> None:
    parts = {"main": "-- what it is for\nlocal a = '-- no comment' -- kept\n  -- gone\nreturn a"}
    assert compose(parts) == "local a = '-- no comment' -- kept\nreturn a\n"


@pytest.mark.parametrize("pattern", ["core/b", "nothing/*", "core/"])
def test_a_missing_part_is_named(pattern: str) -> None:
    with pytest.raises(CompositionError, match=re.escape(f"main includes {pattern}, which does not exist")):
        compose({"main": f"-- include: {pattern}", "core/a": ""})


def test_a_missing_entry_is_named() -> None:
    with pytest.raises(CompositionError, match="there is no file main"):
        compose({"core/a": ""})


def test_a_cycle_is_shown() -> None:
    parts = {
        "main": "-- include: core/a",
        "core/a": "-- include: core/b",
        "core/b": "-- include: core/c",
        "core/c": "-- include: core/a",
    }
    with pytest.raises(CompositionError, match="core/a -> core/b -> core/c -> core/a"):
        compose(parts)


def test_a_part_that_includes_itself_is_shown() -> None:
    with pytest.raises(CompositionError, match="main -> main"):
        compose({"main": "-- include: main"})


@pytest.mark.parametrize("again", ["core/a", "core/*"])
def test_a_part_that_one_file_includes_twice_is_named(again: str) -> None:
    with pytest.raises(CompositionError, match="main includes core/a twice"):
        compose({"main": f"-- include: core/a\n-- include: {again}", "core/a": ""})


def test_only_lua_files_are_parts(tmp_path: Path) -> None:
    (tmp_path / "core" / "deep").mkdir(parents=True)
    (tmp_path / "main.lua").write_text("main()", encoding="utf-8")
    (tmp_path / "README.md").write_text("# What this is", encoding="utf-8")
    (tmp_path / "core" / "a.lua").write_text("a('ü')", encoding="utf-8")
    (tmp_path / "core" / "deep" / "b.lua").write_text("b()", encoding="utf-8")
    assert sources(tmp_path) == {"main": "main()", "core/a": "a('ü')", "core/deep/b": "b()"}


def test_every_lua_file_is_part_of_a_script() -> None:
    """By what it says: each part is replaced by a mark, and the mark must come out."""
    parts = sources()
    marked = {name: f"{text}\nmark('{name}')" for name, text in parts.items()}
    together = "\n".join(compose(marked, entry) for entry in ENTRIES)
    assert {name for name in parts if f"mark('{name}')" not in together} == set()


def test_a_script_is_known_by_its_content() -> None:
    one, other = Script("one", "return 1"), Script("one", "return 2")
    assert one.sha == Script("other", "return 1").sha != other.sha
    assert one.sha == hashlib.sha1(b"return 1", usedforsecurity=False).hexdigest()


def test_the_same_sources_have_the_same_names_in_every_process() -> None:
    one, other = Scripts(), Scripts()
    assert one.library == other.library
    for both in zip(_all(one), _all(other), strict=True):
        assert both[0].name == both[1].name
        assert both[0].sha == both[1].sha
    assert len({script.name for script in _all(one)}) == len({script.sha for script in _all(one)}) == 5


@pytest.mark.parametrize("part", ["events/accept", "retire"])
def test_all_names_change_with_any_part(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    before = Scripts()
    changed = sources() | {part: "local changed = 1\n" + sources()[part]}
    monkeypatch.setattr("invites.store.scripts.sources", lambda: changed)
    after = Scripts()
    assert not {script.name for script in _all(before)} & {script.name for script in _all(after)}


def test_real_servers_are_told_what_may_run_when_memory_is_full_and_others_are_not() -> None:
    real, simple = Scripts(), Scripts(flags=False)
    assert real.refused_when_full.text.startswith("#!lua\n")
    for script in (real.allowed_when_full, real.trim, real.retire):
        assert script.text.startswith("#!lua flags=allow-oom\n")
    assert not any(script.text.startswith("#!") for script in _all(simple))
    assert simple.library is None


async def test_the_servers_agree_on_the_address(server: Server) -> None:
    client, flags = server.client, server.flags
    for script in _all(Scripts(flags=flags)):
        assert await client.script_load(script.text) in {script.sha, script.sha.encode()}


def _all(scripts: Scripts) -> list[Script]:
    return [script for script in vars(scripts).values() if isinstance(script, Script)]


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_script_uses_no_global_but_what_servers_provide_and_sets_none(entry: str) -> None:
    text = compose(sources(), entry)
    lines = text.split("\n")
    strange = [
        f"{found.name} in: {lines[found.line - 1].strip()}"
        for found in globals_of(text)
        if found.written or found.name not in PROVIDED
    ]
    assert strange == []


def test_a_name_that_is_misspelt_on_a_path_that_nobody_runs_is_found() -> None:
    text = "local value = 1\nlocal function f(a)\n  if a then\n    return valve\n  end\n  b = a\nend\nreturn f(value)"
    assert globals_of(text) == [Global("valve", 4, written=False), Global("b", 6, written=True)]


def test_what_is_no_lua_is_refused() -> None:
    with pytest.raises(SyntaxError, match="script:1"):
        compiled("local = 1")


@pytest.mark.parametrize("table", ["json", "lifetimes", "order", "internal", "events", "timers"])
def test_what_is_used_of_a_shared_table_is_defined(table: str) -> None:
    text = compose(sources())
    defined = set(re.findall(rf"(?:function {table}\.(\w+)|^\s*{table}\.(\w+) = )", text, re.MULTILINE))
    names = {name for pair in defined for name in pair if name}
    assert set(re.findall(rf"(?<![\w.]){table}\.(\w+)", text)) <= names
    assert names


def test_each_kind_of_call_has_what_is_asked_of_it() -> None:
    text = compose(sources())
    asked = {
        (kind, name) for kind in ("direct", "group", "leg") for name in re.findall(r"\.kind\.(\w+)", text)
    }
    defined = set(re.findall(r"^(?:function )?kinds\.(\w+)\.(\w+)(?:\(| = )", text, re.MULTILINE))
    # A device accepts a leg and never the group; a leg reports to its group, which has the record, which the inviter
    # repeats, and which keeps the states of its legs.
    absent = {("group", "accept"), ("direct", "report"), ("group", "report"), ("leg", "results")}
    absent |= {("leg", "repeated"), ("leg", "update"), ("direct", "save"), ("leg", "save")}
    assert asked - absent <= defined
    assert not absent & defined
    assert set(re.findall(r"\bkinds\.(\w+)\.(\w+)", text)) <= defined


@pytest.mark.parametrize("part", sources())
def test_a_part_includes_what_it_uses(part: str) -> None:
    alone = globals_of(compose(sources(), part))
    assert {found.name for found in alone} <= PROVIDED


def test_what_one_shard_tells_another_is_understood_there() -> None:
    text = compose(sources())
    kinds = set(re.findall(r"\b(?:emit|proceed)\([^'\n]*?, '(\w+)'", text))
    assert len(kinds) > 10
    assert kinds <= set(re.findall(r"function internal\.(\w+)", text))


def test_every_fact_that_a_script_reports_has_its_message() -> None:
    named = set(re.findall(r"\b(?:info|debug|warn)\('(\w+)'", compose(sources())))
    assert len(named) > 10
    assert named <= set(TEMPLATES)


def _parameters() -> dict[str, list[str]]:
    """Return the parameters of each rule."""
    rules = re.findall(r"^function events\.(\w+)\(([^)]*)\)", compose(sources()), re.MULTILINE)
    return {name: re.findall(r"[\w.]+", parameters) for name, parameters in rules}


@pytest.mark.parametrize(
    "event",
    [
        e.invite(), e.request(), e.invite(returnOf="a|b|c"), e.ringing("p"), e.decline("p"),
        e.accept("p", confirmed=True), e.stop(), e.stop(None),
        e.invitations("p"), e.registered("p"), e.unregistered("p"), e.disconnected("p"), e.joined("u"),
        e.left("u"), e.room_closed(),
        ("nonsense", {}),
    ],
    ids=lambda event: str(event[0]),
)  # fmt: skip
def test_every_rule_is_given_as_many_arguments_as_it_names(event: e.Published) -> None:
    """Optional ones come last, if the event has them."""
    kind, payload = e.said_by("d", event) if "peer" in event[1] else event
    fields = {b"type": kind.encode(), b"payload": json.dumps(payload).encode()}
    operation = decode_event_entry(Entry("1-0", fields), max_deliveries=5)
    given, parameters = len(operation.arguments.flat()), _parameters()[operation.rule]
    assert given == len(parameters) or (parameters[-1] == "..." and given >= len(parameters))


def test_every_message_that_the_rules_send_is_one_that_they_know() -> None:
    texts = "".join(sources().values())
    sent = set(re.findall(r"\b(?:emit|emit_everywhere|proceed)\([^'\n]*, '(\w+)'", texts))
    pages = set(re.findall(r"\bevery(?:_of)?\([^\n]*?, (?:room, )?'(\w+)'", texts))
    assert {"call_ended", "room_is_over", "leg_won"} <= sent
    assert {"lost", "room_closed", "inviter_left"} <= pages
    assert sent | {f"page:{kind}" for kind in pages} <= Scripts().messages
