// The state at a glance: the problems, and six figures.

import { h } from "./elements.js";
import { show } from "./morph.js";
import { duration, plural, whole } from "./words.js";

const LATE_MS = 60_000;
const SLOW_MS = 5_000;
const LOST_MS = 300_000;
const PROBES = "temporary:probe:";
const WORDS = { OK: "Fine", WARNING: "Warning", CRITICAL: "Critical" };

let told = "";

export function showState(found) {
  const wrong = [...found.problems, ...ownProblems(found)];
  tell(wrong);
  show(document.getElementById("problems"), problems(wrong, found.shards));
  show(document.getElementById("tiles"), tiles(found));
}

/** Announce the problems to a screen reader, and in the title, when they change. */
function tell(problems) {
  const same = problems
    .map(({ shard, level, problem }) => `${shard} ${level} ${problem.replace(/\d+/g, "")}`)
    .join();
  if (same === told) return;
  told = same;
  const worst = problems[0] && WORDS[problems[0].level];
  document.title = `${worst ? `${worst} · ` : ""}Console · invites`;
  document.getElementById("announcer").textContent = problems.length
    ? problems.map(({ shard, level, problem }) => `${WORDS[level]}: ${placeOf([shard])}${problem}.`).join(" ")
    : "All is well.";
}

/** The problems of the worker that was asked. */
function ownProblems({ worker, sippo }) {
  const found = [];
  if (!worker.ready) found.push(`this worker is not ready: ${worker.reason}`);
  if (sippo?.failing.length)
    found.push(`this worker does not ask sippo-server for now: ${sippo.failing.join(", ")}`);
  return found.map((problem) => ({ shard: null, level: "WARNING", problem }));
}

const placeOf = (shards) => (shards[0] === null ? "" : `shard ${shards.join(", ")}: `);

function problems(problems, shards) {
  if (!problems.length)
    return h(
      "p",
      { class: "verdict", "data-level": "OK" },
      h("strong", {}, "All is well"),
      ` on ${plural(shards.length, "shard")}.`,
    );
  const same = new Map();
  for (const { shard, level, problem } of problems) {
    const key = `${level} ${problem}`;
    same.set(key, { level, problem, shards: [...(same.get(key)?.shards ?? []), shard] });
  }
  return h(
    "ul",
    { class: "verdicts" },
    [...same].map(([key, { level, problem, shards }]) =>
      h(
        "li",
        { class: "verdict", "data-level": level, "data-key": key },
        h("strong", {}, WORDS[level]),
        ` ${placeOf(shards)}${problem}`,
      ),
    ),
  );
}

function tiles({ shards, sippo, worker }) {
  if (!shards.length) return [tile("Shards", "away", "none can be read", "CRITICAL")];
  const sum = (count) => shards.reduce((total, shard) => total + count(shard), 0);
  const most = (measure) => Math.max(0, ...shards.map(measure));
  const oldest = most(({ backlog, relayBacklog }) => Math.max(backlog.oldestMs, relayBacklog.oldestMs));
  const waiting = sum(({ backlog }) => backlog.entries);
  const workers = workersOf(shards);
  const gone = workers.filter((one) => !one.alive).length;
  const groups = shards.flatMap((shard) => shard.groups).filter((one) => !one.name.startsWith(PROBES));
  const lag = Math.max(0, ...groups.map((one) => one.lag + one.pending));
  const isLate = groups.some((one) => one.oldestMs > LATE_MS);
  const dead = sum((shard) => shard.deadLetters);
  const newest = Math.min(...shards.map((shard) => shard.newestDeadLetterMs ?? Infinity));
  return [
    tile("Ringing", whole(sum((shard) => shard.pendingInvites)), "invites, legs of groups among them"),
    tile(
      "Oldest event",
      waiting || oldest ? duration(oldest) : "none",
      `${plural(waiting, "event")} waiting`,
      oldest > 2 * SLOW_MS ? "CRITICAL" : oldest > SLOW_MS ? "WARNING" : "OK",
    ),
    tile(
      "Workers",
      whole(workers.length - gone),
      gone ? `${whole(gone)} gone` : worker.ready ? "this one is ready" : "this one is not ready",
      workers.length === gone ? "CRITICAL" : worker.ready ? "OK" : "WARNING",
    ),
    tile(
      "Gateway groups",
      whole(new Set(groups.map((one) => one.name)).size),
      groups.length ? `up to ${plural(lag, "notification")} waiting` : "nobody reads notifications",
      isLate ? "WARNING" : "OK",
    ),
    tile(
      "Dead letters",
      whole(dead),
      dead ? `the last one ${duration(newest)} ago` : "nothing has failed",
      newest <= 3_600_000 ? "WARNING" : "OK",
    ),
    sippo === null
      ? tile("sippo-server", "not used", "not configured")
      : tile(
          "sippo-server",
          sippo.failing.length ? "away" : "up",
          sippo.failing.length ? `not asked: ${sippo.failing.join(", ")}` : "as this worker sees it",
          sippo.failing.length ? "WARNING" : "OK",
        ),
  ];
}

function tile(name, value, more, level = "OK") {
  return h(
    "li",
    { class: "tile", "data-level": level, "data-key": name },
    h("span", { class: "tile-name" }, name),
    h("span", { class: "tile-value" }, value),
    h(
      "span",
      { class: "tile-more" },
      level !== "OK" && h("span", { class: "unseen" }, `${WORDS[level]}: `),
      more,
    ),
  );
}

/** The workers of all shards, each once: alive if it is in one, with its last commit in any. */
export function workersOf(shards) {
  const found = new Map();
  for (const shard of shards)
    for (const one of shard.consumers ?? []) {
      const before = found.get(one.name) ?? {
        name: one.name,
        alive: false,
        idleMs: Infinity,
        pending: 0,
        announced: null,
      };
      const [known, other] = [before.announced, one.announced];
      found.set(one.name, {
        name: one.name,
        alive: before.alive || one.alive,
        idleMs: Math.min(before.idleMs, one.idleMs),
        pending: before.pending + one.pending,
        announced:
          known && other
            ? { ...known, lastCommit: Math.max(known.lastCommit ?? 0, other.lastCommit ?? 0) || null }
            : (known ?? other),
      });
    }
  return [...found.values()]
    .filter((one) => one.alive || one.pending || one.idleMs < LOST_MS)
    .sort((one, other) => one.name.localeCompare(other.name));
}
