"""Renders the demo as a ladder: one column for each device, one row for each event and its notifications.

Narrow terminals get sentences. Without a terminal, or with NO_COLOR, the output is plain text.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

_LABEL_WIDTH = 15
_MS_WIDTH = 6
_COLUMN_WIDTH = 14
_INDENT = "  "
_PACE_S = 0.2  # slow enough to follow, fast enough for fourteen calls in some 17 s
_PICTURE_FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_ASCII = {"▸": ">", "·": "-", "─": "-", "✓": "ok", "✗": "failed:", "…": "..."}


@dataclass(frozen=True, slots=True)
class Cell:
    """What one device does (`acts`) or receives in a row."""

    text: str
    style: str = ""
    acts: bool = False


class Renderer:
    """Prints the demo. `pace_s` is the pause after each row; by default only a terminal gets one."""

    def __init__(
        self, columns: Sequence[str], console: Console | None = None, pace_s: float | None = None
    ) -> None:
        self.picture = ""
        self._console = console or _console()
        self._columns = columns
        self._shown = columns
        self._pace_s = pace_s if pace_s is not None else (_PACE_S if self._console.file.isatty() else 0.0)
        self._ladder_width = len(_INDENT) + _LABEL_WIDTH + _COLUMN_WIDTH * len(columns) + _MS_WIDTH
        self._ascii = self._console.options.ascii_only

    @property
    def _wide(self) -> bool:
        return self._console.width >= self._ladder_width

    def record(self) -> None:
        """Record the output for a picture. From now on it is as wide as the ladder, also on other terminals."""
        self._console.width = self._ladder_width + len(_INDENT)
        self._console.record = True

    def take_picture(self) -> None:
        """End the recording, if there is one, and make `picture`: an SVG that needs no other file."""
        if self._console.record:
            self._console.record = False
            svg = self._console.export_svg(title="invites demo", unique_id="demo", font_aspect_ratio=0.6)
            fonts_of_the_web = re.compile(r"\s*@font-face \{[^}]*\}")
            self.picture = fonts_of_the_web.sub("", svg).replace("Fira Code, monospace", _PICTURE_FONTS)

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line of prose, wrapped at the terminal's width."""
        for part in textwrap.wrap(text, self._console.width - len(_INDENT), break_on_hyphens=False) or [""]:
            self._print(Text(_INDENT + part if part else "", style=style))

    async def scene(self, number: int, title: str, columns: Sequence[str] | None = None) -> None:
        """Begin a scene; it may have its own `columns`, but not more than the demo has."""
        self._shown = self._columns if columns is None else columns
        width = min(self._console.width, self._ladder_width)
        heading = Text(f"{_INDENT}{number} · {title} ", style="bold")
        self.line()
        self._print(heading + Text("─" * max(0, width - len(heading)), style="dim"))
        if self._wide:
            names = "".join(f"{name:<{_COLUMN_WIDTH}}" for name in self._shown)
            names = f"{names:<{_COLUMN_WIDTH * len(self._columns)}}"
            self._print(Text(f"{_INDENT}{'':<{_LABEL_WIDTH}}{names}{'ms':>{_MS_WIDTH}}", style="dim"))
        await asyncio.sleep(self._pace_s)

    async def row(self, event: str, cells: Mapping[str, Cell], ms: float | None) -> None:
        """Print one event: what each device does or receives, and the ms until the last notification was read."""
        if self._wide:
            self._print(self._ladder_row(event, cells, ms))
        else:
            self._print(self._sentence(event, cells, ms))
        await asyncio.sleep(self._pace_s)

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show on a terminal that the demo waits."""
        if self._console.record or not self._console.is_terminal:
            yield
            return
        with self._console.status(self._plain(f"{text} …"), spinner="line" if self._ascii else "dots"):
            yield

    def _ladder_row(self, event: str, cells: Mapping[str, Cell], ms: float | None) -> Text:
        row = Text(f"{_INDENT}{event:<{_LABEL_WIDTH}}")
        for name in self._shown:
            cell = cells.get(name, Cell(""))
            text = ("▸ " if cell.acts else "") + cell.text
            row.append(f"{text:<{_COLUMN_WIDTH}}", style=_style(cell))
        row.append(" " * _COLUMN_WIDTH * (len(self._columns) - len(self._shown)))
        row.append(f"{'' if ms is None else f'{ms:.1f}':>{_MS_WIDTH}}", style="cyan")
        row.rstrip()
        return row

    def _sentence(self, event: str, cells: Mapping[str, Cell], ms: float | None) -> Text:
        row = Text(f"{_INDENT}{event}", style="bold")
        if ms is not None:
            row.append(f"  {ms:.1f} ms", style="not bold cyan")
        for cell, names in self._alike(cells):
            row.append(
                f"\n{_INDENT * 2}{'▸ ' if cell.acts else ''}{', '.join(names)}: ", style="not bold dim"
            )
            row.append(cell.text, style=f"not bold {cell.style}")
        return row

    def _alike(self, cells: Mapping[str, Cell]) -> Iterator[tuple[Cell, list[str]]]:
        """Each different cell, with the names of its devices."""
        names = [name for name in self._shown if name in cells]
        for cell in dict.fromkeys(cells[name] for name in names):
            yield cell, [name for name in names if cells[name] == cell]

    def _print(self, text: Text) -> None:
        if self._ascii:
            text.plain = self._plain(text.plain)
        self._console.print(text, highlight=False)

    def _plain(self, text: str) -> str:
        if self._ascii:
            for glyph, replacement in _ASCII.items():
                text = text.replace(glyph, replacement)
        return text


def _style(cell: Cell) -> str:
    return f"bold {cell.style}" if cell.acts else cell.style


def _console() -> Console:
    if os.environ.get("NO_COLOR"):
        # Rich itself would still print bold and dim.
        return Console(color_system=None, force_terminal=False)
    return Console()
