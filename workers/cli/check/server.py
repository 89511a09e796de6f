"""The Redis or Valkey server: whether it is up, allows a worker's commands and keeps its data."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, RedisError

from invites.connection.clients import Clients
from invites.connection.url import address_of, parse_redis_url
from invites.keys import Keys
from invites.queries.memory import memory_of
from invites.queries.overview import backlog, consumers
from invites.store.layout import Layout, LayoutError, mismatch, unreadable
from invites.values.printable import escape
from workers.cli.check.clocks import check_clocks
from workers.cli.check.connections import check_connections
from workers.cli.check.finding import Finding
from workers.cli.check.gateways import check_gateways
from workers.cli.check.permissions import FUNCTIONS, refused
from workers.cli.check.role import Role
from workers.cli.check.topology import IN_CLUSTER, check_cluster, check_replicas, check_sentinels
from workers.cli.session import NAME_THE_PRIMARY, trouble
from workers.cli.tls import tls_fault, unverified
from workers.cli.words import in_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from redis.asyncio import Redis

    from invites.config import Config
    from invites.values.secret import Secret

_OLDEST_REDIS: Final = (7, 0)
_OLDEST_VALKEY: Final = (7, 2)
_MEMORY: Final = "memory"
_FULL: Final = "so new calls wait: raise maxmemory, or find out what uses it"


async def check_redis(url: Secret, config: Config, role: Role) -> list[Finding]:
    """All findings on the server or servers at `url`, for the user of a role."""
    address, parsed = address_of(url), parse_redis_url(url)
    findings: list[Finding] = []
    if parsed.kind == "sentinel":
        findings += [finding async for finding in check_sentinels(parsed)]
    async with Clients(url.reveal(), "check") as clients:
        try:
            async for finding in _findings(clients, config, address, role):
                if finding.name != _MEMORY or not _says_full(findings):
                    findings.append(finding)
        except (RedisError, OSError) as error:
            findings.append(Finding("FAIL", "redis", trouble(address, error)))
            if fault := await asyncio.to_thread(tls_fault, parsed):
                findings.append(Finding("FAIL", "tls", fault))
        else:
            if risk := unverified(parsed):
                findings.append(Finding("warn", "tls", risk))
    return findings


def _says_full(findings: Sequence[Finding]) -> bool:
    """Whether a server is known to be full, from INFO or from a command that it refused."""
    return any(finding.name == _MEMORY and finding.verdict == "FAIL" for finding in findings)


async def _findings(clients: Clients, config: Config, address: str, role: Role) -> AsyncIterator[Finding]:
    client = clients.of(config.shards()[0])
    began = time.perf_counter()
    await client.ping()
    took_ms = (time.perf_counter() - began) * 1000
    yield Finding("ok", "redis", f"{address} answers in {took_ms:.1f} ms.")
    if role in {Role.WORKER, Role.OPERATOR}:
        async for finding in _server(clients, config):
            yield finding
        async for finding in _shards(clients, config, role):
            yield finding
    else:
        for keys in config.shards():
            for finding in await _permissions(clients.of(keys), keys, role):
                yield finding
        if found := await _shards_of_client(clients, config, role):
            yield found


async def _server(clients: Clients, config: Config) -> AsyncIterator[Finding]:
    """Whether the servers are of a kind that keeps calls."""
    if clients.kind == "cluster":
        async for finding in check_cluster(clients, config):
            yield finding
    try:
        infos = await _infos(clients, config)
    except NoPermissionError:
        yield Finding("warn", "version", "Not checked: this user may not run INFO.")
    else:
        for check in (_version, _memory_policy, _memory, _persistence):
            yield _worst([check(info) for info in infos])
        if clients.kind == "sentinel":
            yield check_replicas(infos[0])
        elif clients.kind != "cluster" and infos[0].get("cluster_enabled") == 1:
            yield IN_CLUSTER
        elif infos[0].get("role") != "master":
            yield Finding("FAIL", "role", f"The server is a replica: {NAME_THE_PRIMARY}.")
        if config.redis.shards > 1:
            yield check_connections(config.redis.shards, infos)
    yield await check_clocks(clients, config)


async def _infos(clients: Clients, config: Config) -> list[Mapping[str, Any]]:
    """INFO of each server that owns a shard."""
    found = {}
    shards = config.shards()
    for keys in shards if clients.kind == "cluster" else shards[:1]:
        info = await clients.of(keys).info()
        found[info["run_id"]] = info
    return list(found.values())


def _worst(findings: Sequence[Finding]) -> Finding:
    """The most severe finding."""
    return max(findings, key=lambda finding: ("ok", "warn", "FAIL").index(finding.verdict))


def _version(info: Mapping[str, Any]) -> Finding:
    is_valkey = "valkey_version" in info
    name, oldest = ("Valkey", _OLDEST_VALKEY) if is_valkey else ("Redis", _OLDEST_REDIS)
    version = str(info.get("valkey_version" if is_valkey else "redis_version", "0"))
    wanted = ".".join(map(str, oldest))
    parts = tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
    if parts < oldest:
        return Finding("FAIL", "version", f"{name} {version} is too old: install {name} {wanted} or later.")
    return Finding("ok", "version", f"{name} {version}.")


def _memory_policy(info: Mapping[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        advice = "run CONFIG SET maxmemory-policy noeviction, and set it in the server's configuration"
        return Finding("FAIL", "memory policy", f"{policy}, so a full server deletes calls: {advice}.")
    return Finding("ok", "memory policy", "noeviction.")


def _memory(info: Mapping[str, Any]) -> Finding:
    memory = memory_of(info)
    said = in_words(memory)
    if memory.is_full:
        return Finding("FAIL", _MEMORY, f"The server is full ({said}), {_FULL}.")
    if memory.is_nearly_full:
        return Finding("warn", _MEMORY, f"{said}: raise maxmemory, or find out what uses it.")
    return Finding("ok", _MEMORY, f"{said}.")


def _persistence(info: Mapping[str, Any]) -> Finding:
    if info.get("aof_enabled") == 1:
        return Finding("ok", "persistence", "Append-only file.")
    return Finding(
        "warn",
        "persistence",
        "No append-only file, so a restart loses the latest calls and events: set `appendonly yes`.",
    )


async def _shards(clients: Clients, config: Config, role: Role) -> AsyncIterator[Finding]:
    """Whether the server has the configured number of shards, and the permissions and workers of each shard."""
    first, shards = config.shards()[0], config.redis.shards
    client: Any = clients.of(first)
    found = None
    with contextlib.suppress(NoPermissionError):  # _permissions reports it
        found = await client.get(first.layout)
    if found is not None and found != str(shards).encode():
        yield Finding("FAIL", "shards", str(LayoutError(found.decode(errors="replace"), shards)))
    for keys in config.shards():
        for finding in await _permissions(clients.of(keys), keys, role):
            yield finding
        try:
            readers = [await _workers(clients.of(keys), keys)]
        except NoPermissionError:
            readers = [Finding("warn", "workers", "Not checked: the permissions above are missing.")]
        try:
            readers += await check_gateways(clients.of(keys), keys)
        except NoPermissionError:
            readers.append(Finding("warn", "gateways", "Not checked: the permissions above are missing."))
        where = f"Shard {keys.shard}: " if shards > 1 else ""
        for one in readers:
            yield Finding(one.verdict, one.name, where + one.text)


async def _shards_of_client(clients: Clients, config: Config, role: Role) -> Finding | None:
    first = config.shards()[0]
    suits = Layout.counts if role is Role.GATEWAY else Layout.takes_from
    try:
        wrong = await mismatch(clients.of(first), first, config.redis.shards, suits)
    except NoPermissionError:
        return Finding("warn", "shards", unreadable(first))
    return None if wrong is None else Finding("FAIL", "shards", str(wrong))


async def _permissions(client: Redis, keys: Keys, role: Role) -> list[Finding]:
    answers = await refused(client, keys, role)
    permissions = _verdict(answers.forbidden, answers.complaints, keys, role)
    return (
        [permissions, Finding("FAIL", _MEMORY, f"The server is full, {_FULL}.")]
        if answers.full
        else [permissions]
    )


def _verdict(forbidden: Sequence[str], complaints: Sequence[str], keys: Keys, role: Role) -> Finding:
    names, whose = ", ".join(forbidden), f"the {role}'s"
    if forbidden and FUNCTIONS.issuperset(forbidden):
        advice = (
            "Commits run as scripts, which costs the server more: allow them in the ACL of the worker's user"
        )
        return Finding("warn", "permissions", f"Not allowed: {names}. {advice}.")
    if forbidden:
        advice = f"Allow them in the ACL of {whose} user, or run this check with {whose} credentials"
        return Finding("FAIL", "permissions", f"Not allowed: {names}. {advice}.")
    a_role = f"{'an' if role is Role.OPERATOR else 'a'} {role}'s"
    if complaints:
        said = escape("; ".join(complaints)).rstrip(". ")
        return Finding("FAIL", "permissions", f"The server refuses {a_role} commands: {said}.")
    return Finding("ok", "permissions", f"All of {a_role} commands on {keys.base}* are allowed.")


async def _workers(client: Redis, keys: Keys) -> Finding:
    """Whether a worker reads the events: a connected worker announces itself once a second."""
    known = await consumers(client, keys)
    waiting = await backlog(client, keys)
    alive = [one for one in known or () if one.alive]
    if alive:
        return Finding("ok", "workers", f"{len(alive)} connected, {waiting.entries} events not settled yet.")
    if waiting.entries:
        advice = "start `invites run`, or read its log"
        return Finding(
            "FAIL", "workers", f"No worker is connected, and {waiting.entries} events wait: {advice}."
        )
    if known is None:
        return Finding(
            "warn", "workers", "No worker has connected yet (no consumer group): start `invites run`."
        )
    return Finding("warn", "workers", "No worker is connected: start `invites run`.")
