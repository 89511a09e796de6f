"""Calls between the devices of the page, over a real gateway, real workers and a real server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.browser.phones import Phones

BOBS = ("bob-browser", "bob-phone", "bob-desk")


def test_three_devices_ring_and_the_first_to_answer_has_the_call(phones: Phones) -> None:
    phones.ring("anna-browser", "bob", *BOBS)
    phones.are("calling", "anna-browser")
    phones.are("idle", "anna-desk", "carol-browser", "dave-phone")
    phones.accept("bob-desk", "anna-browser")
    phones.are("idle", "bob-browser", "bob-phone")
    phones.hears("bob-browser", "Answered elsewhere")
    assert re.search(
        r"\+[\d,]+ ms\s+notification\s+inviteAccepted", phones.entry("notification", "inviteAccepted")
    )
    phones.press("anna-browser", "hangup")
    phones.are("idle", "bob-desk", "anna-browser")


def test_a_push_wakes_the_phone(phones: Phones) -> None:
    phones.are("asleep", "bob-phone")
    phones.ring("carol-browser", "bob", "bob-phone")
    assert "Bob's phone" in phones.entry("push", "invitation")
    phones.accept("bob-phone", "carol-browser")
    phones.press("bob-phone", "hangup")
    phones.are("idle", "bob-phone", "carol-browser")
    phones.press("bob-phone", "sleep")
    phones.are("asleep", "bob-phone")


def test_a_call_to_the_group_rings_its_members(phones: Phones) -> None:
    phones.ring("anna-desk", "support", "carol-browser", "dave-phone")
    phones.press("carol-browser", "decline")
    phones.are("idle", "carol-browser")
    phones.are("calling", "anna-desk")
    phones.accept("dave-phone", "anna-desk")
    phones.press("dave-phone", "hangup")
    phones.are("idle", "dave-phone", "anna-desk")


def test_a_join_by_link_is_an_answer(phones: Phones) -> None:
    phones.ring("anna-browser", "bob", *BOBS)
    phones.press("bob-browser", "join")
    phones.are("talking", "bob-browser", "anna-browser")
    phones.are("idle", "bob-phone", "bob-desk")
    phones.has('[data-device="dave-phone"] .links button').click()
    phones.are("talking", "dave-phone")
    phones.press("bob-browser", "hangup")
    phones.are("talking", "dave-phone", "anna-browser")
    phones.press("anna-browser", "hangup")
    phones.are("idle", "dave-phone", "anna-browser")


def test_calls_go_on_when_a_worker_is_killed(phones: Phones) -> None:
    phones.ring("anna-browser", "carol", "carol-browser")
    phones.page.get_by_role("button", name="Kill worker 1").click()
    phones.has('.worker[data-runs="false"]')
    phones.accept("carol-browser", "anna-browser")
    phones.ring("bob-desk", "dave", "dave-phone")
    phones.press("bob-desk", "hangup")
    phones.hears("dave-phone", "Missed call")
    phones.press("carol-browser", "hangup")
    phones.has('.worker[data-runs="true"]', 2)
    phones.entry("note", "workerStarted")


def test_a_device_that_was_cut_off_rings_on(phones: Phones) -> None:
    phones.ring("anna-desk", "dave", "dave-phone")
    phones.press("dave-phone", "cut")
    phones.are("cut", "dave-phone")
    phones.entry("event", "disconnected", "Dave's phone")
    phones.press("dave-phone", "back")
    phones.are("ringing", "dave-phone")
    phones.entry("notification", "invitation", "resumed")
    phones.press("dave-phone", "silence")
    phones.are("silenced", "dave-phone")
    phones.press("anna-desk", "hangup")
    phones.hears("dave-phone", "Missed call")
    phones.hears("anna-desk", "Cancelled")


_LOSE_THE_ACCEPT = """() => {
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (data) {
        if (!data.includes('"accept"')) return send.call(this, data);
        WebSocket.prototype.send = send;
        this.close();
    };
}"""


_KEEP_SOCKETS = """
    window.sockets = [];
    window.WebSocket = class extends WebSocket {
      constructor(url) { super(url); window.sockets.push(this); }
    };
