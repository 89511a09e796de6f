"""`invites bench`: measurements on this machine, one file each."""

from __future__ import annotations

import typer

from workers.cli.bench.gateway import gateway
from workers.cli.bench.latency import latency
from workers.cli.bench.look_ups import lookups
from workers.cli.bench.memory import memory
from workers.cli.bench.peers import peers
from workers.cli.bench.plots import plots
from workers.cli.bench.races import races
from workers.cli.bench.throughput import throughput

app = typer.Typer(
    help="Measure this machine, with a temporary server unless --redis-url names one.", no_args_is_help=True
)

for _measurement in (throughput, memory, latency, gateway, peers, plots, races):
    app.command()(_measurement)
app.command("look-ups")(lookups)
