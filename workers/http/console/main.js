// The console: asks the worker every two seconds, and shows the answers.

import { Away, get, Refused, token } from "./api.js";
import { Calls } from "./calls.js";
import { chosen } from "./hash.js";
import { showMinutes } from "./minutes.js";
import { Poll } from "./poll.js";
import { showState } from "./state.js";
import { StoryPanel } from "./story.js";
import { showDeadLetters, showTables } from "./tables.js";

const OFTEN_MS = 2_000;
const SELDOM_MS = 10_000;
const DEAD_LETTERS = 20;

const element = (id) => document.getElementById(id);

let ahead = 0; // how far the worker's clock is ahead of this one (ms)
const now = () => Date.now() + ahead;
let dead = null; // how many dead letters there are

async function overview(isLate) {
  const found = await get("overview");
  if (isLate()) return 0;
  ahead = found.now - Date.now();
  const isUnlocked = !element("entry").hidden;
  element("entry").hidden = true;
  element("main").hidden = false;
  if (isUnlocked) element("main").focus();
  element("forget").hidden = token.get() === null;
  element("asked").textContent = `${found.worker.name} · ${found.worker.release}`;
  showState(found);
  showTables(found, now());
  calls.draw();
  const total = found.shards.reduce((sum, shard) => sum + shard.deadLetters, 0);
  if (total !== dead) {
    dead = total;
    letterPoll.now();
  }
  return OFTEN_MS;
}

async function letters(isLate) {
  const found = await get(`dead-letters?limit=${DEAD_LETTERS}`);
  if (!isLate()) showDeadLetters(found, dead ?? 0);
  return SELDOM_MS;
}

async function minutes(isLate) {
  const found = await get("minutes");
  if (!isLate()) showMinutes(found, now());
  return SELDOM_MS;
}

const calls = new Calls(now, () => callPoll.now());
const story = new StoryPanel();

const polls = [];
const troubles = new Map();
const poll = (step) => {
  const one = new Poll(step, (error, wait) => ended(one, error, wait));
  polls.push(one);
  return one;
};
poll(overview);
poll(minutes);
const letterPoll = poll(letters);
const callPoll = poll((isLate) => calls.step(isLate));
const storyPoll = poll((isLate) => story.step(isLate));

function ended(which, error, wait) {
  if (error instanceof Refused && error.status === 401) {
    wantsToken();
    return;
  }
  if (error !== null && !(error instanceof Refused || error instanceof Away)) console.error(error);
  if (error === null) troubles.delete(which);
  else troubles.set(which, { error, wait });
  const [worst] = troubles.values();
  element("trouble").hidden = worst === undefined;
  if (worst === undefined) {
    says("Live", "live");
    return;
  }
  const text = `${sentenceOf(worst.error)} Trying again in ${Math.round(worst.wait / 1_000)} s.`;
  if (element("trouble").textContent !== text) element("trouble").textContent = text;
  says(worst.error instanceof Away ? "Away" : "Refused", "away");
}

function sentenceOf(error) {
  if (error instanceof Away) return "This worker does not answer. This page may be out of date.";
  if (error instanceof Refused) return `The worker says: ${error.message}.`;
  return "This page has failed: reload it.";
}

function wantsToken() {
  for (const one of polls) one.stop();
  troubles.clear();
  const isWrong = token.get() !== null;
  token.forget();
  element("entry-why").textContent = isWrong
    ? "The worker rejected this token. Enter http.token from its configuration."
    : "This worker requires a token: http.token in its configuration.";
  element("entry-why").classList.toggle("wrong", isWrong);
  element("entry").hidden = false;
  element("main").hidden = true;
  element("trouble").hidden = true;
  element("forget").hidden = true;
  says("Locked", "locked");
  element("token").value = "";
  element("token").focus();
}

function says(text, look) {
  const live = element("live");
  if (live.textContent !== text) live.textContent = text;
  live.dataset.look = look;
}

function begin() {
  for (const one of polls) one.now();
}

element("entry-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.keep(element("token").value.trim());
  // No header can carry other characters.
  if (/[^\x20-\x7e]/.test(token.get())) wantsToken();
  else begin();
});
element("forget").addEventListener("click", () => {
  token.forget();
  location.reload(); // and what was shown is gone
});
element("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the call
  element("calls").focus();
});
let last = chosen();
window.addEventListener("hashchange", () => {
  if (chosen() !== null) story.focusNext();
  else calls.focus(last);
  last = chosen();
  storyPoll.now();
  calls.draw();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden && element("entry").hidden) says("Paused", "paused");
});
begin();
