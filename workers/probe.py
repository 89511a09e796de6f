"""A call to itself through a running installation: how long until a device rings, and until another one stops."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from redis.exceptions import RedisError

from invites.client import (
    Accept,
    GetInvitations,
    Invite,
    Notifications,
    Peer,
    Publisher,
    Registered,
    Registry,
    StopInvite,
    Unregistered,
)
from invites.keys import PROBE_GROUPS, shard_of
from invites.notifications import Answer, Invitation, InvitationCancel, InviteRejected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from invites.notifications import Payload

    _Told = AsyncIterator[tuple[Payload, tuple[str, ...]]]

_LEFT_MS: Final = 60_000
"""When the registrations and the call of a killed probe end (ms)."""
_END_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_UNREACHABLE: Final = 480
_DONE: Final = 200

_log = logging.getLogger(__name__)


class ProbeError(Exception):
    """The call cannot be measured; the message is one sentence."""


class Measured(Struct, rename="camel", frozen=True):
    """The result of probing one shard. Times in ms; None for one that could not be measured, with the `error`.

    `ring_ms` is the time from the publishing of an invite to the reading of its invitation, `stop_ms` that from an
    accept to the cancel for the other device.
    """

    shard: int
    ring_ms: float | None
    stop_ms: float | None
    error: str | None

    def is_within(self, slo_ms: int) -> bool:
        """Whether both times are measured, and neither exceeds the objective."""
        return all(each is not None and each <= slo_ms for each in (self.ring_ms, self.stop_ms))


class Place(Struct, frozen=True):
    """Where to call: one shard of an installation. `user` is the prefix of the ids of the probe's users."""

    url: str
    prefix: str
    shard: int
    shards: int
    user: str

    def draw(self, name: str) -> str:
        """A new id that lies in the shard."""
        while shard_of(drawn := f"{name}-{secrets.token_hex(6)}", self.shards) != self.shard:
            pass
        return drawn


async def measure(place: Place, within_s: float) -> Measured:
    """Call once, and leave nothing behind. Raises BadEvent if `user` is no id."""
    probe = Probe(place)
    error = None
    try:
        async with asyncio.timeout(within_s):
            await probe.run()
    except ProbeError as found:
        error = str(found)
    except TimeoutError:
        error = f"{probe.awaits} within {within_s:g} s"
    except (RedisError, OSError) as found:
        error = f"the server cannot be used: {found}"
    return Measured(place.shard, probe.ring_ms, probe.stop_ms, error)


class Probe:
    """One call. `awaits` names what has not come yet.

    All names are random, so probes do not disturb each other: the caller, the callee, the room and the devices are its
    own. They lie in the probe's shard, so no other shard takes part in the call.
    """

    def __init__(self, place: Place) -> None:
        self.ring_ms: float | None = None
        self.stop_ms: float | None = None
        self.awaits = "the notifications could not be read"
        self._place = place
        self._callee = place.draw(place.user)
        self._caller = Peer(id=place.draw("probe"), user=place.draw(place.user))
        self._room = place.draw("probe")
        self._devices = [
            Peer(id=place.draw("probe"), user=self._callee, device=f"probe-{number}") for number in range(2)
        ]
        self._rings: str | None = None

    async def run(self) -> None:
        """Register two devices, let them ring, accept with one. Raises ProbeError, and redis exceptions."""
        place = self._place
        async with (
            Publisher(place.url, shards=place.shards, prefix=place.prefix) as publisher,
            Notifications(
                place.url, shards=place.shards, prefix=place.prefix, only=place.shard, temporary=PROBE_GROUPS
            ) as notifications,
        ):
            self._publish = publisher.publish
            publisher.checks_shards = False  # `invites probe` compares them once
            told = _told(notifications)
            try:
                await self._register(told)
                await self._stop(told, await self._ring(told))
            finally:
                await self._leave()

    async def _register(self, told: _Told) -> None:
        self.awaits = "no worker has answered"
        for device in self._devices:
            await self._publish(
                Registered(
                    registry=Registry(id=device.id, user=device.user, device=device.device, expires=_LEFT_MS)
                )
            )
        # The answer comes when the registrations are settled, too, or nearly so.
        await self._publish(GetInvitations(peer=self._devices[0], transaction="probe"))
        async for payload, peers in told:
            if isinstance(payload, Answer) and self._devices[0].id in peers:
                return

    async def _ring(self, told: _Told) -> str:
        """Invite until both devices ring. An invite that overtakes both registrations rings nobody."""
        pause_s = _FIRST_PAUSE_S
        while not await self._invite(told, call := secrets.token_hex(6)):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return call

    async def _invite(self, told: _Told, call: str) -> bool:
        self.awaits = "no invitation"
        self._rings = call
        silent = {device.id for device in self._devices}
        began = time.perf_counter()
        await self._publish(
            Invite(
                peer=self._caller,
                to=self._callee,
                invite_id=call,
                room=self._room,
                expires=_LEFT_MS,
                probe=True,
            )
        )
        async for payload, peers in told:
            if isinstance(payload, Invitation) and payload.invite_id == call:
                if self.ring_ms is None:
                    self.ring_ms = _ms_since(began)
                silent.difference_update(peers)
                if not silent:
                    return True
            elif isinstance(payload, InviteRejected) and payload.invite_id == call:
                self._rings = None
                if payload.code != _UNREACHABLE:
                    raise ProbeError(f"the invite was rejected: {payload.code} {payload.reason}")
                return False
        return False

    async def _stop(self, told: _Told, call: str) -> None:
        self.awaits = "no cancel for the other device"
        winner, other = self._devices
        began = time.perf_counter()
        await self._publish(Accept(peer=winner, from_=self._caller.user, invite_id=call, transaction="probe"))
        async for payload, peers in told:
            if isinstance(payload, InvitationCancel) and payload.invite_id == call and other.id in peers:
                if payload.code != _DONE:
                    raise ProbeError(f"the other device was cancelled: {payload.code} {payload.reason}")
                self.stop_ms = _ms_since(began)
                self._rings = None
                return
            if isinstance(payload, Answer) and payload.request == "accept" and payload.code != _DONE:
                raise ProbeError(f"the accept was answered {payload.code} {payload.reason}")

    async def _leave(self) -> None:
        """Stop the call if it rings, and unregister the devices. Whatever cannot be removed expires by itself."""
        try:
            async with asyncio.timeout(_END_S):
                if self._rings is not None:
                    await self._publish(
                        StopInvite(invite_id=self._rings, callee=self._callee, from_=self._caller.user)
                    )
                for device in self._devices:
                    await self._publish(Unregistered(peer=device))
        except (RedisError, OSError) as error:  # a time-out is an OSError, too
            _log.warning("The probe's devices could not be unregistered and will lapse: %s", error)


async def _told(notifications: Notifications) -> _Told:
    """Payload and peers of one notification after the other."""
    async for one in notifications:
        notifications.done(one)
        if one.payload is not None:
            yield one.payload, one.peers


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
