"""The servers around the one that a worker uses: sentinels, cluster, replicas."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from invites.connection.connections import asker
from invites.connection.url import shown
from invites.values.printable import escape
from workers.cli.check.finding import Finding
from workers.cli.session import FOR_SENTINELS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from redis.asyncio import Redis

    from invites.config import Config
    from invites.connection.clients import Clients
    from invites.connection.url import RedisUrl
    from invites.keys import Keys

IN_CLUSTER: Final = Finding(
    "warn",
    "cluster",
    "This Redis node belongs to a cluster and can lose the shard: use `redis+cluster://` in `redis.url`.",
)
"""The finding when the URL of a single server leads to a node of a cluster."""

_SLOTS: Final = 16_384


async def check_sentinels(url: RedisUrl) -> AsyncIterator[Finding]:
    """Whether the sentinels answer, name the same primary and can promote a replica."""
    ask = asker(url, "check")
    named: dict[str, str] = {}
    silent: dict[str, str] = {}
    quorum, advice = "", "check that they run and that redis.url is right"
    for sentinel in url.hosts:
        try:
            primary = await ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service)
            if primary is None:
                silent[shown(sentinel)] = f"does not know {url.service!r}"
                continue
            named[shown(sentinel)] = shown((primary[0].decode(), int(primary[1])))
            quorum = quorum or await _quorum(ask(sentinel, "SENTINEL", "CKQUORUM", url.service))
        except (RedisError, OSError) as error:
            if isinstance(error, AuthenticationError):
                advice = FOR_SENTINELS
            silent[shown(sentinel)] = escape(str(error)) or type(error).__name__
    if named:
        yield _sentinels(url, named, silent, quorum)
    else:
        said = f"No sentinel names the primary of {url.service!r} ({_complaints(silent)}): {advice}."
        yield Finding("FAIL", "sentinels", said)


async def check_cluster(clients: Clients, config: Config) -> AsyncIterator[Finding]:
    """Whether the cluster serves all slots, and which node owns each shard. Raises redis-py's errors."""
    shards = config.shards()
    try:
        info = await clients.of(shards[0]).execute_command("CLUSTER INFO")
    except NoPermissionError:
        yield Finding("warn", "cluster", "Not checked: this user may not run CLUSTER INFO.")
    else:
        yield _cluster(info)
    for keys in shards:
        yield await _shard(clients.of(keys), keys)


def check_replicas(info: Mapping[str, Any]) -> Finding:
    """Whether a replica can take over; `info` comes from the primary."""
    followers = [
        value for name, value in info.items() if name.startswith("slave") and isinstance(value, dict)
    ]
    ready = [one for one in followers if one.get("state") == "online"]
    if info.get("role") != "master":
        return Finding("FAIL", "replicas", "The server itself is a replica: wait until the fail-over ends.")
    if not ready:
        advice = "add a replica, or see in its log why it does not follow"
        return Finding("warn", "replicas", f"No replica can take over: {advice}.")
    return Finding("ok", "replicas", f"{len(ready)} can take over.")


async def _quorum(asked: Any) -> str:  # noqa: ANN401 - a reply to await
    """The error of the quorum, or an empty text."""
    try:
        await asked
    except NoPermissionError:
        return ""  # this check is optional
    except RedisError as error:
        return escape(str(error))
    return ""


def _complaints(silent: Mapping[str, str]) -> str:
    return "; ".join(f"{sentinel}: {words}" for sentinel, words in silent.items())


def _sentinels(url: RedisUrl, named: Mapping[str, str], silent: Mapping[str, str], quorum: str) -> Finding:
    primaries = Counter(named.values())
    if len(primaries) > 1:
        said = "; ".join(f"{sentinel}: {primary}" for sentinel, primary in named.items())
        advice = "wait until a fail-over ends, or find out why they cannot reach each other"
        return Finding(
            "FAIL",
            "sentinels",
            f"The sentinels name several primaries of {url.service!r} ({said}): {advice}.",
        )
    (primary,) = primaries
    if quorum:
        return Finding(
            "FAIL", "sentinels", f"The sentinels name {primary} but cannot promote another primary: {quorum}."
        )
    if silent:
        said = f"Only {len(named)} of {len(url.hosts)} name {primary} as the primary of {url.service!r}"
        advice = "start the others, or correct redis.url"
        return Finding("warn", "sentinels", f"{said} ({_complaints(silent)}): {advice}.")
    return Finding("ok", "sentinels", f"All {len(named)} name {primary} as the primary of {url.service!r}.")


def _cluster(info: Mapping[str, str]) -> Finding:
    state, assigned = info["cluster_state"], int(info["cluster_slots_assigned"])
    unserved = _SLOTS - assigned + int(info["cluster_slots_fail"])
    if unserved:
        advice = "Restart their nodes, or assign the slots to other nodes (`valkey-cli --cluster fix`)"
        return Finding("FAIL", "cluster", f"{state}: no node serves {unserved} of {_SLOTS} slots. {advice}.")
    if state != "ok":
        advice = "this node cannot reach most of the others, see its log"
        return Finding("FAIL", "cluster", f"cluster_state is {state}: {advice}.")
    return Finding("ok", "cluster", f"State ok, all {_SLOTS} slots on {info['cluster_size']} primaries.")


async def _shard(client: Redis, keys: Keys) -> Finding:
    name = f"shard {keys.shard}"
    slot = key_slot(keys.base.encode())
    ranges = await client.execute_command(b"CLUSTER", "SLOTS")
    members: list[Any] = next((members for first, last, *members in ranges if first <= slot <= last), [])
    if not members:
        return Finding(
            "FAIL", name, f"No node serves slot {slot}, which holds all keys of the shard: restart its node."
        )
    primary = shown(((members[0][0] or b"?").decode(), int(members[0][1])))
    said = f"All keys are in slot {slot} on {primary}"
    if len(members) == 1:
        return Finding("warn", name, f"{said} without a replica: add one, or calls stop when the node dies.")
    return Finding("ok", name, f"{said}; replicas: {len(members) - 1}.")
