"""Texts of callers: on one line, and JSON as JavaScript prints it."""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invites.values.printable import escape, escape_json, stringify

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ('plain ümläut 漢字 😀 /\\"', 'plain ümläut 漢字 😀 /\\"'),
        ("a\nb\rc\td", r"a\u000ab\u000dc\u0009d"),
        ("\x1b[31mred", r"\u001b[31mred"),
        ("\x00\x7f\x85\x9b", r"\u0000\u007f\u0085\u009b"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("bob\u202ecilbup", r"bob\u202ecilbup"),
        ("\u061c\u200e\u200f\u2066\u2069", r"\u061c\u200e\u200f\u2066\u2069"),
        ("b\u200bo\u200c\u200d\u2060\ufeffb\xad", r"b\u200bo\u200c\u200d\u2060\ufeffb\u00ad"),
        ("\u034f\u115f\u180e\u3164\ufe0f\uffa0", r"\u034f\u115f\u180e\u3164\ufe0f\uffa0"),
        ("\U000e0041\U0001d173\U000e0100", r"\udb40\udc41\ud834\udd73\udb40\udd00"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469" + r"\u200d" + "\U0001f680"),
    ],
)
def test_what_could_end_a_line_or_steer_a_terminal_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_every_character_without_a_shape_of_its_own_is_escaped() -> None:
    unsafe = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    for code in range(sys.maxunicode + 1):
        one = chr(code)
        if unicodedata.category(one) in unsafe:
            escaped = escape(one)
            assert re.fullmatch(r"(\\u[0-9a-f]{4}){1,2}", escaped), hex(code)
            assert json.loads(f'"{escaped}"') == one


def test_json_stays_the_same_json() -> None:
    value = {"a": "\x7f\x9b\u202e\u200b\U000e0041", "b": ["\t"]}
    text = json.dumps(value, ensure_ascii=False, indent=2)
    assert json.loads(escape_json(text)) == value
    assert all(one.isprintable() or one == "\n" for one in escape_json(text))


# Each expectation is what Node.js prints, but for the escapes of DEL and beyond.
@pytest.mark.parametrize(
    ("given_text", "printed"),
    [
        ("null", "null"),
        ("true", "true"),
        ('"x"', '"x"'),
        (" { } ", "{}"),
        (' { "a" : [ 1 , [ ] , { } ] } ', '{"a":[1,[],{}]}'),
        (r'"\/\u00e9\u0041\ud83d\ude00"', '"/éA😀"'),
        (r'"\b\f\n\r\t\u0000\u001f\"\\"', r'"\b\f\n\r\t\u0000\u001f\"\\"'),
        (r'"\ud800"', r'"\ud800"'),
        ('"\x7f\x85\u2028\u2029"', r'"\u007f\u0085\u2028\u2029"'),
        ("1.0", "1"),
        ("-0.0", "0"),
        ("-1.5", "-1.5"),
        ("1e3", "1000"),
        ("0.000001", "0.000001"),
        ("1e-6", "0.000001"),
        ("1e-7", "1e-7"),
        ("1.5e-10", "1.5e-10"),
        ("123456.789e3", "123456789"),
        ("1e20", "100000000000000000000"),
        ("123456789012345680000", "123456789012345680000"),
        ("1e21", "1e+21"),
        ("1.25e+300", "1.25e+300"),
        ("5e-324", "5e-324"),
        ("9007199254740993", "9007199254740992"),
        ("12345678901234567890", "12345678901234567000"),
        ("1e400", "null"),
        (
            '{"b":1,"10":2,"9":3,"01":4,"-1":5,"4294967295":6}',
            '{"9":3,"10":2,"b":1,"01":4,"-1":5,"4294967295":6}',
        ),
        ('{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'),
    ],
)
def test_json_comes_out_as_javascript_prints_it(given_text: str, printed: str) -> None:
    assert stringify(given_text) == printed


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "{'a':1}", "[" * 20_000, "undefined"])
def test_what_is_not_json_comes_out_as_it_is(text: str) -> None:
    assert stringify(text) == text
    assert stringify(f"{text}\n\x1b") == f"{text}\\u000a\\u001b"


@given(st.text())
def test_nothing_escaped_can_break_a_line(text: str) -> None:
    escaped = escape(text)
    assert len(f"{escaped}x".splitlines()) == 1
    assert "\x1b" not in escaped
    escaped.encode()


@given(_JSON)
def test_stringify_keeps_the_value_and_one_line(value: object) -> None:
    printed = stringify(json.dumps(value))
    assert len(printed.splitlines()) == 1
    assert _doubled(json.loads(printed)) == _doubled(value)
    assert stringify(printed) == printed


def _doubled(value: object) -> object:
    """The value with all numbers as JavaScript has them."""
    if isinstance(value, dict):
        return {name: _doubled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_doubled(inner) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
        return None if math.isinf(number) else number
    return value
