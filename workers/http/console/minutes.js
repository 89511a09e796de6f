// How calls ended and how long answers took, minute by minute.

import { h } from "./elements.js";
import { show } from "./morph.js";
import { clock, plural, whole } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const SHOWN = 60;
const MINUTE_MS = 60_000;
const [STEP, BAR, HEIGHT] = [10, 7, 64];

const KINDS = [
  ["answered", "Answered", ["accepted", "merged"]],
  ["declined", "Declined", ["declined", "busy", "forbidden", "too_many"]],
  ["missed", "Not reached", ["timeout", "unreachable", "not_found"]],
  ["cancelled", "Cancelled", ["cancelled", "caller_gone", "room_closed", "replaced"]],
  ["failed", "Failed", ["internal"]],
];
const KIND_OF = new Map(KINDS.flatMap(([kind, , reasons]) => reasons.map((reason) => [reason, kind])));

export function showMinutes({ minutes, answerBounds }, now) {
  const last = Math.floor(now / MINUTE_MS) * MINUTE_MS;
  const found = new Map(minutes.map((one) => [one.at, one]));
  const hour = Array.from({ length: SHOWN }, (_, at) => {
    const one = found.get(last - (SHOWN - 1 - at) * MINUTE_MS);
    return {
      at: last - (SHOWN - 1 - at) * MINUTE_MS,
      kinds: kindsOf(one?.ended ?? {}),
      answered: one?.answered ?? [],
    };
  });
  const total = kindsOf(sumOf(minutes.map((one) => one.ended)));
  const answered = answerBounds
    .concat(Infinity)
    .map((_, at) => minutes.reduce((sum, one) => sum + one.answered[at], 0));
  const all = Object.values(total).reduce((sum, one) => sum + one, 0);
  show(
    document.getElementById("minutes"),
    h(
      "header",
      { class: "panel-head" },
      h("h2", { id: "minutes-title" }, "The last hour"),
      h("p", { class: "hint" }, "All workers together, minute by minute"),
    ),
    h(
      "div",
      { class: "charts" },
      h(
        "figure",
        {},
        h(
          "figcaption",
          {},
          h("b", {}, plural(all, "call")),
          " ended",
          h(
            "ul",
            { class: "legend" },
            KINDS.filter(([kind]) => total[kind]).map(([kind, name]) =>
              h("li", { class: `of-${kind}`, "data-key": kind }, `${name} `, h("b", {}, whole(total[kind]))),
            ),
          ),
        ),
        outcomes(hour),
        axis(hour),
      ),
      h(
        "figure",
        {},
        h(
          "figcaption",
          {},
          h("b", {}, "Time to an answer"),
          h(
            "ul",
            { class: "legend" },
            h("li", { class: "of-half" }, "half ", h("b", {}, within(answered, 0.5, answerBounds))),
            h("li", { class: "of-most" }, "nine in ten ", h("b", {}, within(answered, 0.9, answerBounds))),
          ),
        ),
        answers(hour, answerBounds),
        axis(hour),
      ),
    ),
  );
}

function kindsOf(ended) {
  const kinds = {};
  for (const [reason, count] of Object.entries(ended)) {
    const kind = KIND_OF.get(reason) ?? "failed";
    kinds[kind] = (kinds[kind] ?? 0) + count;
  }
  return kinds;
}

function sumOf(counts) {
  const sum = {};
  for (const one of counts)
    for (const [name, count] of Object.entries(one)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}

/** The class of times within which this share of the answers came, as its number; null without answers. */
function classOf(answered, share) {
  const all = answered.reduce((sum, one) => sum + one, 0);
  let until = 0;
  for (let at = 0; all && at < answered.length; at += 1) {
    until += answered[at];
    if (until >= share * all) return at;
  }
  return null;
}

function within(answered, share, bounds) {
  const found = classOf(answered, share);
  return found === null
    ? "–"
    : found < bounds.length
      ? `within ${bounds[found]} s`
      : `over ${bounds.at(-1)} s`;
}

function outcomes(hour) {
  const most = Math.max(...hour.map(({ kinds }) => Object.values(kinds).reduce((sum, one) => sum + one, 0)));
  const bars = hour.map(({ at, kinds }, place) => {
    let top = HEIGHT;
    const parts = KINDS.filter(([kind]) => kinds[kind]).map(([kind, name]) => {
      const height = Math.max(1.5, (kinds[kind] / most) * (HEIGHT - 2));
      top -= height;
      return [kind, name, top, height];
    });
    const words = parts.map(([kind, name]) => `${name.toLowerCase()} ${kinds[kind]}`).join(", ");
    return svg(
      "g",
      {},
      svg("title", {}, `${clock(at).slice(0, 5)}: ${words || "no calls"}`),
      svg("rect", { class: "ground", x: place * STEP, y: 0, width: STEP, height: HEIGHT }),
      ...parts.map(([kind, , y, height]) =>
        svg("rect", {
          class: `of-${kind}`,
          x: place * STEP + (STEP - BAR) / 2,
          y,
          width: BAR,
          height,
          rx: 1,
        }),
      ),
    );
  });
  return chart(
    `Calls that ended in each of the last 60 minutes, ${most} at most`,
    bars,
    most ? String(most) : "",
  );
}

function answers(hour, bounds) {
  const classes = bounds.length + 1;
  const y = (found) => HEIGHT - ((found + 1) / classes) * (HEIGHT - 4);
  const bars = hour.map(({ at, answered }, place) => {
    const [half, most] = [classOf(answered, 0.5), classOf(answered, 0.9)];
    const words =
      half === null
        ? "no answers"
        : `half ${within(answered, 0.5, bounds)}, nine in ten ${within(answered, 0.9, bounds)}`;
    const x = place * STEP + (STEP - BAR) / 2;
    return svg(
      "g",
      {},
      svg("title", {}, `${clock(at).slice(0, 5)}: ${words}`),
      svg("rect", { class: "ground", x: place * STEP, y: 0, width: STEP, height: HEIGHT }),
      ...(half === null
        ? []
        : [
            svg("rect", { class: "of-most", x, y: y(most), width: BAR, height: HEIGHT - y(most), rx: 1 }),
            svg("rect", { class: "of-half", x, y: y(half), width: BAR, height: HEIGHT - y(half), rx: 1 }),
          ]),
    );
  });
  return chart(
    "Time to an answer in each of the last 60 minutes, on a scale of classes",
    bars,
    `> ${bounds.at(-1)} s`,
  );
}

function chart(name, bars, top) {
  return h(
    "div",
    { class: "chart" },
    svg(
      "svg",
      {
        viewBox: `0 0 ${SHOWN * STEP} ${HEIGHT}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": name,
      },
      ...bars,
    ),
    h("span", { class: "top-of", "aria-hidden": "true" }, top),
  );
}

function axis(hour) {
  const at = [hour[0], hour[SHOWN / 2], hour[SHOWN - 1]];
  return h(
    "p",
    { class: "axis", "aria-hidden": "true" },
    at.map((one) => h("span", {}, clock(one.at).slice(0, 5))),
  );
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
