"""Reads the query of a request for a list of invites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from invites.queries.lists import MOST, PENDING, STATES, Filter

if TYPE_CHECKING:
    from collections.abc import Mapping

_KNOWN: Final = ("user", "state", "room", "since", "limit", "cursor")
_DIGITS: Final = 15


def asked_for(query: Mapping[str, str]) -> tuple[Filter, int, str | None]:
    """The filter, the limit of a page and the cursor. Raises HTTPBadRequest with a sentence."""
    unknown = next((name for name in query if name not in _KNOWN), None)
    if unknown is not None:
        raise web.HTTPBadRequest(text=f"the query knows {', '.join(_KNOWN)} alone")
    if len(query) > len(set(query)):
        raise web.HTTPBadRequest(text="the query must have each name once")
    state = query.get("state", PENDING).upper()
    if state not in STATES:
        raise web.HTTPBadRequest(text=f"state must be one of {', '.join(STATES)}")
    asked = Filter(query.get("user"), state, query.get("room"), _whole(query, "since"))
    return asked, limit_in(query), query.get("cursor")


def limit_in(query: Mapping[str, str]) -> int:
    """The limit of a page. Raises HTTPBadRequest with a sentence."""
    limit = _whole(query, "limit")
    if limit is not None and not 1 <= limit <= MOST:
        raise web.HTTPBadRequest(text=f"limit must be a whole number from 1 to {MOST}")
    return MOST if limit is None else limit


def _whole(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS):
        raise web.HTTPBadRequest(text=f"{name} must be a whole number")
    return int(value)
