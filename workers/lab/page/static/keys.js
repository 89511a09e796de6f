// The drawer with the keys in Redis behind the selected call.

import { get } from "./api.js";
import { h, icon } from "./dom.js";
import { lifetime } from "./words.js";

const GATHER_MS = 200;
const REFRESH_MS = 2_000;

export class Keys {
  #call = null;
  #isOpen = false;
  #timer = 0;
  #list = h("div", { class: "keys" });
  #title = h("h2", { id: "keys-title" }, "Keys");

  constructor(feed, calls, opener) {
    this.calls = calls;
    this.opener = opener;
    this.element = h(
      "aside",
      {
        class: "drawer",
        hidden: true,
        "aria-labelledby": "keys-title",
        onkeydown: (event) => event.key === "Escape" && this.close(),
      },
      h(
        "header",
        { class: "drawer-head" },
        this.#title,
        h(
          "button",
          {
            type: "button",
            class: "tool",
            "aria-label": "Close the keys",
            title: "Close",
            onclick: () => this.close(),
          },
          icon("close"),
        ),
      ),
      this.#list,
    );
    feed.addEventListener("entry", () => this.#isOpen && this.#soon(GATHER_MS));
  }

  /** Show the keys of this call, if the drawer is open. */
  select(call) {
    this.#call = call;
    if (this.#isOpen) this.#load();
  }

  open() {
    this.#isOpen = true;
    this.element.hidden = false;
    this.opener.setAttribute("aria-expanded", "true");
    this.element.querySelector("button").focus();
    this.#load();
  }

  close() {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    this.element.hidden = true;
    this.opener.setAttribute("aria-expanded", "false");
    this.opener.focus();
  }

  toggle() {
    if (this.#isOpen) this.close();
    else this.open();
  }

  #soon(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(), ms);
  }

  async #load() {
    const call = this.#call ?? [...this.calls.all.values()].at(-1);
    if (!call) {
      this.#list.replaceChildren(
        h("p", { class: "empty" }, "No call yet. Place one, and its keys are here."),
      );
      return;
    }
    this.#title.textContent = `Keys: ${this.calls.nameOf(call.from)} → ${this.calls.nameOf(call.to)}`;
    const query = new URLSearchParams({ from: call.from, inviteId: call.inviteId });
    const found = await get(`/api/keys?${query}`).catch(() => []);
    if (!this.#isOpen) return;
    this.#list.replaceChildren(
      ...(found.length
        ? found.map((one) => this.#key(one))
        : [h("p", { class: "empty" }, "All of its keys have expired.")]),
    );
    this.#soon(REFRESH_MS);
  }

  #key({ key, type, ttl, values }) {
    return h(
      "section",
      { class: "key" },
      h("h3", {}, h("code", {}, key)),
      h(
        "p",
        { class: "key-kind" },
        type,
        ttl === null ? " · no time to live" : ` · expires in ${lifetime(ttl)}`,
      ),
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, key),
        h("tbody", {}, ...values.map((row) => this.#row(row))),
      ),
    );
  }

  /** A field or member, which may be a connection, and its value or score. */
  #row([first, ...rest]) {
    const device = this.calls.label(first, "");
    const cell = [first || "—", device && h("small", {}, device)];
    return h(
      "tr",
      {},
      rest.length ? h("th", { scope: "row" }, ...cell) : h("td", {}, ...cell),
      ...rest.map((part) => h("td", {}, part || "—")),
    );
  }
}
