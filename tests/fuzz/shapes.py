"""The kinds of input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from invites.keys import Stream

SHARDS: Final = 3


@dataclass(frozen=True)
class Entry:
    """An entry of a stream of a shard."""

    stream: Stream
    shard: int
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True)
class Reply:
    """The answer of sippo-server from now on."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Request:
    """An HTTP request, as it is sent."""

    raw: bytes


@dataclass(frozen=True)
class Configuration:
    """The decoded content of a configuration file."""

    raw: Any


Input = Entry | Reply | Request | Configuration
