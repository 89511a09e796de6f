"""The contract for machines: JSON Schema of events, notifications and configuration, and an AsyncAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from invites.schema import asyncapi, json_schema

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "events": json_schema.events,
    "notifications": json_schema.notifications,
    "config": json_schema.config,
    "asyncapi": asyncapi.document,
}
"""Each document of the contract, and what makes it."""


def text_of(name: str) -> str:
    """A document of `SCHEMAS` as indented JSON, as it stands in `deploy/schema/`."""
    return msgspec.json.format(msgspec.json.encode(SCHEMAS[name]()), indent=2).decode() + "\n"
