import { setMaxListeners } from "node:events";

import type { Cluster, Redis, RedisOptions } from "ioredis";

/** The application's connection. The classes use duplicates of it and leave it alone. */
export type Client = Redis | Cluster;

/** How long a reply may take (ms) before the connection counts as broken. */
const REPLY_MS = 5_000;
const LONGEST_PAUSE_MS = 2_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Temporary refusals: the server loads, fails over, is full, or runs a script. */
const PASSING = new Set(
  "LOADING BUSY READONLY MASTERDOWN CLUSTERDOWN TRYAGAIN MOVED ASK OOM MISCONF NOREPLICAS".split(" "),
);

/**
 * One connection of its own, made like the application's.
 *
 * A command fails as soon as its connection is lost. It is never queued or sent again behind the caller's
 * back: the caller decides whether to repeat it.
 */
export class Connection {
  readonly #redis: Redis;
  readonly #closed = new AbortController();
  readonly #onAway: (error: Error) => void;
  #lastError: Error | undefined;
  #away = false;

  /** `onAway` is called once each time that the server becomes unreachable. */
  constructor(client: Client, onAway: (error: Error) => void = () => {}) {
    this.#redis = duplicate(client);
    this.#onAway = onAway;
    this.#redis.setMaxListeners(0);
    this.#redis.on("error", (error: Error) => (this.#lastError = error));
    this.#redis.on("ready", () => (this.#lastError = undefined));
    setMaxListeners(0, this.#closed.signal);
  }

  /** Run a command once. Waits `readyMs` for the connection, then `replyMs` for the reply. */
  async run<Reply>(
    command: (redis: Redis) => Promise<Reply>,
    { readyMs = REPLY_MS, replyMs = REPLY_MS } = {},
  ): Promise<Reply> {
    await this.#ready(readyMs);
    const reply = command(this.#redis);
    const hung = setTimeout(() => this.#redis.disconnect(true), Math.max(replyMs, REPLY_MS)).unref();
    reply.finally(() => clearTimeout(hung)).catch(() => {});
    try {
      const found = await this.wait(replyMs, reply);
      if (found === undefined) throw new Error(`no reply within ${Math.round(replyMs)} ms`);
      this.#away = false;
      return found;
    } catch (error) {
      this.#notice(error as Error);
      throw error;
    }
  }

  /**
   * Run a command that may run twice until it succeeds. Throws the server's refusal, and after `withinMs`, or
   * once the connection is closed, an Error that names `what` it was.
   */
  async insist<Reply>(
    what: string,
    command: (redis: Redis) => Promise<Reply>,
    withinMs = Number.POSITIVE_INFINITY,
  ): Promise<Reply> {
    const deadline = performance.now() + withinMs;
    for (let failures = 1; ; failures++) {
      const left = deadline - performance.now();
      let failure: Error;
      try {
        return await this.run(command, { readyMs: Math.min(left, REPLY_MS), replyMs: Math.min(left, REPLY_MS) });
      } catch (error) {
        failure = error as Error;
      }
      if (this.#closed.signal.aborted) throw new Error(`The connection was closed before ${what} was done.`);
      if (!isPassing(failure)) throw failure;
      await this.wait(Math.min(backOff(failures), deadline - performance.now()));
      if (performance.now() >= deadline) {
        throw new Error(`The server did not confirm ${what} within ${withinMs} ms (${this.#reason(failure)}).`);
      }
    }
  }

  /** Wait for `ms`, or for a promise; undefined if the time is over or the connection is closed first. */
  async wait<Result>(ms: number, promise?: Promise<Result>): Promise<Result | undefined> {
    const { signal } = this.#closed;
    return await new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", stop);
        act();
      };
      const stop = (): void => settle(() => resolve(undefined));
      const timer = setTimeout(stop, Math.max(0, Math.min(ms, LONGEST_TIMER_MS)));
      signal.addEventListener("abort", stop);
      if (signal.aborted) stop();
      promise?.then(
        (result) => settle(() => resolve(result)),
        (error: unknown) => settle(() => reject(error)),
      );
    });
  }

  close(): void {
    this.#closed.abort();
    this.#redis.disconnect();
  }

  async #ready(ms: number): Promise<void> {
    const redis = this.#redis;
    if (redis.status === "ready" || this.#closed.signal.aborted) return;
    if (redis.status === "wait" || redis.status === "end") redis.connect().catch(() => {});
    let arrived = (): void => {};
    const ready = new Promise<void>((resolve) => (arrived = resolve));
    redis.once("ready", arrived);
    await this.wait(ms, ready);
    redis.off("ready", arrived);
  }

  #notice(failure: Error): void {
    const before = this.#away;
    this.#away = isPassing(failure);
    if (this.#away && !before && !this.#closed.signal.aborted) {
      this.#onAway(new Error(`The server is unreachable (${this.#reason(failure)}).`));
    }
  }

  /** The cause of a failure. The errors of ioredis for a command that it did not write, or gave up, are no cause. */
  #reason(failure: Error): string {
    const cause = this.#redis.status === "ready" ? failure : this.#lastError;
    if (!cause || cause.name === "MaxRetriesPerRequestError") return "no connection";
    const { lastNodeError, code } = cause as { lastNodeError?: Error; code?: string };
    return (lastNodeError ?? cause).message || code || cause.name;
  }
}

/** Connections to block on, each with the shards that it can wait for at once: in a cluster they may be apart. */
export function lanes<Stream>(
  client: Client,
  streams: readonly Stream[],
  onAway?: (error: Error) => void,
): { connection: Connection; streams: readonly Stream[] }[] {
  const parts = client.isCluster ? streams.map((stream) => [stream]) : [streams];
  return parts.map((part) => ({ connection: new Connection(client, onAway), streams: part }));
}

/** The first word of the server's refusal of a command; undefined for other errors. */
export function refusal(error: unknown): string | undefined {
  const { name, message } = error as Error;
  return name === "ReplyError" ? message.split(" ", 1)[0] : undefined;
}

/** How long to wait (ms) after this many failures. */
export function backOff(failures: number): number {
  return Math.min(25 * 2 ** Math.min(failures, 10), LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
}

/** Whether the same command may succeed later: the server is unreachable, or refuses it for a while. */
export function isPassing(error: Error): boolean {
  const word = refusal(error);
  return word === undefined || PASSING.has(word);
}

function duplicate(client: Client): Redis {
  // README.md gives the reason for each of these.
  const connection = {
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 3_000,
    disconnectTimeout: 500,
    commandTimeout: undefined,
    socketTimeout: undefined,
    blockingTimeout: undefined,
    enableAutoPipelining: false,
    keyPrefix: "",
    stringNumbers: false,
    protocol: 2,
    replyMapping: "legacy",
    reconnectOnError: (error: Error) => error.message.startsWith("READONLY"),
  };
  const whole = { lazyConnect: true, enableOfflineQueue: false, enableAutoPipelining: false, keyPrefix: "" };
  if (!client.isCluster) {
    return (client as Redis).duplicate({ ...connection, ...whole, retryStrategy: backOff } as object as RedisOptions);
  }
  const cluster = client as Cluster;
  const options = {
    ...whole,
    redisOptions: { ...cluster.options.redisOptions, ...connection },
    clusterRetryStrategy: backOff,
    clusterNodeRetryStrategy: null,
    scaleReads: "master",
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
  };
  return cluster.duplicate([], options as object as Parameters<Cluster["duplicate"]>[1]) as object as Redis;
}
