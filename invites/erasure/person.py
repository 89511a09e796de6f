"""Whether a text names a user: a key, a member of a key, a field of an entry."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

_LEG_MARK: Final = 4  # parts of from|inviteId|group|member
_OPENS: Final = frozenset("{[")
_END: Final = r'[\s{}|"\\,:()\[\]]'  # no id has these; they may stand beside one in a text


class Person:
    """A user, by its id."""

    def __init__(self, user: str) -> None:
        self.user = user
        self._raw = user.encode()
        self._word = re.compile(rf"(?:^|{_END}){re.escape(user)}(?:$|{_END})")

    def is_in_ref(self, text: str) -> bool:
        """Whether the user is the inviter or the callee of a ref, a member in the mark of a leg, or the text itself."""
        parts = text.split("|")
        users = {parts[0], parts[-1]} | ({parts[2]} if len(parts) == _LEG_MARK else set())
        return self.user in users

    def is_in_value(self, raw: bytes) -> bool:
        """Whether JSON has the user as a text or as a part of a ref, or any other text has it as a word."""
        if self._raw not in raw and b"\\" not in raw:
            return False
        try:
            found = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            found = None
        if isinstance(found, dict | list | str):
            return self._is_in(found)
        return self._word.search(raw.decode(errors="replace")) is not None

    def _is_in(self, value: Any) -> bool:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            return any(map(self._is_in, value.values()))
        if isinstance(value, list):
            return any(map(self._is_in, value))
        if not isinstance(value, str):
            return False
        # Messages between shards carry JSON as a text, also the beginning of an object.
        return self.user in value.split("|") or (value[:1] in _OPENS and self.is_in_value(value.encode()))
