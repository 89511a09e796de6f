"""`invites demo`: calls played in the terminal."""

from __future__ import annotations

import asyncio

from workers.cli.options import Common, Level, with_common


@with_common(log_level=Level.WARN)
def demo(*, _: Common) -> int:
    """Play calls on this machine, with a server, a worker and devices of its own. Ends by itself.

    Since it brings all of that, it needs no server and no configuration: --config and --redis-url are checked, and
    that is all.
    """
    from workers.lab.demo import play

    return asyncio.run(play())
