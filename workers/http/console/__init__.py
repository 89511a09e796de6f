"""The console: a page for operators, and its content security policy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from workers.http.static import StaticFiles

LOOK: Final = Path(__file__).parent.parent / "look"
"""The folder with the files that the project's pages share."""

_HERE: Final = Path(__file__).parent

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


def console_files() -> StaticFiles:
    """The files of the console."""
    return StaticFiles(_HERE, LOOK)
