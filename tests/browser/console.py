"""A worker with its console, a server of its own, and the page in a real Chromium."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

import redis
from playwright.sync_api import expect

from invites.keys import Keys
from tests.support.waiting import wait_until_sync
from workers.lab.embedded import EmbeddedValkey
from workers.lab.worker_process import start_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

    from workers.lab.child_process import ChildProcess

TOKEN: Final = "console-token"
_LISTENS: Final = re.compile(r"HTTP on \S+ port (\d+)")


class Site:
    """A server, a worker on it, and events for it."""

    def __init__(self, url: str, client: redis.Redis, worker: ChildProcess, port: int) -> None:
        self.url = url
        self.client = client
        self.worker = worker
        self.console = f"http://127.0.0.1:{port}/console"
        self.keys = Keys()

    def publish(self, kind: str, **payload: object) -> None:
        """Publish an event."""
        self.client.xadd(self.keys.events, {"type": kind, "payload": json.dumps(payload)})

    def register(self, user: str, *devices: str) -> None:
        """Devices connect."""
        for device in devices:
            self.publish("registered", registry={"id": f"{user}-{device}", "user": user, "device": device})

    def invite(self, caller: str, to: str, call: str, room: str, state: str = "PENDING") -> None:
        """A user calls another one; wait until the call is in the state."""
        peer = {"id": f"{caller}-desk", "user": caller}
        self.publish("invite", peer=peer, to=to, inviteId=call, room=room)
        self.wait(caller, call, to, state)

    def answer(self, kind: str, device: str, caller: str, call: str, **more: object) -> None:
        """A device rings, accepts or declines."""
        peer = {"id": device, "user": device.partition("-")[0]}
        self.publish(kind, peer=peer, inviteId=call, **{"from": caller}, **more)

    def wait(self, caller: str, call: str, to: str, state: str) -> None:
        """Wait until the call is in this state."""
        key = self.keys.invite(f"{caller}|{call}|{to}")
        wait_until_sync(lambda: self.client.hget(key, "state") == state.encode(), f"{call} is {state}")

    def read_all(self, group: str) -> None:
        """Read and acknowledge all notifications, as a gateway does."""
        key = self.keys.notifications
        with contextlib.suppress(redis.ResponseError):
            self.client.xgroup_create(key, group, "0", mkstream=True)
        reply: Any = self.client.xreadgroup(group, "g", {key: ">"}, count=1_000)
        for _, entries in reply or ():
            self.client.xack(key, group, *(entry for entry, _ in entries))


@contextlib.contextmanager
def site(*, token: str | None = TOKEN) -> Iterator[Site]:
    """A worker that runs until the end."""
    http = {"port": 0} if token is None else {"port": 0, "token": token}
    with (
        EmbeddedValkey() as server,
        start_worker(server.url, {"http": http}, log_level="info") as worker,
        redis.Redis.from_url(server.url) as client,
    ):
        wait_until_sync(
            lambda: "is running." in worker.output() or not worker.running(), "the worker is running"
        )
        found = _LISTENS.search(worker.output())
        assert found, worker.output()
        yield Site(server.url, client, worker, int(found[1]))
        worker.terminate()


class Console:
    """The page. Waits for what it expects."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []
        self.asked: set[str] = set()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.add(request.url))

    def load(self, path: str = "") -> None:
        """Load the page."""
        self.page.goto(self.address + path)

    def unlock(self, token: str = TOKEN) -> None:
        """Give the token."""
        self.page.get_by_role("textbox", name="Token").fill(token)
        self.page.get_by_role("button", name="Open").click()

    def has(self, selector: str, text: str | re.Pattern[str] = "") -> Locator:
        """Wait until there is one of these, with this text."""
        found = self.page.locator(selector)
        if text:
            found = found.filter(has_text=text)
        expect(found).to_have_count(1)
        return found

    def _said(self, message: Any) -> None:
        # Chromium reports each answer other than 2xx.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.errors.append(message.text)


@contextlib.contextmanager
def opened(running: Browser, address: str, **options: Any) -> Iterator[Console]:
    """The page in a browser of its own, before it is loaded."""
    context = running.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
    try:
        yield Console(context.new_page(), address)
    finally:
        context.close()


def play(found: Site, pause_s: float = 0.0) -> None:
    """Calls of all kinds: some have ended, some ring, and one event has failed. A picture needs pauses."""
    found.read_all("gateway-1")
    found.read_all("gateway-2")
    found.register("bob", "phone", "desk", "browser")
    found.register("carol", "phone")
    found.register("dave", "desk")
    found.invite("erin", "dave", "call-1", "meeting-7")
    found.answer("decline", "dave-desk", "erin", "call-1", errorCode=486)
    found.wait("erin", "call-1", "dave", "DECLINED")
    found.invite("anna", "bob", "call-2", "anna-and-bob")
    for device in ("desk", "phone"):
        found.answer("ringing", f"bob-{device}", "anna", "call-2")
        time.sleep(pause_s)
    time.sleep(6 * pause_s)
    found.answer("accept", "bob-phone", "anna", "call-2", to="bob")
    found.wait("anna", "call-2", "bob", "ACCEPTED")
    found.client.xadd(found.keys.events, {"type": "accept", "payload": '{"peer": {"id": "bob-phone"}}'})
    wait_until_sync(lambda: found.client.xlen(found.keys.dead) == 1, "the event has failed")
    found.invite("frank", "nobody", "call-3", "franks-room", "DECLINED")
    found.invite("carol", "bob", "call-4", "carol-and-bob")
    found.answer("ringing", "bob-desk", "carol", "call-4")
    found.read_all("gateway-1")
    found.invite("anna", "carol", "call-5", "anna-and-carol")
    found.answer("ringing", "carol-phone", "anna", "call-5")
    found.read_all("gateway-1")