"""


def test_a_page_whose_timers_stand_still_connects_as_soon_as_it_is_seen_or_online(phones: Phones) -> None:
    """A hidden page may run its timers once a minute, and miss the calls of that minute."""
    page = phones.page
    page.add_init_script(_KEEP_SOCKETS)
    phones.load()
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    for event in (
        "window.dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ):
        page.evaluate("window.sockets.forEach((one) => one.close())")
        phones.are("connecting", *BOBS[::2])
        page.evaluate(event)
        phones.are("idle", *BOBS[::2])
    page.clock.resume()


def test_a_connection_that_is_lost_with_the_accept_loses_no_call(phones: Phones) -> None:
    phones.ring("anna-desk", "dave", "dave-phone")
    phones.page.evaluate(_LOSE_THE_ACCEPT)
    phones.press("dave-phone", "accept")
    phones.entry("notification", "invitation", "resumed")
    phones.are("talking", "dave-phone", "anna-desk")


_LOSE_THE_OUTCOME = """() => {
    const { parse } = JSON;
    JSON.parse = (text) => {
        if (!text.startsWith('{"type":"inviteRejected"')) return parse(text);
        JSON.parse = parse;
        document.body.dataset.lost = "true";
        return { type: "lost" };
    };
}"""


def test_a_caller_that_is_back_asks_for_an_outcome_that_was_lost(phones: Phones) -> None:
    phones.ring("anna-desk", "dave", "dave-phone")
    phones.page.evaluate(_LOSE_THE_OUTCOME)
    phones.press("dave-phone", "decline")
    phones.has("body[data-lost]")
    phones.are("calling", "anna-desk")
    phones.press("anna-desk", "cut")
    phones.press("anna-desk", "back")
    phones.hears("anna-desk", "Declined")


def test_a_redial_is_no_second_call(phones: Phones) -> None:
    phones.ring("anna-browser", "dave", "dave-phone")
    phones.press("anna-browser", "redial")
    phones.entry("notification", "inviteRejected", "487 replaced")
    phones.are("ringing", "dave-phone")
    phones.has('[data-device="dave-phone"] .face')
    phones.accept("dave-phone", "anna-browser")


def test_a_guest_is_let_in(phones: Phones) -> None:
    phones.ring("guest-browser", "anna", "anna-browser", "anna-desk")
    phones.accept("anna-desk", "guest-browser")
    phones.are("idle", "anna-browser")


def test_a_telephone_is_called_over_the_phone_network(phones: Phones) -> None:
    phones.ring("dave-phone", "+34600123456", "telephone")
    phones.press("telephone", "decline")
    phones.hears("dave-phone", "Declined")
    phones.ring("dave-phone", "+34600123456", "telephone")
    phones.accept("telephone", "dave-phone")
    phones.press("telephone", "hangup")
    phones.are("idle", "telephone", "dave-phone")


def test_a_second_browser_is_one_of_the_devices(phones: Phones) -> None:
    own = phones.another("device?user=dave&device=phone")
    own.load()
    phones.are("elsewhere", "dave-phone")
    phones.call("carol-browser", "dave")
    own.are("ringing", "dave-phone")
    own.press("dave-phone", "accept")
    phones.are("talking", "carol-browser")
    # It is loaded again in the middle of the call.
    own.page.reload()
    own.are("talking", "dave-phone")
    own.press("dave-phone", "hangup")
    phones.are("idle", "carol-browser")
    phones.press("dave-phone", "back")
    phones.are("idle", "dave-phone")
    own.are("elsewhere", "dave-phone")
    assert own.errors == []


def test_a_page_that_is_loaded_again_goes_on_calling(phones: Phones) -> None:
    phones.ring("carol-browser", "dave", "dave-phone")
    phones.page.reload()
    phones.are("calling", "carol-browser")
    phones.are("ringing", "dave-phone")
    phones.press("dave-phone", "decline")
    phones.hears("carol-browser", "Declined")


def test_the_drawer_shows_the_keys_of_the_selected_call(phones: Phones) -> None:
    phones.ring("anna-browser", "carol", "carol-browser")
    phones.page.get_by_role("button", name="Anna → Carol rings").click()
    phones.page.get_by_role("button", name="Keys in Redis").click()
    for kind in ("invite", "pending:carol", "timers"):
        phones.has(f'.key h3:has-text("invites:{{0}}:{kind}")')
    assert "PENDING" in phones.has('.key:has-text(":invite:")').inner_text()
    phones.page.keyboard.press("Escape")
    phones.has(".drawer:visible", 0)
    phones.press("carol-browser", "decline")
    phones.page.get_by_role("button", name="Keys in Redis").click()
    phones.has('.key:has-text(":invite:") td:text-is("DECLINED")')
    phones.has('.key:has-text(":pending:")', 0)
