import type { Connection } from "./connection.js";

const BATCH = 1_000;

/** Acknowledges entries in batches: those that come together, or while another batch is in flight. */
export class Acknowledger {
  readonly #connection: Connection;
  readonly #group: string;
  readonly #onError: (error: Error) => void;
  readonly #waiting = new Map<string, string[]>();
  #running: Promise<void> | undefined;

  constructor(connection: Connection, group: string, onError: (error: Error) => void) {
    this.#connection = connection;
    this.#group = group;
    this.#onError = onError;
  }

  add(key: string, entry: string): void {
    const waiting = this.#waiting.get(key);
    if (waiting) waiting.push(entry);
    else this.#waiting.set(key, [entry]);
    this.#running ??= this.#run();
  }

  /** Resolves when no entry waits. */
  async drain(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    await new Promise(setImmediate);
    for (let first = this.#first(); first; first = this.#first()) {
      const [key, entries] = first;
      this.#waiting.delete(key);
      const batch = entries.splice(0, BATCH);
      if (entries.length > 0) this.#waiting.set(key, entries); // at the end: no shard keeps the others waiting
      try {
        await this.#connection.insist("an acknowledgement", (redis) => redis.xack(key, this.#group, ...batch));
      } catch (error) {
        this.#onError(error as Error); // refused: the entries stay pending
      }
    }
    this.#running = undefined;
  }

  #first(): [string, string[]] | undefined {
    return this.#waiting.entries().next().value;
  }
}
