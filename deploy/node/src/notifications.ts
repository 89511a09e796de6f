import { Acknowledger } from "./acknowledger.js";
import { ServerClock } from "./clock.js";
import { type Client, Connection, backOff, isPassing, lanes, refusal } from "./connection.js";
import { type Notification, type RawEntry, type RawReply, decode, writtenAt } from "./entries.js";
import { Group, type Stream } from "./group.js";
import { Page } from "./page.js";
import { Recent } from "./recent.js";
import { checkShards, streamOf } from "./routing.js";
import { ShardCount, reaches } from "./shard-count.js";

const BLOCK_MS = 2_000;
const COUNT = 100;
const BUFFERED = 1_000;
const REMEMBERED = 10_000;
const LOOK_MS = 30_000;
const SHORTEST_LOOK_MS = 50;
const FAREWELL_MS = 2_000;

export interface NotificationsOptions {
  /** A durable group, which keeps entries while no process reads. Without it: a temporary group of this process. */
  group?: string;
  /** This process in the group; needed if several share it. The group's name by default. */
  consumer?: string;
  /** The workers' `redis.shards`. With fewer, notifications would be missed: `open` and the iteration reject. */
  shards?: number;
  /** The workers' `redis.prefix`. */
  prefix?: string;
  /** How long (ms) another consumer of the group may hold an entry before this one takes it over. */
  claimAfterMs?: number;
  /** Is called for entries that cannot be decoded, and once each time that the server is unreachable or refuses. */
  onError?: (error: Error) => void;
}

/**
 * Reads the notifications of all shards, over connections of its own.
 *
 * Iterate, and call `done` with each notification once it is delivered. Those that are not done when the
 * process ends are delivered again, to the next process of the group. Call `close` at the end.
 */
export class Notifications implements AsyncIterable<Notification> {
  readonly #client: Client;
  readonly #connection: Connection;
  readonly #group: Group;
  readonly #streams: readonly Stream[];
  readonly #claimAfterMs: number;
  readonly #onError: (error: Error) => void;
  readonly #acknowledger: Acknowledger;
  readonly #clock: ServerClock;
  readonly #count: ShardCount;
  readonly #recent = new Recent(REMEMBERED);
  readonly #unfinished = new Set<string>();
  readonly #page = new Page(COUNT);
  readonly #buffer: Notification[] = [];
  #waiting: (() => void)[] = [];
  #lanes: ReturnType<typeof lanes<Stream>> = [];
  #reading: Promise<void>[] = [];
  #opening: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #refusal: string | undefined;
  #wrong: Error | undefined;

