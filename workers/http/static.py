"""The files of a page, as they are in the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

_TYPES: Final = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


class StaticFiles:
    """The files in some folders, by their name alone. They are read once, so no request reaches the disk."""

    def __init__(self, *folders: Path) -> None:
        self._files = {
            file.name: (file.read_bytes(), _TYPES[file.suffix])
            for folder in folders
            for file in folder.iterdir()
            if file.suffix in _TYPES
        }

    def answer(self, name: str) -> web.Response | None:
        """The file with this name; None if there is none."""
        if name not in self._files:
            return None
        body, kind = self._files[name]
        return web.Response(body=body, content_type=kind, charset="utf-8")
