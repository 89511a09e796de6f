"""Starts and ends everything for the page: a server, workers, a gateway, a sippo-server, the page's own server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from invites.client import Publisher
from invites.keys import Keys
from workers.aio.tasks import end
from workers.lab.embedded import EmbeddedValkey
from workers.lab.fake_sippo import FakeSippo
from workers.lab.gateway_process import port_of, start_gateway
from workers.lab.page.access import Access, PageError, listen
from workers.lab.page.crew import Crew
from workers.lab.page.feed import Feed
from workers.lab.page.keys import CallKeys
from workers.lab.page.network import Network
from workers.lab.page.people import NETWORK, directory
from workers.lab.page.rooms import Rooms
from workers.lab.page.server import PageServer
from workers.lab.page.streams import Message, Streams, read_pushes
from workers.lab.worker_process import start_worker

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine

    from workers.lab.child_process import ChildProcess

_GRACE_MS: Final = 8_000  # long enough for a person who cuts a device off and brings it back
_EXPIRES_MS: Final = 600_000  # renewals would fill the timeline
_START_S: Final = 20.0
_LOOK_S: Final = 0.05


async def show(host: str, port: int, say: Callable[[str], None]) -> int:
    """Show the page until SIGINT, SIGTERM or SIGHUP; returns the exit status. Port 0 means any free port.

    Raises PageError, EmbeddedError and redis exceptions.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    with listen(host, port) as listening:
        showing = asyncio.create_task(_show(host, listening, say))
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait([showing, stopped], return_when=asyncio.FIRST_COMPLETED)
        await end([showing, stopped])
        if not showing.cancelled():
            showing.result()
    return 0


async def _show(host: str, listening: socket.socket, say: Callable[[str], None]) -> None:
    """Show the page until cancelled, or until a process that the page needs has ended."""
    address, port = listening.getsockname()
    access = Access(host, address, port)
    feed, keys, secret = Feed(), Keys(), secrets.token_hex(32)
    # Secrets that were exported for another installation would override those of the page.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVITES_")}
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedValkey())
        fake_sippo = await stack.enter_async_context(FakeSippo(directory()))
        publisher = await stack.enter_async_context(Publisher(server.url))
        rooms = Rooms(publisher, feed)
        stack.push_async_callback(rooms.aclose)
        network = Network(publisher, rooms)
        stack.push_async_callback(network.aclose)
        streams = Streams(server.url, keys, feed, partial(_hear, rooms, network))
        stack.push_async_callback(streams.aclose)
        await streams.start()

        invites = {
            "basic": {
                "removeAfter": _GRACE_MS,
                "resolveGroups": True,
                "resolvePush": True,
                "wac": fake_sippo.wac,
            },
            "glare": "merge",
        }
        crew = Crew(partial(start_worker, server.url, {"invites": invites}, environment=environment), feed)
        stack.push_async_callback(crew.aclose)
        crew.start()
        settings = {"host": address, "secret": secret, "origins": access.origins, "expires": _EXPIRES_MS}
        gateway = start_gateway(server.url, {"gateway": settings}, environment=environment)
        stack.push_async_callback(asyncio.to_thread, gateway.terminate)
        await network.start()

        call_keys = CallKeys(server.url, keys)
        stack.push_async_callback(call_keys.aclose)
        page = PageServer(access, feed, rooms, network, crew, call_keys, secret=secret)
        stack.push_async_callback(page.aclose)
        loops = await stack.enter_async_context(
            _running(streams.run(), read_pushes(fake_sippo, feed), crew.run())
        )
        await page.start(listening, await _port(gateway))
        say(f"Phones ring at {access.url}")
        if not access.is_local:
            say(f"One of them on another device: {access.device_url}")
        say(f"Look inside meanwhile: redis-cli -p {server.port}. Ctrl-C ends all of it.")
        while True:
            if not gateway.running():
                raise PageError(f"The gateway has ended. It printed: {gateway.output() or 'nothing'}")
            for loop in loops:
                if loop.done():
                    loop.result()
            await asyncio.sleep(_LOOK_S)


def _hear(rooms: Rooms, network: Network, message: Message) -> None:
    """Passes the streams' entries on to the page's own parts."""
    payload = message["payload"] if isinstance(message["payload"], dict) else {}
    if message["kind"] == "notification":
        if NETWORK.id in message["peers"]:
            network.hear(message)
    elif message["type"] in {"disconnected", "unregistered"}:
        rooms.lost(_id_in(payload.get("peer")))
    elif message["type"] == "registered":
        rooms.back(_id_in(payload.get("registry")))


def _id_in(named: object) -> str:
    return str(named.get("id")) if isinstance(named, dict) else ""


async def _port(gateway: ChildProcess) -> int:
    """The address of the gateway. Raises PageError when it does not start to listen."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_S):
            while gateway.running():
                port = port_of(gateway)
                if port is not None:
                    return port
                await asyncio.sleep(_LOOK_S)
    raise PageError(f"The gateway has not started. It printed: {gateway.output() or 'nothing'}")


@contextlib.asynccontextmanager
async def _running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield tasks
    finally:
        await end(tasks)
