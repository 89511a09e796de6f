import { type Client, Connection, backOff, lanes, refusal } from "./connection.js";
import type { Answer } from "./contract.js";
import { type RawReply, decode, isBefore, pairs } from "./entries.js";
import { Page } from "./page.js";

const BLOCK_MS = 2_000;
const COUNT = 100;

interface Stream {
  readonly shard: number;
  readonly key: string;
  /** The last entry that was read; undefined before the first look. */
  position: string | undefined;
}

/** Listens for answers in the notifications of all shards, without a group. */
export class Answers {
  readonly #client: Client;
  readonly #keys: readonly string[];
  readonly #expected = new Map<string, Set<(answer: Answer) => void>>();
  #lanes: { connection: Connection; streams: readonly Stream[] }[] = [];
  #opening: Promise<void> | undefined;
  #closed = false;

  /** `keys` are the notifications' streams, in the order of their shards. */
  constructor(client: Client, keys: readonly string[]) {
    this.#client = client;
    this.#keys = keys;
  }

  /** Find out where the streams end now, and listen from there until `close`. Only the first call has an effect. */
  async open(withinMs: number): Promise<void> {
    this.#opening ??= this.#open(withinMs);
    try {
      await this.#opening;
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  /** The answer that a peer gets to a transaction. Call `forget` once it is no longer wanted. */
  expect(peer: string, transaction: string | number): { answer: Promise<Answer>; forget: () => void } {
    const name = nameOf(peer, transaction);
    let told: (answer: Answer) => void = () => {};
    const answer = new Promise<Answer>((resolve) => (told = resolve));
    const all = this.#expected.get(name) ?? new Set();
    this.#expected.set(name, all.add(told));
    const forget = (): void => {
      all.delete(told);
      if (all.size === 0 && this.#expected.get(name) === all) this.#expected.delete(name);
    };
    return { answer, forget };
  }

  close(): void {
    this.#closed = true;
    for (const { connection } of this.#lanes) connection.close();
  }

  async #open(withinMs: number): Promise<void> {
    if (this.#closed) throw new Error("The publisher is closed.");
    const streams = this.#keys.map((key, shard) => ({ shard, key, position: undefined }));
    const opened = lanes(this.#client, streams);
    this.#lanes = opened;
    try {
      const found = opened.map(({ connection, streams: part }) => findEnds(connection, part, withinMs));
      await Promise.all(found);
    } catch (error) {
      for (const { connection } of opened) connection.close();
      throw error;
    }
    for (const { connection, streams: part } of opened) void this.#listen(connection, part);
  }

  async #listen(connection: Connection, streams: readonly Stream[]): Promise<void> {
    const page = new Page(COUNT);
    const byKey = new Map(streams.map((stream) => [stream.key, stream]));
    for (let failures = 0; !this.#closed; ) {
      try {
        if (failures > 0) await findEnds(connection, streams);
        const where = [...byKey.keys(), ...streams.map(({ position }) => position ?? "0-0")];
        const reply = (await page.sized((count) =>
          connection.run((redis) => redis.xread("COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", ...where), {
            replyMs: BLOCK_MS + 5_000,
          }),
        )) as RawReply;
        for (const [key, entries] of reply ?? []) {
          for (const [entry, fields] of entries) this.#take(byKey.get(key)!, entry, fields);
        }
        failures = 0;
      } catch {
        await connection.wait(backOff(++failures));
      }
    }
  }

  #take(stream: Stream, entry: string, fields: string[] | null): void {
    stream.position = entry;
    if (!fields || pairs(fields).type !== "answer") return;
    let found;
    try {
      found = decode(stream.shard, entry, fields);
    } catch {
      return; // Notifications reports what cannot be decoded
    }
    const { transaction } = found.payload as Answer;
    if (transaction === undefined) return;
    for (const peer of found.peers) {
      for (const told of this.#expected.get(nameOf(peer, transaction)) ?? []) told(found.payload as Answer);
    }
  }
}

function nameOf(peer: string, transaction: string | number): string {
  return JSON.stringify([peer, transaction]);
}

/** Move each position that is unknown, or beyond the end of its stream, to that end. */
async function findEnds(connection: Connection, streams: readonly Stream[], withinMs?: number): Promise<void> {
  for (const stream of streams) {
    const end = await connection.insist("a look at the notifications", (redis) => endOf(redis, stream.key), withinMs);
    if (stream.position === undefined || isBefore(end, stream.position)) stream.position = end;
  }
}

async function endOf(redis: { xinfo: (word: "STREAM", key: string) => Promise<unknown> }, key: string): Promise<string> {
  try {
    return String(pairs((await redis.xinfo("STREAM", key)) as unknown[])["last-generated-id"]);
  } catch (error) {
    if (refusal(error) === "ERR") return "0-0"; // there is no such stream yet
    throw error;
  }
}
