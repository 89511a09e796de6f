"""`python -m tests.browser.screenshot FILE`: makes the picture of the page for the README."""

from __future__ import annotations

import sys

from tests.browser.phones import browser, demo, opened, program


def main(file: str) -> None:
    """Play until three devices ring while others talk, and take the picture."""
    if program() is None:
        sys.exit("Chromium is missing: `make browser` installs it.")
    with (
        demo() as address,
        browser() as running,
        opened(running, address, color_scheme="light", reduced_motion="reduce") as phones,
    ):
        phones.call("carol-browser", "+34600123456")
        phones.are("ringing", "telephone")
        phones.press("telephone", "accept")
        phones.are("talking", "telephone", "carol-browser")
        phones.call("anna-browser", "bob")
        phones.are("ringing", "bob-browser", "bob-phone", "bob-desk")
        phones.entry("event", "ringing", "Bob's phone")
        phones.page.screenshot(path=file)
        phones.hang_up_all()


if __name__ == "__main__":
    main(sys.argv[1])
