// What people read.

const two = (number) => String(number).padStart(2, "0");

/** The time of day. */
export function clock(ms, withMs = false) {
  if (ms === null || ms === undefined) return "";
  const date = new Date(ms);
  const seconds = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return withMs ? `${seconds}.${String(date.getMilliseconds()).padStart(3, "0")}` : seconds;
}

/** The time of day, with the date unless it is today's. */
export function moment(ms) {
  const date = new Date(ms);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday
    ? clock(ms)
    : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(ms)}`;
}

/** How long something has taken. */
export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1_000)} s`;
  return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`;
}

export const whole = (number) => number.toLocaleString("en");

export const plural = (number, one, several = `${one}s`) =>
  `${whole(number)} ${number === 1 ? one : several}`;

/** How full the memory is. */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; number >= 1024 && unit < units.length - 1; unit += 1) number /= 1024;
  return `${number.toFixed(unit && number < 10 ? 1 : 0)} ${units[unit]}`;
}

const STATES = {
  PENDING: "Rings",
  ACCEPTED: "Answered",
  DECLINED: "Declined",
  DECLINED_BY_CREATOR: "Cancelled",
  DECLINED_BY_TIMEOUT: "No answer",
};

const LOOKS = {
  PENDING: "rings",
  ACCEPTED: "good",
  DECLINED: "bad",
  DECLINED_BY_CREATOR: "dim",
  DECLINED_BY_TIMEOUT: "dim",
};

const UNREACHED = new Set(["not_found", "unreachable"]);
const isUnreached = ({ state, reason }) => state === "DECLINED" && UNREACHED.has(reason);

/** How an invite is doing, or has ended. */
export const stateOf = (invite) =>
  isUnreached(invite) ? "Not reached" : (STATES[invite.state] ?? invite.state ?? "Unknown");
export const lookOf = (invite) => (isUnreached(invite) ? "dim" : (LOOKS[invite.state] ?? "dim"));
export const readable = (reason) => (reason ?? "").replaceAll("_", " ");
