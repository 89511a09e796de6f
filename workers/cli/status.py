"""`invites status`: the state of the shards."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli.options import AsJson, CommandError, Common, with_common
from workers.cli.output import say, say_json
from workers.cli.watch import Watch, shown
from workers.cli.words import duration, in_words, moment, waiting_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.queries.gateways import GatewayGroup
    from invites.queries.memory import Memory
    from invites.queries.overview import Backlog, Consumer, Overview
    from workers.cli.session import Session


_ExitCode = Annotated[
    bool,
    typer.Option("--exit-code", metavar="", help="Print one line: 0 fine, 1 warning, 2 critical."),
]


@with_common()
def status(
    *, watch: Watch = None, common: Common, as_json: AsJson = False, exit_code: _ExitCode = False
) -> int:
    """Show the state of each shard: backlog and its age, pending invites, timers, workers, gateways, memory.

    With `--exit-code` it prints one line for monitoring instead, and the exit status follows the convention of Nagios.

    2, critical: a shard cannot be reached or has no worker, an event has waited for more than 10 s, or the server is
    full.

    1, warning: an event has waited for more than 5 s or a notification for more than a minute, a dead letter has come
    within the last hour, or nine tenths of the memory are in use.
    """
    if exit_code and watch is not None:
        raise CommandError("--exit-code looks once: leave out --watch.", 2)

    async def run(session: Session) -> int:
        async def read() -> list[Overview]:
            from invites.queries.overview import overview

            return [await overview(session.client(keys), keys) for keys in session.shards()]

        def show(found: list[Overview]) -> int:
            if as_json:
                say_json({"shards": found})
            else:
                for one in found:
                    for line in _lines(one):
                        say(line)
            return 0

        return await shown(read, show, watch, as_json=as_json)

    if exit_code:
        from workers.cli.health import check

        return common.on_server(partial(check, as_json=as_json), any_shards=True)
    return common.on_server(run)


def _lines(shard: Overview) -> list[str]:
    lines = [
        f"shard {shard.shard}",
        f"  backlog          {_waiting(shard.backlog, 'events')}",
        f"  pushes           {_waiting(shard.push_backlog, 'jobs')}",
        f"  relay            {_waiting(shard.relay_backlog, 'entries')}",
        f"  pending invites  {shard.pending_invites}",
        f"  timers           {shard.timers} ({shard.overdue_timers} overdue)",
        f"  streams          {shard.events} events, {shard.notifications} notifications",
        f"  dead letters     {shard.dead_letters}"
        + (" (see: invites dead list)" if shard.dead_letters else ""),
    ]
    lines += [*_workers(shard.consumers), *_gateways(shard.groups)]
    return lines if shard.memory is None else [*lines, _memory(shard.memory)]


def _memory(memory: Memory) -> str:
    full = ": FULL, new calls wait" if memory.is_full else ""
    return f"  memory           {in_words(memory)}{full}"


def _gateways(groups: Sequence[GatewayGroup]) -> list[str]:
    if not groups:
        return ["  gateways         none yet (no consumer group)"]
    width = max(len(one.name) for one in groups)
    return [
        f"  gateways         {len(groups)}",
        *(f"    {one.name:{width}}  {waiting_for(one)}" for one in groups),
    ]


def _workers(consumers: Sequence[Consumer] | None) -> list[str]:
    if consumers is None:
        return ["  workers          none yet (no consumer group): start `invites run`"]
    width = max((len(one.name) for one in consumers), default=0)
    return [
        f"  workers          {len(consumers)}",
        *(f"    {one.name:{width}}  {one.pending} pending, {_heard(one)}" for one in consumers),
    ]


def _heard(consumer: Consumer) -> str:
    heard = duration(consumer.idle_ms)
    announced = consumer.announced
    if announced is None:
        return f"asked {heard} ago, announces nothing"
    committed = "" if announced.last_commit is None else f", last commit {moment(announced.last_commit)}"
    gone = "" if consumer.alive else "GONE, "
    return (
        f"{gone}heard of {heard} ago, release {announced.release}, since {moment(announced.since)}{committed}"
    )


def _waiting(backlog: Backlog, what: str) -> str:
    waiting = f"{backlog.entries} {what} ({backlog.unread} unread, {backlog.delivered} delivered)"
    if backlog.entries:
        waiting += f", the oldest for {duration(backlog.oldest_ms)}"
    return waiting
