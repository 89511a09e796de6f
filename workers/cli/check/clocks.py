"""The clocks of the servers: entry ids of different shards are compared."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError

from workers.cli.check.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from invites.config import Config
    from invites.connection.clients import Clients

TOLERANCE_MS: Final = 5_000
"""`order.TOLERANCE` of lua/core/order.lua."""

_NOTICED_MS: Final = 1_000
_NAME: Final = "clocks"
_ADVICE: Final = "let all machines follow the same time servers (NTP)"


async def check_clocks(clients: Clients, config: Config) -> Finding:
    """Whether the clocks of the shards' servers, and of this machine, agree."""
    shards = config.shards()
    try:
        ahead = {
            keys.shard: await _ahead_ms(clients.of(keys))
            for keys in (shards if clients.kind == "cluster" else shards[:1])
        }
    except NoPermissionError:
        return Finding("warn", _NAME, "Not checked: this user may not run TIME.")
    return judge(ahead)


def judge(ahead: Mapping[int, int]) -> Finding:
    """The finding. `ahead`: shard -> how far (ms) its server's clock is ahead of this machine's."""
    first, last = min(ahead, key=ahead.__getitem__), max(ahead, key=ahead.__getitem__)
    apart = ahead[last] - ahead[first]
    if apart > _NOTICED_MS:
        said = f"The server of shard {last} is {apart} ms ahead of that of shard {first}"
        if apart > TOLERANCE_MS:
            return Finding(
                "FAIL", _NAME, f"{said}, so calls between them do not end as they should: {_ADVICE}."
            )
        return Finding("warn", _NAME, f"{said}: {_ADVICE}.")
    largest = max(ahead.values(), key=abs)
    if abs(largest) > _NOTICED_MS:
        where = "ahead of" if largest > 0 else "behind"
        return Finding(
            "warn",
            _NAME,
            f"The server is {abs(largest)} ms {where} this machine, or answers late: {_ADVICE}.",
        )
    return Finding("ok", _NAME, f"Within {max(apart, abs(largest))} ms.")


async def _ahead_ms(client: Redis) -> int:
    """How far the server's clock is ahead; half the time of the round trip is the error at most."""
    before = time.time()
    seconds, microseconds = await client.time()
    middle = (before + time.time()) / 2
    return round((seconds + microseconds / 1_000_000 - middle) * 1_000)
