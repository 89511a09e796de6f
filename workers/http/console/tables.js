// Shards, workers, gateway groups and dead letters.

import { h } from "./elements.js";
import { show } from "./morph.js";
import { workersOf } from "./state.js";
import { bytes, duration, moment, plural, whole } from "./words.js";

export function showTables({ shards, worker }, now) {
  show(document.getElementById("shards"), shardTable(shards));
  show(document.getElementById("workers"), workerTable(workersOf(shards), worker.name, now));
  show(document.getElementById("gateways"), groupTable(shards));
}

export function showDeadLetters({ deadLetters }, total) {
  show(
    document.getElementById("dead"),
    deadLetters.length
      ? h("ul", { class: "dead" }, deadLetters.map(deadLetter))
      : h("p", { class: "nothing" }, "No event and no timer has failed."),
    total > deadLetters.length &&
      h("p", { class: "hint note" }, `The newest ${whole(deadLetters.length)} of ${whole(total)}.`),
  );
}

function table(heads, rows) {
  return h(
    "table",
    {},
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        heads.map(([text, look]) => h("th", { scope: "col", class: look }, text)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map(({ key, cells, level }) =>
        h(
          "tr",
          { "data-key": key, "data-level": level },
          cells.map((cell, at) =>
            h(at ? "td" : "th", { scope: at ? null : "row", class: heads[at][1] }, cell),
          ),
        ),
      ),
    ),
  );
}

function shardTable(shards) {
  const waits = ({ entries, oldestMs }) => (entries ? `${whole(entries)}, ${duration(oldestMs)}` : "–");
  const memory = (one) =>
    one ? bytes(one.usedBytes) + (one.maxBytes ? ` of ${bytes(one.maxBytes)}` : "") : "?";
  return table(
    [
      ["Shard"],
      ["Events", "number"],
      ["Relay", "number"],
      ["Pushes", "number"],
      ["Ringing", "number"],
      ["Timers", "number"],
      ["Memory", "number"],
    ],
    shards.map((one) => ({
      key: String(one.shard),
      level: one.backlog.oldestMs > 5_000 || one.relayBacklog.oldestMs > 5_000 ? "WARNING" : null,
      cells: [
        String(one.shard),
        waits(one.backlog),
        waits(one.relayBacklog),
        waits(one.pushBacklog),
        whole(one.pendingInvites),
        one.overdueTimers ? `${whole(one.timers)}, ${whole(one.overdueTimers)} overdue` : whole(one.timers),
        memory(one.memory),
      ],
    })),
  );
}

function workerTable(workers, own, now) {
  if (!workers.length) return h("p", { class: "nothing" }, "No worker has read yet.");
  return table(
    [["Worker"], ["Release"], ["Since"], ["Last commit", "number"], ["Heard of", "number"]],
    workers.map(({ name, alive, idleMs, announced }) => ({
      key: name,
      level: alive ? null : "WARNING",
      cells: [
        h(
          "span",
          { class: "name" },
          name,
          name === own && h("span", { class: "badge" }, "this one"),
          !alive && h("span", { class: "badge bad" }, "gone"),
        ),
        announced?.release ?? "before 0.2.0",
        announced ? moment(announced.since) : "?",
        announced?.lastCommit ? `${duration(Math.max(0, now - announced.lastCommit))} ago` : "none",
        `${duration(idleMs)} ago`,
      ],
    })),
  );
}

function groupTable(shards) {
  const rows = shards.flatMap(({ shard, groups }) => groups.map((one) => ({ shard, ...one })));
  if (!rows.length)
    return h("p", { class: "nothing" }, "No gateway has a group yet: nobody reads notifications.");
  return table(
    [
      ["Group"],
      ["Shard", "number"],
      ["Unread", "number"],
      ["Not acknowledged", "number"],
      ["Oldest", "number"],
      ["Asked", "number"],
    ],
    rows.map(({ name, shard, lag, pending, oldestMs, idleMs }) => ({
      key: `${shard} ${name}`,
      level: oldestMs > 60_000 ? "WARNING" : null,
      cells: [
        h("span", { class: "name" }, name, oldestMs > 60_000 && h("span", { class: "badge bad" }, "late")),
        String(shard),
        whole(lag),
        whole(pending),
        lag || pending ? duration(oldestMs) : "–",
        idleMs === null ? "never" : `${duration(idleMs)} ago`,
      ],
    })),
  );
}

function deadLetter({ shard, id, type, error, entry, deliveries, payload }) {
  const at = Number(id.split("-")[0]);
  return h(
    "li",
    { "data-key": `${shard} ${id}` },
    h(
      "p",
      { class: "dead-head" },
      h("strong", {}, type || "no type"),
      h("time", { datetime: new Date(at).toISOString() }, moment(at)),
    ),
    h("p", { class: "reason" }, error),
    h(
      "details",
      {},
      h("summary", {}, "Payload and ids"),
      h("pre", { tabindex: "0", "aria-label": "Payload" }, payload || "no payload"),
      h(
        "p",
        { class: "hint" },
        `letter ${id} in shard ${shard}`,
        entry ? `, entry ${entry}` : "",
        deliveries ? `, ${plural(deliveries, "delivery", "deliveries")}` : "",
      ),
    ),
  );
}
