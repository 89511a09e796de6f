// One call: its fields, its candidates, and its story, step by step.

import { get, Refused } from "./api.js";
import { h, isolated } from "./elements.js";
import { chosen, linkTo, pathOf } from "./hash.js";
import { show } from "./morph.js";
import { clock, duration, lookOf, moment, plural, readable, stateOf } from "./words.js";

const RINGS_MS = 2_000;
const OVER_MS = 5_000;
const TIMES = ["rung", "pushed", "taken", "ringing", "accepted", "declined", "silenced", "lost"];
const WHAT = { taken: "push taken" };

export class StoryPanel {
  #element = document.getElementById("story");
  #shown = null;
  #wantsFocus = false;

  /** The next story gets the focus. */
  focusNext() {
    this.#wantsFocus = true;
  }

  /** Ask for the chosen call and show it; returns after how many ms to ask again. */
  async step(isLate) {
    const ref = chosen();
    if (ref === null) {
      this.#draw(
        null,
        h("h2", { id: "story-title" }, "One call"),
        h("p", { class: "nothing" }, "Choose a call to see its story."),
      );
      return RINGS_MS;
    }
    let story;
    try {
      story = await get(`invites/${pathOf(ref)}/story`);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      if (!isLate()) this.#draw(ref, ...missing(ref));
      return OVER_MS;
    }
    if (!isLate()) this.#draw(ref, ...whole(story));
    return story.invite?.state === "PENDING" ? RINGS_MS : OVER_MS;
  }

  #draw(ref, ...content) {
    show(this.#element, ...content);
    if (ref !== this.#shown) this.#element.scrollTop = 0;
    this.#shown = ref;
    if (this.#wantsFocus) this.#element.focus();
    this.#wantsFocus = false;
  }
}

function missing(ref) {
  return [
    h("h2", { id: "story-title" }, ref),
    h("p", { class: "nothing" }, "There is no such invite, or it ended too long ago to be readable."),
    h("p", { class: "back" }, h("a", { href: "#/" }, "Back to all calls")),
  ];
}

function whole(story) {
  const { invite } = story;
  const [from, id, to] = story.ref.split("|");
  const began = invite?.startedAt ?? story.steps[0]?.at ?? null;
  return [
    h(
      "header",
      { class: "panel-head" },
      h("h2", { id: "story-title" }, isolated(from), h("span", { class: "arrow" }, " → "), isolated(to)),
      h(
        "span",
        { class: `state state-${invite ? lookOf(invite) : "dim"}` },
        invite ? stateOf(invite) : "Over",
      ),
      h("a", { href: "#/", class: "close", "aria-label": "Close this call" }, "×"),
    ),
    h("dl", { class: "facts" }, facts(invite, id, began)),
    story.candidates.length > 0 && h("h3", {}, "Candidates"),
    story.candidates.length > 0 &&
      h(
        "ul",
        { class: "candidates" },
        story.candidates.map((one) => candidate(one, began)),
      ),
    story.legs.length > 0 && h("h3", {}, "Members"),
    story.legs.length > 0 && h("ul", { class: "candidates" }, story.legs.map(leg)),
    h("h3", {}, "Story"),
    story.cut && h("p", { class: "hint" }, "Earlier steps may be missing: only the last 64 are kept."),
    story.steps.length
      ? h(
          "ol",
          { class: "steps" },
          story.steps.map((step, at) => stepOf(step, at, began)),
        )
      : h("p", { class: "nothing" }, "No steps are kept (invites.story is false)."),
    h("h3", {}, "Gateway groups"),
    readers(story),
  ];
}

function facts(invite, id, began) {
  const pairs = [
    ["Call", id],
    ["Room", invite?.room],
    ["Group", invite?.group],
    ["Began", began === null ? null : moment(began)],
    [
      "Result",
      invite?.code
        ? `${invite.code} ${readable(invite.reason)}${invite.whoAccepted ? ` by ${invite.whoAccepted}` : ""}`
        : null,
    ],
    ["Took", invite?.endedAt && began !== null ? duration(invite.endedAt - began) : null],
  ];
  return pairs
    .filter(([, value]) => value)
    .map(([name, value]) => h("div", { "data-key": name }, h("dt", {}, name), h("dd", {}, value)));
}

function candidate(one, began) {
  const since = (at) => (began === null ? clock(at, true) : `+${duration(Math.max(0, at - began))}`);
  const times = TIMES.filter((name) => one[name] !== null).map((name) => [WHAT[name] ?? name, one[name]]);
  if (one.cancelled !== null)
    times.push([`cancelled${one.cancelCode ? ` ${one.cancelCode}` : ""}`, one.cancelled]);
  times.sort((a, b) => a[1] - b[1]);
  const kind = { PUSH: "push", PSTN: "telephone", PEER: "connection" }[one.type] ?? one.type ?? "?";
  return h(
    "li",
    { "data-key": one.peer },
    h(
      "p",
      { class: "candidate-head" },
      h("strong", {}, one.device ?? one.peer),
      h(
        "span",
        { class: "hint" },
        [kind, one.address, one.device === one.peer ? null : one.device && one.peer]
          .filter(Boolean)
          .join(" · "),
      ),
      h(
        "span",
        { class: `state state-${candidateLook(one.state)}` },
        readable((one.state ?? "unknown").toLowerCase()),
        one.endReason ? ` ${one.endReason}` : "",
      ),
    ),
    h(
      "p",
      { class: "times" },
      times.map(([name, at]) => h("span", { "data-key": name }, `${name} `, h("b", {}, since(at)))),
    ),
  );
}

const candidateLook = (state) =>
  ({
    ACCEPTED: "good",
    DECLINED: "bad",
    REJECTED: "bad",
    RINGING: "rings",
    CALLED: "rings",
    PUSHED: "rings",
    PUSHING: "rings",
  })[state] ?? "dim";

function leg(one) {
  const words = [one.endReason, readable(one.reason), one.peer && `by ${one.peer}`].filter(Boolean).join(" ");
  return h(
    "li",
    { "data-key": one.ref },
    h(
      "p",
      { class: "candidate-head" },
      h("a", { href: linkTo(one.ref) }, one.member),
      h("span", { class: "hint" }, words),
      h(
        "span",
        { class: `state state-${one.state === "RINGING" ? "rings" : "dim"}` },
        (one.state ?? "unknown").toLowerCase(),
      ),
    ),
  );
}

function stepOf(step, at, began) {
  const [, origin, what] = /^(timer|relay)\.(.+)$/.exec(step.what) ?? [null, "event", step.what];
  return h(
    "li",
    { class: `step step-${origin}`, "data-key": `${at} ${step.at}` },
    h("time", { datetime: new Date(step.at).toISOString(), title: moment(step.at) }, clock(step.at, true)),
    h(
      "span",
      { class: "after" },
      step.after === null ? (began === null ? "" : "start") : `+${duration(step.after)}`,
    ),
    h(
      "div",
      { class: "happened" },
      h(
        "p",
        {},
        h("strong", {}, what),
        origin !== "event" && h("span", { class: "badge" }, origin === "timer" ? "timer" : "other shard"),
        step.who && h("span", { class: "by" }, " by ", isolated(step.who)),
        step.code && h("span", { class: "code" }, ` ${step.code}`),
      ),
      step.told.length > 0 &&
        h(
          "ul",
          {},
          step.told.map((told) =>
            h(
              "li",
              {},
              h("span", { class: "unseen" }, "tells "),
              told.what,
              told.code && h("span", { class: "code" }, ` ${told.code}`),
              h(
                "span",
                { class: "to" },
                told.who.flatMap((one, at) => [at ? ", " : " to ", isolated(one)]),
                told.more ? ` and ${told.more} more` : "",
              ),
            ),
          ),
        ),
    ),
  );
}

function readers({ groups, steps }) {
  if (!groups.length)
    return h("p", { class: "nothing" }, "No gateway has a group: nobody has read the notifications.");
  return h(
    "ul",
    { class: "readers" },
    groups.map((name) => {
      const unread = steps.filter((step) => step.unreadBy.includes(name));
      const read = steps.filter((step) => step.readBy.includes(name));
      const [look, text] = unread.length
        ? [
            "bad",
            `has not read the notifications of ${plural(unread.length, "step")}: ${unread.map((step) => step.what).join(", ")}`,
          ]
        : read.length
          ? [
              "rings",
              `has read all, but not acknowledged those of ${read.map((step) => step.what).join(", ")}`,
            ]
          : ["good", "has read and acknowledged all"];
      return h(
        "li",
        { "data-key": name },
        h("span", { class: `dot dot-${look}` }),
        h("strong", {}, name),
        ` ${text}`,
      );
    }),
  );
}
