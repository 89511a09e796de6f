// The list of calls: pending or recently ended ones, with search.

import { get } from "./api.js";
import { h, isolated } from "./elements.js";
import { chosen, linkTo, partsOf } from "./hash.js";
import { show } from "./morph.js";
import { clock, duration, lookOf, readable, stateOf, whole } from "./words.js";

const SHOWN = 100;
const MOST_PAGES = 3;
const PENDING_MS = 2_000;
// Ended calls are found by a scan of all keys of the server.
const ENDED_MS = 10_000;
const HEADS = [
  ["state-head", "State"],
  ["", "Call"],
  ["room", "Room"],
  ["number", "Began"],
];

export class Calls {
  #which = "pending";
  #asks = "";
  #rows = [];
  #note = "";

  constructor(clockNow, changed) {
    this.clockNow = clockNow;
    document.getElementById("which").addEventListener("change", ({ target }) => {
      this.#which = target.value;
      changed();
    });
    const input = document.getElementById("asks");
    document.getElementById("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search(input.value, changed);
    });
    input.addEventListener("search", () => input.value || this.#search("", changed));
  }

  /** Ask for the list and show it; returns after how many ms to ask again. */
  async step(isLate) {
    const which = this.#which;
    const { rows, more } = await list(which, filter(this.#asks), isLate);
    if (isLate()) return 0;
    rows.sort(which === "pending" ? byStart : byEnd);
    this.#rows = rows.slice(0, SHOWN);
    this.#note = noteOf(rows.length, more, this.#asks, which);
    this.draw();
    return which === "pending" ? PENDING_MS : ENDED_MS;
  }

  /** Focus a call, or the list if the call is not in it. */
  focus(ref) {
    const list = document.getElementById("calls-list");
    const row = [...list.querySelectorAll("[data-key]")].find((one) => one.dataset.key === ref);
    (row?.querySelector("a") ?? list).focus({ preventScroll: true });
  }

  draw() {
    const nothing = this.#which === "pending" ? "Nothing is ringing." : "No call has ended recently.";
    show(
      document.getElementById("calls-list"),
      this.#rows.length
        ? h(
            "table",
            { class: "call-table" },
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                HEADS.concat([["number", this.#which === "pending" ? "For" : "Took"]]).map(([look, text]) =>
                  h("th", { scope: "col", class: look }, text),
                ),
              ),
            ),
            h(
              "tbody",
              {},
              this.#rows.map((row) => this.#row(row)),
            ),
          )
        : h("p", { class: "nothing" }, this.#asks ? "No such call." : nothing),
    );
    const note = document.getElementById("calls-note");
    if (note.textContent !== this.#note) note.textContent = this.#note;
  }

  #row(row) {
    const until = row.endedAt ?? this.clockNow();
    const more = [
      { group: "to a group", leg: `in the call to ${row.group}` }[row.kind],
      row.inviteRequest && "asks to be let in",
    ];
    return h(
      "tr",
      { "data-key": row.ref, class: row.ref === chosen() ? "chosen" : null },
      h("td", {}, h("span", { class: `state state-${lookOf(row)}` }, stateOf(row))),
      h(
        "th",
        { scope: "row" },
        h(
          "a",
          { href: linkTo(row.ref), "aria-current": row.ref === chosen() ? "true" : null },
          isolated(row.from),
          h("span", { class: "arrow" }, " → "),
          isolated(row.to),
        ),
        h(
          "span",
          { class: "more" },
          [row.code ? `${row.code} ${readable(row.reason)}` : "", ...more].filter(Boolean).join(", "),
        ),
      ),
      h("td", { class: "room" }, row.room ?? ""),
      h("td", { class: "number" }, clock(row.startedAt)),
      h(
        "td",
        { class: "number" },
        row.startedAt === null ? "" : duration(Math.max(0, until - row.startedAt)),
      ),
    );
  }

  #search(text, changed) {
    this.#asks = text.trim();
    if (partsOf(this.#asks)) {
      location.hash = linkTo(this.#asks);
      this.#asks = "";
    }
    changed();
  }
}

const byStart = (one, other) =>
  (other.startedAt ?? 0) - (one.startedAt ?? 0) || one.ref.localeCompare(other.ref);
const byEnd = (one, other) => (other.endedAt ?? 0) - (one.endedAt ?? 0) || one.ref.localeCompare(other.ref);

function filter(text) {
  const room = /^room:\s*(.+)$/.exec(text);
  return room ? { room: room[1] } : text ? { user: text } : {};
}

async function list(state, asked, isLate) {
  const found = new Map();
  let cursor = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const query = new URLSearchParams({ state, ...asked, ...(cursor === null ? {} : { cursor }) });
    const answer = await get(`invites?${query}`);
    for (const row of answer.invites) found.set(row.ref, row);
    cursor = answer.cursor;
    if (!answer.more || isLate()) break;
  }
  return { rows: [...found.values()], more: cursor !== null };
}

function noteOf(count, more, asks, which) {
  const shown = Math.min(count, SHOWN);
  if (!more && count <= SHOWN)
    return count ? `${whole(count)} ${count === 1 ? "call" : "calls"}${asks ? ` of “${asks}”` : ""}` : "";
  return `${whole(shown)} of ${more ? "more than " : ""}${whole(count)} calls. Search for a user or a room to see the others${which === "ended" && more ? "; the newest may be among them" : ""}.`;
}
