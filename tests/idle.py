"""The cost of a worker that has nothing to do, by its number of shards (Linux).

    python -m tests.idle --shards 1 16 64

One server and one worker process. Prints how many connections the worker has, and how much of a core the worker and the
server take.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import redis

from invites.keys import Keys
from tests.support.servers.node import Node, wait_for
from workers.lab.worker_process import start_worker

_START_S: Final = 60.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def measure(shards: int, seconds: float) -> tuple[int, float, float]:
    """The connections to the server, and the shares of a core that the worker and the server take."""
    with Node() as node, start_worker(node.url, {"redis": {"shards": shards}}) as worker:
        client: Any = node.client

        def all_there() -> bool:
            assert worker.running(), worker.output()
            return all(
                next(client.scan_iter(Keys(shard=n).worker("*"), 10_000), None) for n in (0, shards - 1)
            )

        wait_for(all_there, "the worker has announced itself in the first and the last shard", _START_S)
        time.sleep(seconds)  # the start is over
        before = (_seconds(worker.pid), _server_seconds(client))
        time.sleep(seconds)
        after = (_seconds(worker.pid), _server_seconds(client))
        used, served = ((then - first) / seconds for first, then in zip(before, after, strict=True))
        return len(client.client_list()), used, served


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _server_seconds(client: redis.Redis) -> float:
    found: Any = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    for number in given.shards:
        found, used_share, served_share = measure(number, given.seconds)
        sys.stdout.write(
            f"{number} shards: {found} connections, worker {used_share:.1%} of a core, server {served_share:.1%}\n"
        )
