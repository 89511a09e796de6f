"""One device that is connected: its messages in, its notifications out."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from aiohttp import WSMsgType
from redis.exceptions import RedisError

from invites.client.publisher import WITHIN_S
from invites.events.protocol import Disconnected, GetInvitations, Peer, Registered, Registry, Unregistered
from invites.frames import LOGIN, LOGOUT, Refusal, Welcome
from invites.logs.rarely import Rarely
from workers.gateway.allowance import Allowance
from workers.gateway.login import LoginError
from workers.gateway.messages import RESUMED, BadMessage, Message, decode_message, event_of, login_of

if TYPE_CHECKING:
    from aiohttp import web

    from invites.client import Publisher
    from invites.config.sections import Gateway
    from invites.events.protocol import Event
    from invites.notifications import Answer
    from workers.gateway.login import Identity, Login
    from workers.gateway.metrics import GatewayMetrics

_MOST_WAITING: Final = 256  # frames for a device, which would ring late, and as many messages of it
_MOST_WAITING_BYTES: Final = 1_048_576
_FLUSH_S: Final = 1.0
_CLOSE_S: Final = 2.0
_AGAIN_S: Final = 1.0
_PONGS: Final = 50  # a second; the gateway asks for far fewer

_UNREACHABLE: Final = "the service cannot be reached: send it again later"

_log = logging.getLogger(__name__)
_warnings = Rarely(_log)  # in an outage they come from all devices


class Close(enum.IntEnum):
    """Why the gateway closes a connection (RFC 6455, 7.4; from 4000 on our own)."""

    NORMAL = 1000
    RESTART = 1012
    LOGIN = 4401
    USER = 4403
    REPLACED = 4409
    TOO_SLOW = 4413
    TOO_MANY = 4429


class _Incoming(NamedTuple):
    """A message that waits to be published by `until` (the loop's time), and its length."""

    message: Message
    event: Event
    size: int
    until: float


class Connection:
    """A device's connection, once it has logged in. `peer` is its peer id for others.

    Its messages are read as they come, so that pings are answered and its end is noticed while the server is away.

    A peer that is `resumed` may still be connected at another gateway. So the gateway sends a request of the peer. The
    answer goes to all connections of the peer, wherever they are, and in the order of the requests.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        identity: Identity,
        peer: Peer,
        publisher: Publisher,
        gateway: Gateway,
        metrics: GatewayMetrics,
        login: Login,
        *,
        resumed: bool = False,
    ) -> None:
        self.peer = peer
        self.session = secrets.token_hex(8)
        self.ended: tuple[Close, str] | None = None
        self._socket = socket
        self._identity = identity
        self._publisher = publisher
        self._metrics = metrics
        self._login = login
        self._renew_s = gateway.expires / 2000
        self._allowance = Allowance(gateway.messages_per_second)
        self._pongs = Allowance(_PONGS)
        self._registration = Registered(
            registry=Registry(
                id=peer.id, user=peer.user, device=peer.device, session=self.session, expires=gateway.expires
            )
        )
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._incoming: list[_Incoming] = []
        self._incoming_bytes = 0
        self._publishing: list[asyncio.Task[None]] = []  # the task that publishes them, if there are any
        self._registered = asyncio.Event()
        self._end_changed = asyncio.Event()
        self._heard = asyncio.Event()
        self._again = asyncio.Event()
        self._signed_off = False
        self._is_known = not resumed  # later sessions of the peer replace this one
        self._asks = resumed
        self._contenders: list[str] = []

    def send(self, frame: bytes) -> None:
        """Send a frame, after those that wait. A device that does not read is disconnected."""
        waiting_bytes = self._waiting_bytes + len(frame)
        if self._waiting.qsize() >= _MOST_WAITING or waiting_bytes > _MOST_WAITING_BYTES:
            self.close(Close.TOO_SLOW, "the device reads too slowly")
        else:
            self._waiting_bytes = waiting_bytes
            self._waiting.put_nowait(frame)

    def welcome(self) -> None:
        """Tell the device that it is logged in."""
        expires = self._registration.registry.expires or 0
        payload = Welcome(peer=self.peer.id, user=self.peer.user, device=self.peer.device, expires=expires)
        self.send(frame("welcome", payload))

    def close(self, code: Close, reason: str) -> None:
        """End the connection, once."""
        if self.ended is None:
            self.ended = (code, reason)
            self._waiting.put_nowait(None)
            self._end_changed.set()

    async def run(self) -> None:
        """Serve the device until its connection ends."""
        loops: list[asyncio.Task[Any]] = [
            asyncio.create_task(loop, name=f"connection of {self.peer.id}")
            for loop in (self._write(), self._renew(), self._until_closed(), self._read())
        ]
        try:
            await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            if self._registered.is_set():
                await self._finish(*loops[:3])
        except asyncio.CancelledError:
            self.close(Close.RESTART, "the gateway restarts: connect again")
            raise
        finally:
            loops += self._publishing
            for task in loops:
                task.cancel()
            ended = await asyncio.gather(*loops, return_exceptions=True)
        for one in ended:
            if isinstance(one, Exception) and not isinstance(one, ConnectionError):
                _log.error("The connection of %s has failed.", self.peer.id, exc_info=one)
        code, reason = self.ended or (Close.NORMAL, "")
        # A device that does not read would hold up the close.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._socket.close(code=code, message=reason.encode())

    async def _finish(self, *loops: asyncio.Task[Any]) -> None:
        """Publish what the device has sent, even if it has gone. A connection that the gateway closes ends soon."""
        writing, renewing, closing = loops
        renewing.cancel()
        if self._publishing:
            await asyncio.wait([*self._publishing, closing], return_when=asyncio.FIRST_COMPLETED)
        self.close(Close.NORMAL, "logged out")
        await asyncio.wait([writing, *self._publishing], timeout=_FLUSH_S)

    def register_again(self) -> None:
        """Register again soon: the server has lost its data."""
        self._asks = not self._is_known
        self._again.set()

    def hear_of_session(self, session: str) -> None:
        """The peer has connected with this session, here or at another gateway."""
        if session == self.session:
            self._is_known = True
        elif self._is_known:
            self.close(Close.REPLACED, "the device has connected again")
        else:
            self._contenders.append(session)

    async def sign_off(self) -> None:
        """Tell the workers that the device is gone, unless it continues elsewhere or comes back in a moment."""
        if self.ended is not None and self.ended[0] in {Close.REPLACED, Close.RESTART}:
            return
        gone = Unregistered if self._signed_off else Disconnected
        # This connection's request closes the contenders. Each may have registered last, and then its session counts.
        ended = [self.session] if self._asks else [self.session, *self._contenders]
        try:
            for session in ended:
                await self._publisher.publish(gone(peer=self.peer, session=session))
        except (RedisError, OSError) as error:
            _warnings.warning("The end of %s could not be published, it lapses: %s", self.peer.id, error)

    async def _write(self) -> None:
        """Send the frames. A device that is welcome can be called, so they wait for its registration."""
        await self._registered.wait()
        while (frame := await self._waiting.get()) is not None:
            self._waiting_bytes -= len(frame)
            await self._socket.send_frame(frame, WSMsgType.TEXT)

    async def _until_closed(self) -> None:
        """Wait for `close`. The login ends with its token, also while the server is away."""
        while self.ended is None:
            left_s = self._identity.expires_at - time.time()
            if left_s <= 0:
                self.close(Close.LOGIN, "the token has expired")
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._renew_s, left_s)):
                    await self._end_changed.wait()
            self._end_changed.clear()

    async def _renew(self) -> None:
        """Register, and renew the registration before it lapses."""
        await self._register()
        self._registered.set()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._renew_s):
                    await self._again.wait()
            if not self._again.is_set():
                await self._until_heard()
            self._again.clear()
            await self._register()

    async def _until_heard(self) -> None:
        """Wait until the device replies to a ping. One that has continued elsewhere must not be registered here."""
        self._heard.clear()
        await self._socket.ping()
        await self._heard.wait()

    async def _read(self) -> None:
        async for received in self._socket:
            self._heard.set()
            if received.type is WSMsgType.ERROR:
                return
            is_pong = received.type is WSMsgType.PONG
            if not (self._pongs if is_pong else self._allowance).take():
                self.close(Close.TOO_MANY, "the device sends too many messages")
                return
            if is_pong:
                continue
            if received.type is WSMsgType.PING:
                await self._socket.pong(received.data)
                continue
            if received.type is WSMsgType.TEXT:
                self._take(received.data)
            else:
                self._refuse(None, "a message is text, not binary")
            if self._signed_off:
                return

    def _take(self, text: str) -> None:
        """Do what a message says."""
        message = None
        try:
            message = decode_message(text)
            if message.type == LOGOUT:
                self._signed_off = True
                return
            if message.type == LOGIN:
                self._log_in_again(message)
                return
            event = event_of(message, self.peer)
        except (BadMessage, LoginError) as error:
            self._refuse(message, str(error))
            return
        self._metrics.received(message.type)
        incoming_bytes = self._incoming_bytes + len(text)
        if len(self._incoming) >= _MOST_WAITING or incoming_bytes > _MOST_WAITING_BYTES:
            self._refuse(message, _UNREACHABLE)
        else:
            self._incoming_bytes = incoming_bytes
            until = asyncio.get_running_loop().time() + WITHIN_S
            self._incoming.append(_Incoming(message, event, len(text), until))
            if not self._publishing or self._publishing[0].done():
                self._publishing = [asyncio.create_task(self._publish(), name=f"events of {self.peer.id}")]

    async def _publish(self) -> None:
        """Publish the device's events, one after the other. None overtakes its registration."""
        loop = asyncio.get_running_loop()
        while self._incoming:
            one = self._incoming.pop(0)
            self._incoming_bytes -= one.size
            try:
                async with asyncio.timeout_at(one.until):
                    await self._registered.wait()
                left_s = one.until - loop.time()
                if left_s <= 0:
                    raise TimeoutError("it has waited behind others")
                await self._publisher.publish(one.event, within_s=left_s, traceparent=one.message.trace)
            except (RedisError, OSError) as error:
                _warnings.warning("An event of %s could not be published: %s", self.peer.id, error)
                self._refuse(one.message, _UNREACHABLE)

    def _log_in_again(self, message: Message) -> None:
        """The login ends with the new token. Raises BadMessage and LoginError, and then nothing changes."""
        identity = self._login.identify(login_of(message).token)
        if (identity.user, identity.device) != (self.peer.user, self.peer.device):
            raise LoginError("the token is of another user or device: connect again")
        self._identity = identity
        self._end_changed.set()
        self.welcome()

    async def _register(self) -> None:
        """Register the device, however long the server is unreachable."""
        while True:
            try:
                await self._publisher.publish(self._registration)
                if self._asks:
                    asking = GetInvitations(peer=self.peer, transaction=RESUMED + self.session)
                    await self._publisher.publish(asking)
                    self._asks = False
            except (RedisError, OSError) as error:
                _warnings.warning("The registration of %s could not be published: %s", self.peer.id, error)
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    def _refuse(self, message: Message | None, sentence: str) -> None:
        self._metrics.refused("message")
        if message is None:
            refusal = Refusal(message=sentence)
        else:
            refusal = Refusal(message=sentence, request=message.type[:100], transaction=message.transaction)
        self.send(frame("error", refusal))


def session_of(answer: Answer) -> str | None:
    """The session that the answer makes known; None if the answer is one for a device."""
    said = answer.transaction
    return said.removeprefix(RESUMED) if isinstance(said, str) and said.startswith(RESUMED) else None


def frame(kind: str, payload: object, identity: str | None = None, traceparent: str | None = None) -> bytes:
    """A message to a device: `type`, `payload` and, of a notification, `id` and `traceparent`."""
    named = {} if identity is None else {"id": identity}
    if traceparent is not None:
        named["traceparent"] = traceparent
    return msgspec.json.encode({"type": kind, **named, "payload": payload})
