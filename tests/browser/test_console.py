"""The console of a worker as an operator uses it: by sight, with a keyboard and with a screen reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from playwright.sync_api import Browser

    from tests.browser.console import Console, Site

_NAMELESS = re.compile(
    r"^\s*- (button|link|region|img|heading|textbox|searchbox|radio)( \[[^\]]*\])*:?$", re.MULTILINE
)


@pytest.fixture(scope="module")
def pages(real: ModuleType) -> ModuleType:
    """The module that needs Playwright, once Playwright is known to be installed."""
    assert real is not None
    from tests.browser import console  # noqa: PLC0415 - see above

    return console


@pytest.fixture(scope="module")
def site(pages: ModuleType) -> Iterator[Site]:
    """A worker that has settled calls of all kinds."""
    with pages.site() as found:
        pages.play(found)
        yield found


@pytest.fixture
def console(pages: ModuleType, browser: Browser, site: Site) -> Iterator[Console]:
    """The console of the worker, opened with the token. At the end nothing has failed, and nobody else was asked."""
    with pages.opened(browser, site.console) as found:
        found.load()
        found.unlock()
        found.has("#main:visible")
        found.has("#live", "Live")
        yield found
        own = site.console.removesuffix("console")
        assert found.errors == []
        assert [url for url in found.asked if not url.startswith(own)] == []


def test_what_rings_and_what_has_ended_is_listed(console: Console) -> None:
    console.has("#calls-list tbody tr", "anna → carol")
    console.has("#calls-list tbody tr", "carol → bob")
    console.page.get_by_label("Ended recently").check()
    console.has("#calls-list tbody tr", "Answeredanna → bob200 accepted")
    console.has("#calls-list tbody tr", "Declinederin → dave486 busy")
    console.has("#calls-list tbody tr", "Not reachedfrank → nobody404 not found")


def test_a_search_finds_a_user_a_room_and_a_ref(console: Console) -> None:
    search = console.page.get_by_role("searchbox", name="Search calls")
    for text in ("anna", "room:anna-and-carol"):
        search.fill(text)
        search.press("Enter")
        console.has("#calls-note", f"1 call of “{text}”")
        console.has("#calls-list tbody tr", "anna → carol")
    search.fill("nobody at all")
    search.press("Enter")
    console.has("#calls-list", "No such call.")
    search.fill("erin|call-1|dave")
    search.press("Enter")
    console.has("#story h2", "erin → dave")


def test_a_story_is_told_step_by_step(console: Console) -> None:
    console.page.get_by_label("Ended recently").check()
    console.page.get_by_role("link", name="anna → bob").click()
    story = console.has("#story", "Answered")
    console.has("#story:focus")
    told = [line.inner_text() for line in story.locator(".steps > li").all()]
    assert [re.findall(r"invite|ringing|accept", one)[0] for one in told] == [
        "invite",
        "ringing",
        "ringing",
        "accept",
    ]
    assert re.search(r"\+[\d.]+ m?s", told[-1])
    assert "invitationCancel 200 to bob-browser, bob-desk" in told[-1].replace("  ", " ")
    console.has("#story .candidates li", re.compile(r"^phone.*accepted 200", re.DOTALL))
    console.has("#story .readers li", "gateway-1 has read and acknowledged all")
    console.has("#story .readers li", "gateway-2 has not read the notifications of 3 steps")
    console.page.reload()
    console.has("#story h2", "anna → bob")
    console.page.get_by_role("link", name="Close this call").press("Enter")
    console.has("#story", "Choose a call")


def test_what_happens_is_shown_by_itself(console: Console, site: Site) -> None:
    site.register("gina", "phone")
    site.invite("hugo", "gina", "call-9", "hugo-and-gina")
    console.page.get_by_role("link", name="hugo → gina").press("Enter")
    console.has("#story .state:text-is('Rings')")
    site.answer("decline", "gina-phone", "hugo", "call-9")
    console.has("#story .panel-head .state", "Declined")
    console.has("#story .facts", "603 declined")
    console.has("#calls-list tbody tr", re.compile("anna → carol"))
    console.has("#calls-list:not(:has-text('hugo'))")


def test_a_dead_letter_has_its_reason(console: Console) -> None:
    console.has(".tile[data-level=WARNING]", "Dead letters1")
    console.has("#problems", "Warning shard 0: dead letters: 1")
    letter = console.has("#dead li", "field peer.user is missing")
    letter.locator("summary").press("Enter")
    console.has("#dead pre:visible", '{"peer": {"id": "bob-phone"}}')
    assert console.page.title() == "Warning · Console · invites"


def test_minutes_shards_workers_and_gateways_are_shown(console: Console) -> None:
    console.has("#minutes figcaption", re.compile(r"[34] calls ended"))
    console.has("#minutes .of-answered[data-key]", "Answered 1")
    console.has("#minutes .of-half", re.compile("half within [0-9]+ s"))
    console.has("#shards tbody tr")
    console.has("#workers tbody tr", "this one")
    console.has("#gateways tbody tr", "gateway-1")
    console.has("#gateways tbody tr", "gateway-2")
    console.has(".tile", "sippo-servernot used")


def test_a_wrong_token_is_refused_and_a_right_one_is_forgotten(
    pages: ModuleType, browser: Browser, site: Site
) -> None:
    with pages.opened(browser, site.console) as console:
        console.load()
        console.has("#entry:visible", "requires a token")
        console.unlock("wrong")
        console.has("#entry:visible", "rejected this token")
        console.has("#token:focus")
        console.unlock()
        console.has("#live", "Live")
        console.has("#main:focus")
        console.page.reload()
        console.has("#live", "Live")
        console.page.get_by_role("button", name="Forget the token").click()
        console.has("#entry:visible")
        console.page.reload()
        console.has("#entry:visible", "requires a token")
        assert console.errors == []


def test_a_worker_that_is_away_is_waited_for(pages: ModuleType, browser: Browser, site: Site) -> None:
    with pages.opened(browser, site.console) as console:
        console.load()
        console.unlock()
        console.has("#live", "Live")
        console.page.route("**/v1/**", lambda route: route.abort())
        console.has("#trouble:visible", "does not answer")
        console.has("#live", "Away")
        console.has("#calls-list tbody tr", "anna → carol")
        console.page.unroute("**/v1/**")
        console.page.route("**/v1/**", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
        console.has("#trouble:visible", "502")
        console.page.unroute("**/v1/**")
        console.has("#live", "Live")
        console.has("#trouble:not(:visible)")
        assert console.errors == []


def test_texts_of_others_are_no_markup(pages: ModuleType, browser: Browser, site: Site) -> None:
    evil = "<svg/onload=document.title='evil'>"
    site.register("ivan", "phone")
    site.invite(evil, "ivan", "call/<b>", "r")
    with pages.opened(browser, site.console) as console:
        console.load()
        console.unlock()
        console.page.get_by_role("link", name=evil).click()
        console.has("#story h2", evil)
        console.has("#story .facts", "call/<b>")
        assert console.page.locator("#main [onload]").count() == 0
        assert console.errors == []


_LEFTS = """one => {
    const range = document.createRange();
    const texts = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
    const lefts = [];
    while (texts.nextNode()) {
        range.selectNodeContents(texts.currentNode);
        lefts.push(range.getBoundingClientRect().left);
    }
    return lefts;
}"""


def test_names_from_right_to_left_turn_no_call_around(
    pages: ModuleType, browser: Browser, site: Site
) -> None:
    site.register("דנה", "phone")
    site.invite("אבי", "דנה", "call-6", "r")
    with pages.opened(browser, site.console) as console:
        console.load()
        console.unlock()
        row = console.page.get_by_role("link", name="אבי → דנה")
        row.click()
        for shown in (row, console.has("#story h2", "אבי → דנה"), console.has(".step p", "invite by אבי")):
            lefts = shown.evaluate(_LEFTS)
            assert len(lefts) > 2
            assert lefts == sorted(lefts)
        assert console.errors == []


def test_every_control_has_a_name_and_the_keyboard_reaches_it(console: Console) -> None:
    console.has("#calls-list tbody tr", "anna → carol")
    console.has("#dead li")
    tree = console.page.locator("body").aria_snapshot()
    assert _NAMELESS.findall(tree) == []
    assert 'radio "Ringing" [checked]' in tree
    keyboard = console.page.keyboard
    console.page.reload()
    console.has("#calls-list tbody tr:visible", "anna → carol")
    keyboard.press("Tab")
    console.has("#skip:focus").press("Enter")
    console.has("#calls:focus")
    keyboard.press("Tab")
    keyboard.press("ArrowRight")
    console.has("#calls-list tbody tr", "erin → dave")
    keyboard.press("Tab")
    console.has("#asks:focus")


def test_a_small_screen_shows_all_without_scrolling_sideways(
    pages: ModuleType, browser: Browser, site: Site
) -> None:
    with pages.opened(
        browser, site.console + "#/call/anna/call-2/bob", viewport={"width": 360, "height": 740}
    ) as console:
        console.load()
        console.unlock()
        console.has("#story h2", "anna → bob")
        assert console.page.locator("body").evaluate("one => one.scrollWidth") <= 360
