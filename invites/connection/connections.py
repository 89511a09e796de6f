"""Connections that locate the primary before they connect, and locate it again after a fail-over."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import hiredis
from aiohappyeyeballs import start_connection
from redis import exceptions
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from invites import SERVICE
from invites.connection.discovery import FixedLocator
from invites.connection.errors import is_about_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.typing import EncodableT

    from invites.connection.discovery import Ask, EndpointLocator
    from invites.connection.url import Address, Credentials, RedisUrl

REPLY_S: Final = 5.0
"""A connection counts as lost when a reply takes longer than this (s)."""

_CONNECT_S: Final = 2.0
_NEXT_ADDRESS_S: Final = 0.25  # RFC 8305, Connection Attempt Delay
_READ_SIZE: Final = 256 * 1024  # bytes; a full batch of entries in one read


def pack(*arguments: EncodableT) -> bytes:
    """A command as bytes. A name of two words may be one argument ("CONFIG GET"). Raises DataError.

    Packs in C: 0.14 ms instead of 0.62 ms for the 1,500 arguments of a full commit.
    """
    name = arguments[0]
    if isinstance(name, str) and " " in name:
        arguments = (*name.split(), *arguments[1:])
    try:
        packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # the stub knows one argument
    except TypeError as error:
        raise exceptions.DataError(str(error)) from error
    return packed


class _Packed:
    """Packs commands in C."""

    def pack_command(self, *arguments: EncodableT) -> list[bytes]:
        """The command as bytes."""
        return [pack(*arguments)]


class _Connection(AbstractConnection):
    """What connections of every kind have in common.

    A task that is cancelled just as its command has been sent ends. On Python 3.11 `asyncio.wait_for`, which redis-py
    sends with, swallows such a cancellation (gh-86296, fixed in 3.12): a deadline would be missed, and a stopped task
    would continue.
    """

    @property
    def reply_s(self) -> float:
        """A connection counts as lost when a reply takes longer than this (s)."""
        return self.socket_timeout or REPLY_S

    def hand_over(self, protocol: asyncio.Protocol) -> tuple[asyncio.WriteTransport, hiredis.Reader]:
        """From now on `protocol` gets the data that arrives. After that redis-py only closes the connection.

        Returns the transport to write to, and a parser for the replies. Errors among these are redis exceptions. Raises
        ConnectionError.
        """
        if self._writer is None or self._reader is None or self._reader.at_eof():
            raise exceptions.ConnectionError("The connection was lost as it was made.")
        transport = self._writer.transport
        transport.set_protocol(protocol)
        parse_error = self._parser.parse_error
        return transport, hiredis.Reader(protocolError=exceptions.InvalidResponse, replyError=parse_error)

    def heard(self, error: Exception) -> None:
        """An error came over the connection."""

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's own
    ) -> None:
        """Send it, or raise CancelledError and give the connection up, since nobody will read the reply."""
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > before:
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError

    @property
    def is_current(self) -> bool:
        """Whether it leads to the server that a new connection would reach."""
        return True


class TcpConnection(_Packed, _Connection, Connection):
    """Connects to the address that its locator finds, and reconnects when the locator has been invalidated."""

    def __init__(self, *, locator: EndpointLocator, **settings: Any) -> None:  # noqa: ANN401 - redis-py's own
        super().__init__(**settings)
        self._locator = locator
        self._generation = -1

    @property
    def is_current(self) -> bool:
        """Whether it was made to the address that its locator found last."""
        return self._generation == self._locator.generation

    async def connect_check_health(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - redis-py's own
        """Connect, unless there is a connection of the locator's current generation."""
        locator = self._locator
        if self.is_connected and self._generation == locator.generation:
            return
        await self.disconnect()
        self._generation = locator.generation
        self.host, self.port = await locator.find()
        try:
            await super().connect_check_health(*arguments, **options)
        except exceptions.RedisError as error:
            self.heard(error)
            raise

    async def read_response(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's own
        """The reply. An error that may come from the wrong server makes all connections reconnect."""
        try:
            return await super().read_response(*arguments, **options)
        except exceptions.RedisError as error:
            self.heard(error)
            raise

    def heard(self, error: Exception) -> None:
        """An error came over the connection. If another server might not give it, the primary is located again."""
        if is_about_endpoint(error):
            self._locator.invalidate(self._generation, error, (self.host, self.port))

    async def _connect(self) -> None:
        """Connect to the first address of the host that answers: one that leads nowhere takes all the time."""
        async with asyncio.timeout(self.socket_connect_timeout):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self._socket = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S)
            await super()._connect()  # type: ignore[no-untyped-call] # redis-py has no annotation here

    def _connection_arguments(self) -> dict[str, Any]:
        return {"sock": self._socket}


class TlsConnection(TcpConnection, SSLConnection):
    """The same over TLS, with the certificates that are in the files when it connects."""

    _files: tuple[tuple[int, int] | None, ...] = ()

    async def _connect(self) -> None:
        tls = self.ssl_context
        files = tuple(map(_version, (tls.ca_certs, tls.ca_path, tls.certfile, tls.keyfile)))
        if files != self._files:
            self._files = files
            tls.context = None  # redis-py reads the files once for each connection object
        tls.get()  # an unusable file is no reason to connect
        await super()._connect()

    def _connection_arguments(self) -> dict[str, Any]:
        return {
            **super()._connection_arguments(),
            "ssl": self.ssl_context.get(),
            "server_hostname": self.host,
        }


class UnixConnection(_Packed, _Connection, UnixDomainSocketConnection):
    """A connection to a Unix socket."""


def _version(file: str | None) -> tuple[int, int] | None:
    """Differs after the file was changed or replaced. None: there is none."""
    try:
        found = Path(file).stat() if file else None
    except OSError:
        found = None  # reading it raises the error
    return found and (found.st_ino, found.st_mtime_ns)


def transport(url: RedisUrl, *, over_tls: bool) -> tuple[type[TcpConnection], dict[str, Any]]:
    """The class of a TCP connection, and its TLS options."""
    return (TlsConnection, dict(url.tls or {})) if over_tls else (TcpConnection, {})


def settings(credentials: Credentials, purpose: str) -> dict[str, Any]:
    """What all connections have in common."""
    username, password = credentials.username, credentials.password
    return {
        "username": username and username.reveal(),
        "password": password and password.reveal(),
        "socket_timeout": REPLY_S,
        "socket_connect_timeout": _CONNECT_S,
        "socket_read_size": _READ_SIZE,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
        # No CLIENT SETINFO: Redis 7.0 does not know it, so the ACL of deploy/ does not name it.
        "driver_info": None,
        "client_name": f"{SERVICE}:{purpose}:{os.getpid()}",
    }


def asker(url: RedisUrl, purpose: str) -> Ask:
    """Asks sentinels or cluster nodes, with the credentials that `url` has for them."""
    if url.kind == "sentinel":
        return _Asker(url, url.sentinel_credentials, purpose, over_tls=url.sentinel_tls)
    return _Asker(url, url.credentials, purpose, over_tls=url.tls is not None)


class _Asker:
    """Sends one command over a connection of its own."""

    def __init__(self, url: RedisUrl, credentials: Credentials, purpose: str, *, over_tls: bool) -> None:
        self._kind, tls = transport(url, over_tls=over_tls)
        self._settings = {**settings(credentials, purpose), **tls}

    async def __call__(self, address: Address, *command: str) -> Any:  # noqa: ANN401 - any reply
        connection = self._kind(locator=FixedLocator(address), **self._settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call] # redis-py has no annotation here
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
