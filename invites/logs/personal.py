"""Whether log lines name persons (`invites.logContext`)."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "(hidden)"
"""Stands for a user, a number, a display name, a context, and any text that may hold one."""

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_OF_A_FIELD: Final = re.compile(r"field [\w.]+ ")


class _Lines:
    """The setting of this process."""

    shown = True


def show(*, shown: bool) -> None:
    """Say whether the log of this process names persons."""
    _Lines.shown = shown


def is_shown() -> bool:
    """Whether the log names persons."""
    return _Lines.shown


def personal(value: object) -> str:
    """The text of a value that is, or may name, a user."""
    return str(value) if _Lines.shown else HIDDEN


def reason(sentence: str) -> str:
    """What is wrong with an event, without the values that are quoted. A sentence about no field is hidden."""
    if _Lines.shown:
        return sentence
    return _QUOTED.sub(HIDDEN, sentence) if _OF_A_FIELD.match(sentence) else HIDDEN
