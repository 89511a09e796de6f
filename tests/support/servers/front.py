"""TLS in front of a server that has none, with a certificate that signs itself.

The certificate was made with: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500
-keyout tls.key -out tls.crt -subj "/CN=invites tests" -addext "subjectAltName=DNS:localhost,IP:127.0.0.1"
Those of OTHER (for the host other.invalid) and EXPIRED (in 2020) sign themselves too (`openssl ca -selfsign`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.support.servers.node import HOST, free_port

if TYPE_CHECKING:
    from types import TracebackType

CERTIFICATE: Final = Path(__file__).with_name("tls.crt")
OTHER: Final = Path(__file__).with_name("tls-other.crt")
EXPIRED: Final = Path(__file__).with_name("tls-expired.crt")
_CHUNK: Final = 65_536
_HANDSHAKE: Final = b"\x16"  # the first bytes of TLS, and of no command


class TlsFront:
    """Listens on a port of its own and forwards to the port `target`; runs in a thread of its own.

    Connections without TLS get through as well: those of the servers among themselves. `plain` counts them. A `strict`
    front answers only TLS. `wanted` is the certificate that clients must have.
    """

    def __init__(
        self,
        target: int = 0,
        *,
        certificate: Path = CERTIFICATE,
        strict: bool = False,
        wanted: Path | None = None,
        newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ) -> None:
        self.port = free_port()
        self.target = target
        self.plain = 0
        self._newest = newest
        self.renew(certificate, wanted)
        self._strict = strict
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._end: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def renew(self, certificate: Path, wanted: Path | None) -> None:
        """Use other certificates for the connections that come."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key_of(certificate))
        context.maximum_version = self._newest
        if wanted is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(wanted)
        self._context = context

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._end is not None
        loop, end = self._end
        loop.call_soon_threadsafe(end.set)
        self._thread.join()

    async def _serve(self) -> None:
        end = asyncio.Event()
        self._end = asyncio.get_running_loop(), end
        with socket.create_server((HOST, self.port)) as listener:
            listener.setblocking(False)
            accepting = asyncio.create_task(self._accept(listener))
            self._listening.set()
            await end.wait()
            accepting.cancel()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        lines = set()
        while True:
            accepted, _ = await loop.sock_accept(listener)
            line = asyncio.create_task(self._forward(accepted))
            lines.add(line)
            line.add_done_callback(lines.discard)

    async def _forward(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(accepted, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(accepted)
        secure = self._strict or accepted.recv(1, socket.MSG_PEEK) == _HANDSHAKE
        self.plain += not secure
        reader = asyncio.StreamReader()
        with contextlib.suppress(OSError):
            transport, protocol = await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader), accepted, ssl=self._context if secure else None
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            there_reader, there_writer = await asyncio.open_connection(HOST, self.target)
            pumps = [
                asyncio.create_task(_pump(*ends)) for ends in ((reader, there_writer), (there_reader, writer))
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                for one in (writer, there_writer):
                    one.transport.abort()


def key_of(certificate: Path) -> Path:
    """The file of a certificate's key."""
    return certificate.with_suffix(".key")


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
