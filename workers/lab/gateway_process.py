"""Starts real gateway processes for the demo, the benchmark and the tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from workers.lab.worker_process import start_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.lab.child_process import ChildProcess

_LISTENS: Final = re.compile(r"The gateway listens on \S+ port (\d+)")


def start_gateway(
    url: str, configuration: Mapping[str, object], *, environment: Mapping[str, str] | None = None
) -> ChildProcess:
    """Start `invites gateway` in a child process and return at once.

    `configuration` is the content of config.json. The gateway uses a free port unless it sets another one. The
    `environment` is that of this process by default.
    """
    gateway = {"port": 0, **dict(configuration.get("gateway") or {})}  # type: ignore[call-overload] # a section
    configuration = {**configuration, "gateway": gateway}
    return start_command("gateway", url, configuration, log_level="info", environment=environment)


def port_of(gateway: ChildProcess) -> int | None:
    """The port that the gateway listens on; None while it does not."""
    found = _LISTENS.search(gateway.output())
    return int(found[1]) if found else None
