// Every event, notification and push, with its milliseconds.

import { h } from "./dom.js";
import { whole } from "./words.js";

const MOST_ROWS = 300;
const MOST_CALLS = 8;
const NEAR_PX = 40;
const TITLES = { workerEnded: "a worker is killed", workerStarted: "a worker is started" };

export class Timeline {
  #selected = null;
  #list = h("ol", { class: "entries" });
  #box = h(
    "div",
    {
      class: "entries-box",
      tabindex: "0",
      role: "region",
      "aria-label": "Entries",
      onscroll: () => this.#scrolled(),
    },
    this.#list,
  );
  #follows = true;
  #chips = h("div", { class: "chips", role: "group", "aria-label": "Calls" });

  constructor(feed, calls, onselect) {
    this.feed = feed;
    this.calls = calls;
    this.onselect = onselect;
    this.element = h("div", { class: "timeline" }, this.#chips, this.#box);
    this.#drawAll();
    requestAnimationFrame(() => this.#follow());
    feed.addEventListener("entry", ({ detail }) => {
      this.#add(detail.entry);
      this.#drawChips();
    });
  }

  select(call) {
    this.#selected = call;
    this.#follows = true;
    this.#drawAll();
    this.onselect(call);
  }

  #drawAll() {
    this.#list.replaceChildren(
      ...this.feed.entries
        .filter((entry) => this.#shows(entry))
        .slice(-MOST_ROWS)
        .map((entry) => this.#row(entry)),
    );
    this.#follow();
    this.#drawChips();
  }

  #drawChips() {
    const latest = [...this.calls.all.values()].slice(-MOST_CALLS).reverse();
    const drawn = JSON.stringify([this.#selected?.key, latest]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const focused = this.#chips.contains(document.activeElement) ? document.activeElement.dataset.call : null;
    this.#chips.replaceChildren(
      this.#chip("all", "All", "", this.#selected === null, null),
      ...latest.map((call) =>
        this.#chip(
          call.key,
          `${this.calls.nameOf(call.from)} → ${this.calls.nameOf(call.to)}`,
          call.outcome || (call.isRequest ? "knocks" : "rings"),
          call === this.#selected,
          call,
        ),
      ),
    );
    if (focused) this.#chips.querySelector(`[data-call="${CSS.escape(focused)}"]`)?.focus();
  }

  #chip(key, title, outcome, isPressed, call) {
    return h(
      "button",
      {
        type: "button",
        class: "chip",
        "aria-pressed": String(isPressed),
        "data-call": key,
        onclick: () => this.select(call),
      },
      h("span", {}, title),
      outcome && h("span", { class: "outcome", "data-outcome": outcome.split(",")[0] }, outcome),
    );
  }

  #add(entry) {
    if (!this.#shows(entry)) return;
    this.#list.append(this.#row(entry));
    if (this.#list.children.length > MOST_ROWS) this.#list.firstElementChild.remove();
    this.#follow();
  }

  #shows(entry) {
    return this.#selected === null || this.calls.callOf(entry) === this.#selected;
  }

  #row(entry) {
    const call = this.calls.callOf(entry);
    const title = TITLES[entry.type] ?? (entry.kind === "push" ? `push: ${entry.type}` : entry.type);
    return h(
      "li",
      { class: `entry entry-${entry.kind}`, "data-type": entry.type },
      h("time", { class: "at" }, clock(entry.at)),
      h("span", { class: "delta" }, call ? `+${whole(entry.at - call.at)} ms` : ""),
      h("span", { class: "kind", title: entry.kind }, h("span", { class: "unseen" }, `${entry.kind} `)),
      h("span", { class: "type" }, title),
      h("span", { class: "said" }, this.#said(entry)),
    );
  }

  /** The latest entry is shown, unless somebody has scrolled up. */
  #follow() {
    if (this.#follows) this.#box.scrollTop = this.#box.scrollHeight;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#box;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  #said({ kind, type, payload, peers, users, device }) {
    const { calls } = this;
    const said = payload ?? {};
    if (kind === "note") return `worker ${said.worker}, process ${said.pid}`;
    if (kind === "push") return `→ ${calls.labelOf(device)}`;
    if (kind === "event") {
      const by = said.peer
        ? calls.label(said.peer.id)
        : said.registry
          ? calls.label(said.registry.id)
          : calls.nameOf(said.userId ?? said.from ?? "");
      const to = type === "invite" || type === "inviteRequest" ? ` → ${calls.nameOf(said.to)}` : "";
      return `${by}${to}${said.replaces ? ", replaces" : ""}${said.errorCode ? `, ${said.errorCode}` : ""}`;
    }
    const to = peers.length
      ? peers.map((peer) => calls.label(peer)).join(", ")
      : users.length
        ? users.map((user) => calls.nameOf(user)).join(", ")
        : "services";
    const code = [said.code ?? said.error, said.reason].filter(Boolean).join(" ");
    return `→ ${to}${code ? ` · ${code}` : ""}${said.resumed ? " · resumed" : ""}${said.request ? ` · ${said.request}` : ""}`;
  }
}

function clock(at) {
  const date = new Date(at);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
