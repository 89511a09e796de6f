import { randomUUID } from "node:crypto";

import { Answers } from "./answers.js";
import { type Client, Connection } from "./connection.js";
import { type Answer, EVENT_TYPES, type EventPayloads } from "./contract.js";
import { type EventType, checkShards, routingKey, shardOf, streamOf } from "./routing.js";
import { ShardCount, reaches, takesFrom } from "./shard-count.js";

const WITHIN_MS = 10_000;
const REPEAT_MS = 3_000;

export interface PublisherOptions {
  /** The workers' `redis.shards`. `publish` also works with a smaller number, a little slower; a larger one is refused. */
  shards?: number;
  /** The workers' `redis.prefix`. */
  prefix?: string;
  /** Is called once if the server's user may not read the number of shards. */
  onError?: (error: Error) => void;
}

export interface Within {
  /** How long to try, in ms. */
  withinMs?: number;
}

/** The events that get an `answer`. */
export type AskType = "accept" | "decline" | "silence" | "stopInvite" | "getInvitations";
const ASK_TYPES: ReadonlySet<string> = new Set(["accept", "decline", "silence", "stopInvite", "getInvitations"]);

/** Writes events into the streams of the right shards, over connections of its own. */
export class Publisher {
  readonly #connection: Connection;
  readonly #answers: Answers;
  readonly #count: ShardCount;
  readonly #shards: number;
  readonly #prefix: string;

  constructor(redis: Client, { shards = 1, prefix = "invites", onError }: PublisherOptions = {}) {
    this.#shards = checkShards(shards);
    this.#prefix = prefix;
    this.#connection = new Connection(redis);
    const keys = Array.from({ length: shards }, (_, shard) => streamOf(prefix, shard, "notifications"));
    this.#answers = new Answers(redis, keys);
    this.#count = new ShardCount(this.#connection, prefix, shards, onError ?? ((error) => console.error(error.message)));
  }

  /**
   * Publish an event and return its entry id. Tries again while the server is unreachable or full.
   *
   * If a reply is lost, the event may be published twice; the contract's rules expect that. Rejects with a
   * TypeError if the
   * type is unknown or the routing key no text, with the server's error if it refuses the event, with an Error if the
   * workers have fewer shards, and after `withinMs` (10,000), when it is not known whether the event was published.
   */
  async publish<Type extends EventType>(
    type: Type,
    payload: EventPayloads[Type],
    { withinMs = WITHIN_MS }: Within = {},
  ): Promise<string> {
    if (!EVENT_TYPES.has(type)) throw new TypeError(`${type} is no type of event.`);
    const stream = streamOf(this.#prefix, shardOf(routingKey(type, payload), this.#shards), "events");
    const text = JSON.stringify(payload);
    await this.#count.check(takesFrom, withinMs);
    const entry = await this.#connection.insist(
      `the event ${type}`,
      (redis) => redis.xadd(stream, "*", "type", type, "payload", text),
      withinMs,
    );
    return String(entry);
  }

  /**
   * Publish an event of a peer, and return the payload of its `answer`. The event is repeated every 3 s until then.
   *
   * Sets a unique `transaction` if there is none. Rejects with an Error if there is no answer after `withinMs` (10,000),
   * or if the workers have another number of shards: the answer may be in any shard.
   * The server's user must be allowed to read notifications. The first call opens connections that stay until `close`.
   */
  async ask<Type extends AskType>(
    type: Type,
    payload: EventPayloads[Type],
    { withinMs = WITHIN_MS }: Within = {},
  ): Promise<Answer> {
    if (!ASK_TYPES.has(type)) throw new TypeError(`${type} gets no answer: publish it.`);
    const peer = payload.peer?.id;
    if (typeof peer !== "string") throw new TypeError(`${type} gets an answer only with a peer.`);
    const deadline = performance.now() + withinMs;
    const transaction = payload.transaction ?? randomUUID();
    await this.#count.check(reaches, withinMs);
    await this.#answers.open(withinMs);
    const { answer, forget } = this.#answers.expect(peer, transaction);
    try {
      for (let left = deadline - performance.now(); left > 0; left = deadline - performance.now()) {
        await this.publish(type, { ...payload, transaction }, { withinMs: left });
        const found = await this.#connection.wait(Math.min(REPEAT_MS, deadline - performance.now()), answer);
        if (found) return found;
        await this.#count.check(reaches, deadline - performance.now()); // as before: a reshard may be over
      }
    } finally {
      forget();
    }
    throw new Error(`The peer ${peer} got no answer to ${type} within ${withinMs} ms.`);
  }

  /** Abandon unfinished calls, and close the connections. */
  close(): void {
    this.#answers.close();
    this.#connection.close();
  }
}
