import type { NotificationPayloads } from "./contract.js";

export type NotificationType = keyof NotificationPayloads;

/** A notification of one type. */
export interface NotificationOf<Type extends NotificationType> {
  /** The same when the notification is delivered again. */
  readonly id: string;
  readonly type: Type;
  readonly peers: readonly string[];
  readonly users: readonly string[];
  readonly payload: NotificationPayloads[Type];
  /** Where it is stored: the shard, and the entry id in the shard's stream. */
  readonly shard: number;
  readonly entry: string;
}

/** A notification; `type` says which. A later contract may send types that are not listed: ignore those. */
export type Notification = { [Type in NotificationType]: NotificationOf<Type> }[NotificationType];

/** Entries as XREAD and its relatives return them. Fields are null where an entry was trimmed while it was pending. */
export type RawEntry = [entry: string, fields: string[] | null];
export type RawReply = [key: string, entries: RawEntry[]][] | null;

/** Decode the fields of an entry. Throws an Error that names what is wrong. */
export function decode(shard: number, entry: string, fields: readonly string[]): Notification {
  const { id, type, peers, users, payload } = pairs(fields) as Record<string, string | undefined>;
  const wrong = (what: string): Error => new Error(`The notification ${entry} of shard ${shard} has ${what}.`);
  if (id === undefined) throw wrong("no id");
  if (type === undefined) throw wrong("no type");
  const found = parse(payload);
  if (typeof found !== "object" || found === null || Array.isArray(found)) {
    throw wrong("a payload that is no JSON object");
  }
  const names = [peers, users].map(parse);
  if (!names.every(isNames)) throw wrong("peers or users that are no JSON list of texts");
  return { id, type, peers: names[0], users: names[1], payload: found, shard, entry } as Notification;
}

/** A flat reply `[name, value, …]` by name. */
export function pairs(flat: readonly unknown[]): Record<string, unknown> {
  const found: Record<string, unknown> = Object.create(null);
  for (let at = 0; at + 1 < flat.length; at += 2) found[String(flat[at])] = flat[at + 1];
  return found;
}

/** When the server wrote an entry (ms since 1970). */
export function writtenAt(entry: string): number {
  return Number(entry.split("-", 1)[0]);
}

/** Whether an entry id comes before another one. */
export function isBefore(entry: string, other: string): boolean {
  const [ms = 0n, sequence = 0n] = entry.split("-").map(BigInt);
  const [otherMs = 0n, otherSequence = 0n] = other.split("-").map(BigInt);
  return ms === otherMs ? sequence < otherSequence : ms < otherMs;
}

function parse(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}

function isNames(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}
