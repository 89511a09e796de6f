"""Calls the functions of `lua/` on one server. Nothing else in the project sends FCALL or EVALSHA."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from redis.exceptions import NoPermissionError, NoScriptError, OutOfMemoryError, ResponseError

from invites.store.scripts import LIBRARIES, Library, Script, Scripts

_UNKNOWN: Final = "Function not found"
_THERE: Final = "already exists"

_log = logging.getLogger(__name__)


class Client(Protocol):
    """Executes commands: a client of redis-py, or one that keeps their order (`invites.connection.ordered`)."""

    async def execute_command(self, *command: Any) -> Any:  # noqa: ANN401 - any command and reply
        """Execute one command. Raises redis exceptions."""


class _Loading:
    """The calls over one connection that have found no library. They load it one after the other, in order."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._count = 0
        self._over = asyncio.Event()
        self._over.set()

    async def over(self) -> None:
        """Wait until none of them is left: they come first."""
        while self._count:
            await self._over.wait()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Load, and call again, in turn."""
        self._count += 1
        self._over.clear()
        try:
            async with self._turn:
                yield
        finally:
            self._count -= 1
            if not self._count:
                self._over.set()


_LOADING: Final[WeakKeyDictionary[Client, _Loading]] = WeakKeyDictionary()
"""One for each client, because the shards that share it load the library once."""


class Functions:
    """Calls functions by name, and loads the library when the server does not have it.

    Falls back to `EVALSHA` when the ACL forbids FCALL or FUNCTION LOAD (logged once), while a server that lacks the
    library is out of memory, and when the library is deleted as soon as it is loaded.

    Over a client that keeps their order, calls run in their order. Only when the library was gone, and another process
    loads it between two calls under way, the second one overtakes.
    """

    def __init__(self, client: Client, scripts: Scripts) -> None:
        """Prepare. Nothing is sent yet."""
        self._client = client
        self._library = scripts.library
        self._loading = _LOADING.setdefault(client, _Loading())

    async def call(self, function: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401
        """Call one function. Raises redis exceptions. A call that may have run is not sent again."""
        rest = (len(keys), *keys, *arguments)
        await self._loading.over()
        if (library := self._library) is not None:
            try:
                return await self._client.execute_command("FCALL", function.name, *rest)
            except NoPermissionError as error:
                self._run_as_scripts(error)
            except ResponseError as error:
                if _UNKNOWN not in str(error):
                    raise
                async with self._loading.turn():
                    return await self._load_and_call(library, function, rest)
        return await self._run_script(function, rest)

    async def _load_and_call(self, library: Library, function: Script, rest: Sequence[Any]) -> Any:  # noqa: ANN401
        if await self._load(library):
            try:
                return await self._client.execute_command("FCALL", function.name, *rest)
            except ResponseError as error:
                if _UNKNOWN not in str(error):  # otherwise it was deleted at once
                    raise
        return await self._run_script(function, rest)

    async def _run_script(self, function: Script, rest: Sequence[Any]) -> Any:  # noqa: ANN401
        try:
            return await self._client.execute_command("EVALSHA", function.sha, *rest)
        except NoScriptError:
            # EVAL runs the script and caches it, on the node that lacks it.
            return await self._client.execute_command("EVAL", function.text, *rest)

    async def drop_other_releases(self) -> list[str]:
        """Delete the libraries of other releases and return their names.

        A running worker of another release loads its library again.
        """
        if self._library is None:
            return []
        found = await self._client.execute_command("FUNCTION LIST", "LIBRARYNAME", f"{LIBRARIES}*")
        names = [_field(library, b"library_name").decode() for library in found]
        others = [name for name in names if name != self._library.name]
        for name in others:
            await self._client.execute_command("FUNCTION DELETE", name)
        return others

    async def _load(self, library: Library) -> bool:
        """Load the library. False when the server does not take it."""
        try:
            await self._client.execute_command("FUNCTION LOAD", library.text)
        except OutOfMemoryError:
            return False
        except NoPermissionError as error:
            self._run_as_scripts(error)
            return False
        except ResponseError as error:
            if _THERE not in str(error):
                raise
        return True

    def _run_as_scripts(self, error: NoPermissionError) -> None:
        if self._library is None:
            return
        self._library = None
        _log.warning(
            "Commits run as scripts, which costs the server more time: %s. Allow the worker FCALL and FUNCTION LOAD, "
            "and restart it.",
            error,
        )


def _field(flat: Any, name: bytes) -> Any:  # noqa: ANN401
    """A field of a reply that is a map, or a flat list of names and values."""
    return flat[name] if isinstance(flat, dict) else flat[flat.index(name) + 1]
