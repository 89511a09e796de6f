import { type Connection, isPassing, refusal } from "./connection.js";

const EVERY_MS = 5_000;
const AGAIN_MS = 500;
/** The server keeps a log of denied commands. */
const DENIED_MS = 60_000;
/** In a cluster the number may be on another server than the event. */
const WAIT_MS = 1_000;

/** What the key `layout` says: the number of shards, and during `invites reshard` the target. */
interface Layout {
  readonly shards: number;
  readonly target: number;
}

/** Whether workers read all streams of a publisher with this number. With fewer streams it reaches them, too. */
export const takesFrom = ({ target }: Layout, shards: number): boolean => shards <= target;

/** Whether a reader of this number of shards misses nothing. */
export const reaches = (layout: Layout, shards: number): boolean =>
  shards === layout.shards || shards >= layout.target;

/** Compares a client's number of shards with the server's, as last read. `invites reshard` changes that. */
export class ShardCount {
  readonly #connection: Connection;
  readonly #key: string;
  readonly #shards: number;
  readonly #onError: (error: Error) => void;
  #found: string | undefined;
  #known = false;
  #refused = false;
  #looking: Promise<void> | undefined;
  #nextLook = 0;
  #waitUntil = 0;

  /** `onError` is called once if the server's user may not read the number. */
  constructor(connection: Connection, prefix: string, shards: number, onError: (error: Error) => void) {
    this.#connection = connection;
    this.#key = `${prefix}:{0}:layout`;
    this.#shards = shards;
    this.#onError = onError;
  }

  /** Read the number; waits for an unreachable server. */
  async look(): Promise<void> {
    await this.#read(() => this.#connection.insist("a look at the number of shards", (redis) => this.#get(redis)));
  }

  /**
   * Throw an Error if the number does not suit.
   *
   * Reads it at most every 5 s, and only waits for it (1 s and `withinMs` at most) if none is known or the known one does not suit. A
   * number that cannot be read, or that no worker has written yet, suits.
   */
  async check(suits: (layout: Layout, shards: number) => boolean, withinMs = WAIT_MS): Promise<void> {
    const now = performance.now();
    if (!this.#looking && now >= this.#nextLook) {
      this.#waitUntil = now + WAIT_MS;
      const look = this.#read(() => this.#connection.run((redis) => this.#get(redis), { readyMs: WAIT_MS }));
      this.#looking = look.finally(() => (this.#looking = undefined));
    }
    if (this.#looking && (!this.#known || this.#wrong(suits))) {
      await this.#connection.wait(Math.min(this.#waitUntil - now, withinMs), this.#looking);
    }
    const wrong = this.#wrong(suits);
    if (wrong) throw wrong;
  }

  async #get(redis: { get: (key: string) => Promise<string | null> }): Promise<string> {
    return (await redis.get(this.#key)) ?? "";
  }

  async #read(get: () => Promise<string>): Promise<void> {
    let waitMs = EVERY_MS;
    try {
      this.#found = (await get()) || undefined;
    } catch (error) {
      if (isPassing(error as Error)) {
        this.#nextLook = performance.now() + AGAIN_MS; // events and notifications meet the same error, and report it
        return;
      }
      const reason = refusal(error) === "NOPERM" ? "may not" : "cannot";
      const said = `The server's user ${reason} GET ${this.#key}, so a wrong number of shards goes unnoticed.`;
      if (!this.#refused) this.#onError(new Error(said));
      this.#refused = true;
      waitMs = DENIED_MS;
    }
    this.#known = true;
    this.#nextLook = performance.now() + waitMs;
  }

  #wrong(suits: (layout: Layout, shards: number) => boolean): Error | undefined {
    if (this.#found === undefined) return undefined;
    const parts = /^(\d+)(?:>(\d+))?$/.exec(this.#found);
    if (!parts) {
      return new Error(`The key ${this.#key} is ${JSON.stringify(this.#found)}, which is no number of shards.`);
    }
    const now = Number(parts[1]);
    const target = parts[2] === undefined ? now : Number(parts[2]);
    if (suits({ shards: now, target }, this.#shards)) return undefined;
    const where = target === now ? `are in ${counted(now)}` : `are being moved from ${counted(now)} to ${target}`;
    return new Error(
      `The calls in Redis ${where}, but the client's shards is ${this.#shards}: set the client's shards to ${target}, ` +
        "or change the number of shards with `invites reshard`.",
    );
  }
}

function counted(shards: number): string {
  return shards === 1 ? "1 shard" : `${shards} shards`;
}
