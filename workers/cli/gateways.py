"""`invites gateways`: the consumer groups of the gateways on the notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli.options import AsJson, CommandError, Common, with_common
from workers.cli.output import say, say_json
from workers.cli.words import waiting_for

if TYPE_CHECKING:
    from workers.cli.session import Session

app = typer.Typer(
    help="List and drop the groups with which gateways read the notifications.",
    no_args_is_help=True,
)

_Group = Annotated[
    str, typer.Argument(metavar="GROUP", help="Name of the group, as `gateways list` prints it.")
]
_Shard = Annotated[
    int | None, typer.Option("--shard", metavar="N", min=0, help="Only on this shard. Default: all shards.")
]
_Force = Annotated[
    bool,
    typer.Option("--force", metavar="", help="Also drop a group that has read in the last five minutes."),
]


@app.command("list")
@with_common()
def list_(*, common: Common, as_json: AsJson = False) -> int:
    """List the groups of each shard: their backlog, its age, and when they last read."""

    async def show(session: Session) -> int:
        from invites.queries.gateways import gateway_groups

        found = {keys.shard: await gateway_groups(session.client(keys), keys) for keys in session.shards()}
        if as_json:
            say_json({"shards": [{"shard": shard, "groups": groups} for shard, groups in found.items()]})
            return 0
        for shard, groups in found.items():
            say(f"shard {shard}" + ("" if groups else ": no group"))
            width = max((len(one.name) for one in groups), default=0)
            for one in groups:
                say(f"  {one.name:{width}}  {waiting_for(one)}")
        return 0

    return common.on_server(show)


@app.command()
@with_common()
def drop(*, group: _Group, shard: _Shard = None, force: _Force = False, common: Common) -> int:
    """Drop the group of a gateway that is gone permanently, so that its notifications can be trimmed.

    The group loses what it has not acknowledged. A group that has read in the last five minutes is refused
    without `--force`: its gateway may still be running, and would get no more notifications.
    """

    async def drop_it(session: Session) -> int:
        from invites.queries.gateways import READ_LATELY_MS, gateway_groups, remove_group

        if shard is not None and shard >= len(session.shards()):
            raise CommandError(f"There is no shard {shard}: redis.shards is {len(session.shards())}.", 2)
        shards = session.shards() if shard is None else [session.shard(shard)]
        for keys in [] if force else shards:
            for one in await gateway_groups(session.client(keys), keys):
                if one.is_named(group) and not one.is_gone:
                    raise CommandError(
                        f"The group {group} has read from shard {keys.shard} in the last {READ_LATELY_MS // 60_000} "
                        "minutes: stop its gateway first, or use --force."
                    )
        dropped = [keys.shard for keys in shards if await remove_group(session.client(keys), keys, group)]
        if not dropped:
            raise CommandError(f"There is no group {group}: take one from `invites gateways list`.")
        for number in dropped:
            say(f"{group} dropped from shard {number}")
        return 0

    return common.on_server(drop_it)
