"""`python -m tests.browser.screenshot PHONES CONSOLE`: makes the pictures of the pages for the documentation."""

from __future__ import annotations

import json
import random
import sys
import time
from typing import TYPE_CHECKING

from invites.store.minutes import ANSWER_S, SHOWN
from tests.browser import console
from tests.browser.phones import browser, demo, opened, program

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def phones(running: Browser, file: str) -> None:
    """Play until three devices ring while others talk, and take the picture."""
    with (
        demo() as address,
        opened(running, address, color_scheme="light", reduced_motion="reduce") as page,
    ):
        page.call("carol-browser", "+34600123456")
        page.are("ringing", "telephone")
        page.press("telephone", "accept")
        page.are("talking", "telephone", "carol-browser")
        page.call("anna-browser", "bob")
        page.are("ringing", "bob-browser", "bob-phone", "bob-desk")
        page.entry("event", "ringing", "Bob's phone")
        page.page.screenshot(path=file)
        page.hang_up_all()


def operators(running: Browser, file: str) -> None:
    """Play calls after an hour of a second worker, and take the picture of one call's story."""
    with console.site() as site:
        _an_hour_of_a_second_worker(site)
        console.play(site, pause_s=0.3)
        with console.opened(
            running, site.console, color_scheme="light", viewport={"width": 1440, "height": 1252}
        ) as page:
            page.load("#/call/anna/call-2/bob")
            page.unlock()
            page.has("#story h2", "anna → bob")
            page.page.get_by_label("Ended recently").check()
            page.has("#calls-list tbody tr", "erin → dave")
            page.has("#minutes .of-answered[data-key]")
            page.has("#dead li")
            page.page.evaluate("document.activeElement.blur()")
            page.page.mouse.move(0, 0)
            page.page.screenshot(path=file)


def _an_hour_of_a_second_worker(site: console.Site) -> None:
    drawn = random.Random(4)
    running = int(time.time()) // 60
    for minute in range(running - SHOWN + 1, running):
        answered = [0] * (len(ANSWER_S) + 1)
        for _ in range(drawn.randint(4, 14)):
            answered[min(len(ANSWER_S), int(drawn.gammavariate(3, 0.9)))] += 1
        ended = {
            "busy": drawn.randint(0, 2),
            "timeout": drawn.randint(0, 4),
            "cancelled": drawn.randint(0, 3),
        }
        counts = {"ended": {"accepted": sum(answered), **ended}, "answered": answered}
        site.client.hset(site.keys.minute(minute), "worker-2", json.dumps(counts))


def main(phones_file: str, console_file: str) -> None:
    """Take both pictures."""
    if program() is None:
        sys.exit("Chromium is missing: `make browser` installs it.")
    with browser() as running:
        phones(running, phones_file)
        operators(running, console_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
