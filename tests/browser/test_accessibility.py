"""The page for people who use a keyboard, a screen reader or a small screen, or want no motion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.waiting import wait_until_sync

if TYPE_CHECKING:
    from types import ModuleType

    from playwright.sync_api import Browser

    from tests.browser.phones import Phones

_NAMELESS = re.compile(r"^\s*- (button|link|region|img|heading)( \[[^\]]*\])*:?$", re.MULTILINE)


def test_every_control_has_a_name(phones: Phones) -> None:
    phones.ring("anna-browser", "dave", "dave-phone")
    phones.press("carol-browser", "cut")
    phones.page.get_by_role("button", name="Keys in Redis").click()
    phones.has('.key:has-text(":invite:")')
    tree = phones.page.locator("body").aria_snapshot()
    assert 'button "Answer, Dave\'s phone"' in tree
    assert _NAMELESS.findall(tree) == []
    phones.press("carol-browser", "back")


def test_what_rings_is_said(phones: Phones) -> None:
    phones.ring("anna-browser", "support", "carol-browser", "dave-phone")
    said = phones.has("#announcer[aria-live=assertive]")
    wait_until_sync(lambda: "Anna is calling" in said.inner_text(), "it is said")
    assert "Dave's phone" in said.inner_text()


def test_a_call_is_placed_and_answered_with_the_keyboard(phones: Phones) -> None:
    keyboard = phones.page.keyboard
    phones.button("anna-desk", "dial-dave").focus()
    keyboard.press("Enter")
    phones.are("ringing", "dave-phone")
    phones.has('[data-device="anna-desk"] .screen:focus')
    phones.button("dave-phone", "decline").focus()
    keyboard.press("Tab")
    keyboard.press("Enter")
    phones.are("talking", "dave-phone", "anna-desk")
    phones.has('[data-device="dave-phone"] .screen:focus')
    keyboard.press("h")
    phones.are("idle", "dave-phone", "anna-desk")


def test_a_letter_answers_the_device_that_has_the_focus(phones: Phones) -> None:
    phones.ring("anna-desk", "support", "dave-phone", "carol-browser")
    phones.button("dave-phone", "silence").focus()
    phones.page.keyboard.press("a")
    phones.are("talking", "dave-phone", "anna-desk")
    phones.are("idle", "carol-browser")


def test_a_small_screen_shows_all_without_scrolling_sideways(
    real: ModuleType, browser: Browser, address: str
) -> None:
    for path in ("", "device?user=bob&device=desk"):
        with real.opened(browser, address + path, screen={"width": 360, "height": 740}) as phones:
            phones.page.set_viewport_size({"width": 360, "height": 740})
            box = phones.has("html").bounding_box()
            assert box is not None
            assert phones.page.locator("body").evaluate("one => one.scrollWidth") <= 360


def test_nothing_moves_for_people_who_want_that(real: ModuleType, browser: Browser, address: str) -> None:
    with real.opened(browser, address, reduced_motion="reduce") as phones:
        phones.ring("anna-browser", "dave", "dave-phone")
        real.expect(phones.has('[data-device="dave-phone"] .yes .icon')).to_have_css("animation-name", "none")
        phones.hang_up_all()
        phones.are("idle", "dave-phone")
