"""The gateways: whether their groups read the notifications, and how far behind each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from invites.queries.gateways import gateway_groups
from workers.cli.check.finding import Finding
from workers.cli.words import waiting_for

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.keys import Keys
    from invites.queries.gateways import GatewayGroup

_NAME: Final = "gateways"
_MOST_LINES: Final = 20


async def check_gateways(client: Redis, keys: Keys) -> list[Finding]:
    """One finding for each group on the notifications of a shard, late ones first. Raises redis exceptions."""
    groups = sorted(await gateway_groups(client, keys), key=lambda one: not one.is_late)
    if not groups:
        return [Finding("warn", _NAME, "No gateway reads the notifications (no consumer group): start one.")]
    findings = [_finding(one) for one in groups[:_MOST_LINES]]
    if more := groups[_MOST_LINES:]:
        said = f"{len(more)} more groups: see `invites gateways list`."
        findings.append(Finding("warn" if more[0].is_late else "ok", _NAME, said))
    return findings


def _finding(group: GatewayGroup) -> Finding:
    said = f"{group.name}: {waiting_for(group)}"
    if not group.is_late:
        return Finding("ok", _NAME, f"{said}.")
    advice = "see the gateway's log"
    if group.is_gone:
        advice = "start the gateway, or remove its group with `invites gateways drop`"
    return Finding("warn", _NAME, f"{said}: {advice}.")
