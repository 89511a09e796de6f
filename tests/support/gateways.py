"""Gateways in this process."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from invites.config import Config, Redis
from invites.config.sections import Gateway
from invites.values.secret import Secret
from tests.support.devices import SECRET
from tests.support.worker import configured, running
from workers.gateway.service import GatewayService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp


def configuration(shards: int = 1, **gateway: Any) -> Config:
    settings = msgspec.structs.replace(Gateway(port=0, secret=Secret(SECRET)), **gateway)
    basic = msgspec.structs.replace(configured().invites.basic, remove_after=60_000)
    invites = msgspec.structs.replace(configured().invites, basic=basic)
    return Config(invites=invites, redis=Redis(shards=shards), gateway=settings)


@contextlib.asynccontextmanager
async def gateway(url: str, config: Config) -> AsyncIterator[GatewayService]:
    """A gateway in this process."""
    service = GatewayService(config, url)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()


@contextlib.asynccontextmanager
async def platform(url: str, shards: int = 1, **settings: Any) -> AsyncIterator[GatewayService]:
    """A worker and a gateway."""
    config = configuration(shards, **settings)
    async with running(config, url), gateway(url, config) as service:
        yield service


async def is_ready(http: aiohttp.ClientSession) -> bool:
    return (await http.get("/readyz")).status == 200
