// What people read.

const CANCELLED = {
  accepted_elsewhere: "Answered elsewhere",
  declined_elsewhere: "Declined elsewhere",
  busy_elsewhere: "Busy elsewhere",
  cancelled: "Missed call",
  timeout: "Missed call",
  caller_gone: "Missed call",
  room_closed: "The room was closed",
  taken_over: "Rings on under a new connection",
  replaced: "Called again",
  unreachable: "Not reachable",
};

const REJECTED = {
  declined: "Declined",
  busy: "Busy",
  not_found: "Nobody there",
  unreachable: "Not reachable",
  timeout: "No answer",
  cancelled: "Cancelled",
  caller_gone: "The connection was lost for too long",
  too_many: "Too many calls",
  forbidden: "Not allowed",
  internal: "Something failed",
};

export const whyStopped = (reason) => CANCELLED[reason] ?? "Stopped";
export const whyRejected = (reason) => REJECTED[reason] ?? "Ended";

export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** How long a key lives. */
export function lifetime(ms) {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

export function whole(number) {
  return Math.round(number).toLocaleString("en");
}
