"""Calls the functions of `lua/` on one server. Nothing else in the project sends FCALL or EVALSHA."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, Protocol

from redis.exceptions import NoPermissionError, NoScriptError, OutOfMemoryError, ResponseError

from invites.store.scripts import LIBRARIES, Library, Script, Scripts

_UNKNOWN: Final = "Function not found"
_THERE: Final = "already exists"

_log = logging.getLogger(__name__)


class Client(Protocol):
    """Executes commands: a client of redis-py, or one that keeps their order (`invites.connection.ordered`)."""

    async def execute_command(self, *command: Any) -> Any:  # noqa: ANN401 - any command and reply
        """Execute one command. Raises redis exceptions."""


class Functions:
    """Calls functions by name, and loads the library when the server does not have it.

    Falls back to `EVALSHA` when the ACL forbids FCALL or FUNCTION LOAD (logged once), while a server that lacks the
    library is out of memory, and when the library is deleted as soon as it is loaded.
    """

    def __init__(self, client: Client, scripts: Scripts) -> None:
        """Prepare. Nothing is sent yet."""
        self._client = client
        self._library = scripts.library
        self._loading = asyncio.Lock()

    async def call(self, function: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401
        """Call one function. Raises redis exceptions. A call that may have run is not sent again."""
        rest = (len(keys), *keys, *arguments)
        if self._loading.locked():
            async with self._loading:
                pass  # the call that loads the library comes first
        if (library := self._library) is not None:
            try:
                return await self._client.execute_command("FCALL", function.name, *rest)
            except NoPermissionError as error:
                self._run_as_scripts(error)
            except ResponseError as error:
                if _UNKNOWN not in str(error):
                    raise
                async with self._loading:
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
