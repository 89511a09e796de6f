"""A dead letter keeps all fields of its entry, each up to 4 KiB, and the length and SHA-256 of the rest."""

from __future__ import annotations

import difflib
import hashlib
from typing import Any

import pytest

from invites.events.arguments import DeadArguments
from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.events.kept_fields import KEPT, cuts, fields_of, kept_fields, others
from invites.events.operation import Operation

MIB = 1024 * 1024


def _letter(fields: dict[bytes, bytes], stream: str = "") -> dict[bytes, bytes]:
    flat = kept_fields(fields, stream)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _decoded(fields: dict[bytes, bytes]) -> tuple[Operation, DeadArguments]:
    operation = decode_event_entry(Entry("7-1", fields), max_deliveries=5)
    assert isinstance(operation.arguments, DeadArguments)
    return operation, operation.arguments


@pytest.mark.parametrize("stream", ["", "relay"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"type": b"invite"},
        {b"type": b"", b"payload": b""},
        {b"typ": b"invite", b"paylod": b"{}"},
        {b"type": b"invite", b"payload": b"{}", b"traceparent": b"00-x", b"error": b"x", b"entry": b"5-1"},
        {b"\xff": b"\xff", b"": b"", b"field:type": b"x", b"cut:type": b"x", b"more": b"x", b"stream": b"relay"},
        {b"payload": b"x" * KEPT, b"n" * KEPT: b"x"},
    ],
)  # fmt: skip
def test_short_fields_come_back_as_they_were(fields: dict[bytes, bytes], stream: str) -> None:
    letter = _letter(fields, stream)
    assert cuts(letter) == {}
    assert fields_of(letter, is_event=not stream) == fields


def test_a_long_field_keeps_its_beginning_and_says_what_it_was() -> None:
    payload = bytes(range(256)) * 64
    letter = _letter({b"paylod": payload, b"type": b"invite"})
    assert letter[b"type"] == b"invite"
    assert letter[b"field:paylod"] == payload[:4096]
    assert cuts(letter) == {"paylod": f"16384 bytes, SHA-256 {hashlib.sha256(payload).hexdigest()}"}


def test_a_long_name_is_cut_too() -> None:
    letter = _letter({b"n" * (KEPT + 1): b"x"})
    assert others(letter) == {"n" * KEPT: "x"}
    assert list(cuts(letter)) == ["n" * KEPT]


@pytest.mark.parametrize(("count", "size"), [(100_000, 0), (1_000, 5_000), (70, 1)])
def test_no_letter_is_large(count: int, size: int) -> None:
    fields = {b"%d" % number: b"x" * size for number in range(count)} | {b"payload": b"{}"}
    letter = _letter(fields)
    assert letter[b"payload"] == b"{}"
    assert sum(map(len, letter)) + sum(map(len, letter.values())) < 80_000
    assert len(letter) <= 130
    kept = len(others(letter))
    assert cuts(letter)["(more)"].startswith(f"{count - kept} fields, ")


def test_a_payload_over_the_limit_is_cut_and_its_peer_answered() -> None:
    payload = b'{"peer":{"id":"p","user":"u"},"inviteId":"i","unknown":"' + b"x" * 2 * MIB + b'"}'
    _, arguments = _decoded({b"type": b"invite", b"payload": payload})
    assert arguments.error == f"field payload has {len(payload)} bytes; at most 65536 are allowed"
    assert (arguments.peer, arguments.user) == ("p", "u")
    assert sum(len(value) for value in arguments.flat() if isinstance(value, bytes)) < 5_000


def test_an_answer_repeats_no_text_that_is_too_long_for_an_id() -> None:
    payload = b'{"peer":{"id":"p","user":"u"},"inviteId":"' + b"x" * 2 * MIB + b'","to":"bob"}'
    _, arguments = _decoded({b"type": b"invite", b"payload": payload})
    assert arguments.peer == "p"
    assert len(arguments.head) < 100


def test_only_the_beginning_of_a_type_is_compared_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Comparing 2 MiB takes more than half a second, and the worker does nothing else meanwhile."""
    compared = []
    compare = difflib.get_close_matches

    def noting(kind: str, *arguments: Any, **options: Any) -> list[str]:
        compared.append(len(kind))
        return compare(kind, *arguments, **options)

    monkeypatch.setattr(difflib, "get_close_matches", noting)
    _, arguments = _decoded({b"type": b"invite" * 350_000, b"payload": b"{}"})
    assert arguments.error.startswith("field type is ")
    assert len(arguments.type) == KEPT
    assert compared == [100]