  constructor(redis: Client, options: NotificationsOptions = {}) {
    const { group, consumer, shards = 1, prefix = "invites", claimAfterMs = 60_000, onError } = options;
    this.#client = redis;
    this.#claimAfterMs = claimAfterMs;
    this.#onError = onError ?? ((error) => console.error(error.message));
    this.#streams = Array.from({ length: checkShards(shards) }, (_, shard) => ({
      shard,
      key: streamOf(prefix, shard, "notifications"),
      position: "0-0",
    }));
    // Once there are others to read with, they notice first.
    this.#connection = new Connection(redis, (error) => this.#lanes.length === 0 && this.#onError(error));
    this.#group = new Group(this.#connection, group, consumer);
    this.#acknowledger = new Acknowledger(this.#connection, this.#group.name, (error) => this.#refused(error));
    this.#clock = new ServerClock(this.#connection);
    this.#count = new ShardCount(this.#connection, prefix, shards, this.#onError);
  }

  /**
   * Create the group and begin to read. Iterating does the same; call this before you announce devices, so
   * that nothing for them is missed. Waits for an unreachable server. Rejects if the server refuses it, or if the
   * workers have more shards.
   */
  async open(): Promise<void> {
    this.#opening ??= this.#open();
    await this.#opening;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Notification, void> {
    try {
      await this.open();
    } catch (error) {
      if (!this.#closing) throw error;
    }
    for (let next = await this.#next(); next; next = await this.#next()) yield next;
  }

  /** The notification is delivered. Acknowledges it soon; `close` waits for that. */
  done(notification: Notification): void {
    const { key } = this.#streams[notification.shard]!;
    if (this.#unfinished.delete(placeOf(key, notification.entry))) {
      this.#acknowledger.add(key, notification.entry);
    }
  }

  /** End the iteration, acknowledge done notifications, remove a temporary group, close the connections. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async #open(): Promise<void> {
    await this.#count.look();
    await this.#count.check(reaches);
    for (const stream of this.#streams) {
      if (this.#closing) return;
      await this.#group.open(stream);
    }
    if (this.#closing) return;
    this.#lanes = lanes(this.#client, this.#streams, this.#onError);
    this.#reading = this.#lanes.map(({ connection, streams }) => this.#read(connection, streams));
    void this.#look();
  }

  async #close(): Promise<void> {
    await undefined; // #closing is set from here on
    for (const { connection } of this.#lanes) connection.close();
    this.#wake();
    // Whoever creates a group must be done before it is destroyed.
    const done = Promise.allSettled([this.#opening, ...this.#reading, this.#acknowledger.drain()]);
    await this.#connection.wait(FAREWELL_MS, done);
    if (this.#opening) {
      const gone = Promise.allSettled(this.#streams.map((stream) => this.#group.close(stream)));
      await this.#connection.wait(FAREWELL_MS, gone);
    }
    this.#connection.close();
  }

  /** Read the entries that this consumer has left unfinished, then new ones, until the end. */
  async #read(connection: Connection, streams: readonly Stream[]): Promise<void> {
    let fresh = true;
    let lost = false;
    for (let failures = 0; !this.#closing && !this.#wrong; ) {
      await this.#checkShards();
      try {
        if (lost) for (const stream of streams) await this.#group.restore(stream);
        lost = false;
        if (fresh) await this.#clock.set();
        if (fresh) for (const stream of streams) await this.#readPending(connection, stream);
        fresh = false;
        await this.#room();
        await this.#readNew(connection, streams);
        failures = 0;
        this.#refusal = undefined;
      } catch (error) {
        fresh = true; // entries of a reply that was lost are pending
        lost = ["NOGROUP", "UNBLOCKED"].includes(refusal(error) ?? "");
        if (!lost) this.#refused(error as Error);
        await connection.wait(lost && failures === 0 ? 0 : backOff(failures));
        failures++;
      }
    }
  }

  async #readPending(connection: Connection, stream: Stream): Promise<void> {
    const { name, consumer } = this.#group;
    for (let entry = "0"; !this.#closing; ) {
      await this.#room();
      const reply = (await this.#page.sized((count) =>
        connection.run((redis) =>
          redis.xreadgroup("GROUP", name, consumer, "COUNT", count, "STREAMS", stream.key, entry),
        ),
      )) as RawReply;
      const entries = reply?.[0]?.[1] ?? [];
      this.#take(stream, entries);
      if (entries.length === 0) return;
      entry = entries.at(-1)![0];
    }
  }

  async #readNew(connection: Connection, streams: readonly Stream[]): Promise<void> {
    const { name, consumer } = this.#group;
    const where = [...streams.map(({ key }) => key), ...streams.map(() => ">")];
    const reply = (await this.#page.sized((count) =>
      connection.run(
        (redis) => redis.xreadgroup("GROUP", name, consumer, "COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", ...where),
        { replyMs: BLOCK_MS + 5_000 },
      ),
    )) as RawReply;
    for (const [key, entries] of reply ?? []) {
      const stream = streams.find((one) => one.key === key)!;
      this.#take(stream, entries);
      stream.position = entries.at(-1)?.[0] ?? stream.position;
    }
  }

  /** End the iteration once `invites reshard` has added shards. */
  async #checkShards(): Promise<void> {
    try {
      await this.#count.check(reaches);
    } catch (error) {
      this.#wrong = error as Error;
      this.#wake();
    }
  }

  /** Periodically take over the entries that others have left. */
  async #look(): Promise<void> {
    while (!this.#closing) {
      for (const stream of this.#streams) {
        try {
          await this.#claim(stream);
        } catch (error) {
          if (refusal(error) !== "NOGROUP") this.#refused(error as Error); // the reader creates it again
        }
      }
      await this.#clock.set();
      await this.#connection.wait(Math.max(SHORTEST_LOOK_MS, Math.min(LOOK_MS, this.#claimAfterMs)));
    }
  }

  /**
   * Asks even without room, but then for nothing: the group of a consumer that does not ask looks dead. Redis
   * before 7.2 counts a consumer that reads nothing as one that does not ask.
   */
  async #claim(stream: Stream): Promise<void> {
    const { name, consumer } = this.#group;
    for (let cursor: string | undefined = "0-0"; cursor !== undefined && !this.#closing; ) {
      const hasRoom = this.#buffer.length < BUFFERED;
      const after = hasRoom ? this.#claimAfterMs : Number.MAX_SAFE_INTEGER;
      const from: string = cursor;
      const [next, entries] = (await this.#page.sized((count) =>
        this.#connection.run((redis) => redis.xautoclaim(stream.key, name, consumer, after, from, "COUNT", count)),
      )) as [string, RawEntry[]];
      this.#take(stream, entries);
      cursor = hasRoom && next !== "0-0" ? next : undefined;
    }
  }

  #take(stream: Stream, entries: readonly RawEntry[]): void {
    for (const [entry, fields] of entries) {
      const place = placeOf(stream.key, entry);
      if (this.#unfinished.has(place)) continue;
      const found = fields?.length ? this.#decoded(stream, entry, fields) : undefined; // none: trimmed while pending
      if (found && this.#recent.add(`${found.id} ${found.type}`)) {
        this.#unfinished.add(place);
        this.#buffer.push(found);
      } else {
        this.#acknowledger.add(stream.key, entry);
      }
    }
    if (entries.length > 0) this.#wake();
  }

  #decoded(stream: Stream, entry: string, fields: readonly string[]): Notification | undefined {
    try {
      return decode(stream.shard, entry, fields);
    } catch (error) {
      this.#onError(error as Error);
      return undefined;
    }
  }

  async #next(): Promise<Notification | undefined> {
    while (!this.#closing) {
      const found = this.#buffer.shift();
      if (!found && this.#wrong) throw this.#wrong;
      if (!found) {
        await this.#woken();
        continue;
      }
      if (this.#buffer.length === BUFFERED - 1) this.#wake(); // there is room
      if (!this.#isStale(found)) return found;
      this.done(found);
    }
    return undefined;
  }

  #isStale(found: Notification): boolean {
    return found.type === "invitation" && writtenAt(found.entry) + found.payload.expiresIn <= this.#clock.now();
  }

  async #room(): Promise<void> {
    while (this.#buffer.length >= BUFFERED && !this.#closing) await this.#woken();
  }

  async #woken(): Promise<void> {
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Report the server's refusals, once until reading succeeds. The connections report an unreachable server. */
  #refused(error: Error): void {
    if (isPassing(error) || this.#refusal === error.message || this.#closing) return;
    this.#refusal = error.message;
    this.#onError(error);
  }
}

function placeOf(key: string, entry: string): string {
  return `${key} ${entry}`;
}
