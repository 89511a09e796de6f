import type { EventPayloads } from "./contract.js";

export type EventType = keyof EventPayloads;

/** The id that decides the shard of an event. Throws a TypeError if it is missing or no text. */
export function routingKey<Type extends EventType>(type: Type, payload: EventPayloads[Type]): string {
  const [field, key] = keyOf(type, payload as Fields);
  if (typeof key !== "string" || key === "") {
    throw new TypeError(`${type} needs a text in ${field}, which decides its shard.`);
  }
  return key;
}

/** The shard of a routing key: the CRC-32, as in zlib, of its UTF-8, modulo the number of shards. */
export function shardOf(key: string, shards: number): number {
  return crc32(Buffer.from(key, "utf8")) % shards;
}

/** Throws a RangeError unless it is a number of shards. */
export function checkShards(shards: number): number {
  if (!Number.isSafeInteger(shards) || shards < 1) {
    throw new RangeError(`shards must be a whole number of at least 1, not ${shards}.`);
  }
  return shards;
}

export function streamOf(prefix: string, shard: number, stream: "events" | "notifications"): string {
  return `${prefix}:{${shard}}:${stream}`;
}

type Fields = Record<string, any>;

/** The field that holds the routing key, and what is in it. */
function keyOf(type: EventType, payload: Fields): [string, unknown] {
  switch (type) {
    case "invite":
      // A returned phone leg belongs to the invite that it is part of: the callee is the last part of its
      // ref.
      if (typeof payload.returnOf === "string") return ["returnOf", payload.returnOf.split("|")[2]];
      return ["to", payload.to];
    case "inviteRequest":
      return ["to", payload.to];
    case "ringing":
    case "accept":
    case "decline":
    case "silence":
      return payload.to ? ["to", payload.to] : ["peer.user", payload.peer?.user];
    case "stopInvite":
      return ["callee", payload.callee];
    case "registered":
      return ["registry.user", payload.registry?.user];
    case "joined":
    case "left":
    case "roomClosed":
      return ["roomId", payload.roomId];
    case "userState":
    case "callsSeen":
      return ["userId", payload.userId];
    case "getInvitations":
    case "unregistered":
    case "disconnected":
      return ["peer.user", payload.peer?.user];
  }
}

// zlib.crc32 exists from Node 20.15 and 22.2.
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ TABLE[(value ^ byte) & 0xff]!;
  return (value ^ 0xffffffff) >>> 0;
}
