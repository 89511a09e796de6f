"""`invites schema`: the contract for machines."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from invites.schema import SCHEMAS, text_of
from workers.cli.options import Common, with_common
from workers.cli.output import say


class _Document(enum.StrEnum):
    EVENTS = "events"
    NOTIFICATIONS = "notifications"
    CONFIG = "config"
    ASYNCAPI = "asyncapi"


_Which = Annotated[
    _Document, typer.Argument(metavar="DOCUMENT", help=f"Which document: {', '.join(SCHEMAS)}.")
]


@with_common()
def schema(*, document: _Which, common: Common) -> int:  # noqa: ARG001 - every command takes the common options
    """Print JSON Schema of the events, the notifications or the configuration, or the AsyncAPI document.

    The same documents are in `deploy/schema/`. Needs no server.
    """
    for line in text_of(document).splitlines():
        say(line)
    return 0
