"""Secrets: values that never appear in a log, a traceback or an error message."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST_FILE: Final = 65_536  # bytes; a larger file is not a secret


class SecretError(Exception):
    """A secret cannot be read. The text is one sentence that names the variable and the file."""


@final
class Secret:
    """A text that `str`, `repr`, `format`, pickling and JSON encoders do not show.

    `reveal()` marks the places where it leaves the process.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def matches(self, text: str) -> bool:
        """Whether `text` is the secret, compared in constant time."""
        return hmac.compare_digest(self._text.encode(), text.encode("utf-8", "surrogatepass"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._text)

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "…"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret cannot be pickled")


def from_environment(name: str, environ: Mapping[str, str]) -> Secret | None:
    """The secret in the variable `name`, or in the file that `<name>_FILE` names; None when neither is set.

    An empty variable counts as unset: Compose sets variables without a value to "". Line ends at the end of the file
    are dropped.

    Raises SecretError when both variables are set, or when the file is unreadable, too large, not UTF-8 or empty.
    """
    value, path = environ.get(name) or None, environ.get(f"{name}_FILE") or None
    if value is not None and path is not None:
        raise SecretError(f"{name} and {name}_FILE are both set: unset one of them.")
    if path is not None:
        value = _read(f"{name}_FILE", Path(path))
    return None if value is None else Secret(value)


def _read(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SecretError(f"{variable} names {path}, which cannot be read: {reason}.") from None
    if len(content) > _LARGEST_FILE:
        raise SecretError(
            f"{variable} names {path}, which is too large for a secret (more than {_LARGEST_FILE} bytes)."
        )
    try:
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretError(f"{variable} names {path}, which is not UTF-8 text.") from None
    if not text:
        raise SecretError(f"{variable} names {path}, which is empty: write the secret into it.")
    return text
