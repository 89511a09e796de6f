"""The page with the phones, in a real Chromium."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import expect, sync_playwright

from tests.support.waiting import wait_until_sync
from workers.lab.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

_ROOT: Final = Path(__file__).resolve().parents[2]
_PRINTED: Final = re.compile(r"Phones ring at (http://\S+)")
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")

expect.set_options(timeout=15_000)


def program() -> str | None:
    """The path of Chromium, if it is installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def demo() -> Iterator[str]:
    """`invites demo --page` in a process of its own; yields its address."""
    command = [sys.executable, "-m", "workers", "demo", "--page", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with ChildProcess(command, environment=environment) as process:
        wait_until_sync(
            lambda: bool(_PRINTED.search(process.output())) or not process.running(), "the page is there"
        )
        printed = _PRINTED.search(process.output())
        assert printed, process.output()
        yield printed[1]
        process.terminate()


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        running = playwright.chromium.launch(executable_path=program(), args=arguments)
        try:
            yield running
        finally:
            running.close()


@contextlib.contextmanager
def opened(running: Browser, address: str, **options: Any) -> Iterator[Phones]:
    """The page in a browser of its own, which does not see what others have stored."""
    context = running.new_context(viewport={"width": 1440, "height": 900}, **options)
    try:
        phones = Phones(context.new_page(), address)
        phones.load()
        yield phones
    finally:
        context.close()


class Phones:
    """The devices on a page. Waits for what it expects."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def load(self) -> None:
        """Load the page, and wait until each device is connected or asleep."""
        self.page.goto(self.address)
        self.has("html[data-ready]")
        self.has(".device:not([data-state=idle]):not([data-state=asleep])", 0)

    def another(self, path: str) -> Phones:
        """A further tab."""
        return Phones(self.page.context.new_page(), self.address + path)

    def has(self, selector: str, count: int = 1) -> Locator:
        """Wait until there are `count` of these."""
        found = self.page.locator(selector)
        expect(found).to_have_count(count)
        return found

    def __getitem__(self, device: str) -> Locator:
        """The card of a device."""
        return self.page.locator(f'[data-device="{device}"]')

    def button(self, device: str, does: str) -> Locator:
        """A button of a device."""
        return self[device].locator(f'[data-does="{does}"]')

    def press(self, device: str, does: str) -> None:
        """Press a button of a device."""
        self.button(device, does).click()

    def call(self, device: str, to: str) -> None:
        """Call somebody from a device."""
        self.press(device, f"dial-{to}")

    def ring(self, caller: str, to: str, *devices: str) -> None:
        """Call somebody from a device, and wait until these devices ring."""
        self.call(caller, to)
        self.are("ringing", *devices)

    def accept(self, device: str, caller: str) -> None:
        """Accept on a device, and wait until it talks with the caller."""
        self.press(device, "accept")
        self.are("talking", device, caller)

    def are(self, state: str, *devices: str) -> None:
        """Wait until the devices are in this state."""
        for device in devices:
            expect(self[device]).to_have_attribute("data-state", state)

    def hears(self, device: str, note: str) -> None:
        """Wait until a device shows how its call has ended."""
        expect(self[device].locator(".note")).to_have_text(note)

    def entry(self, kind: str, kind_of: str, text: str = "") -> str:
        """Wait for an entry of the timeline, and return the last one."""
        found = self.page.locator(f".entry-{kind}[data-type={kind_of}]", has_text=text)
        expect(found.last).to_be_visible()
        shown: str = found.last.inner_text()
        return shown

    def hang_up_all(self) -> None:
        """End all calls."""
        buttons = self.page.locator('[data-does="hangup"]')
        while buttons.count():
            with contextlib.suppress(Exception):  # the other side has hung up
                buttons.first.click(timeout=1_000)

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)
