import { randomUUID } from "node:crypto";

import type { Redis } from "ioredis";

import { type Connection, refusal } from "./connection.js";
import { isBefore, pairs } from "./entries.js";

const TEMPORARY = "temporary:";
const DEAD_AFTER_MS = 5 * 60_000;

/** The notifications of one shard, as one group reads them. */
export interface Stream {
  readonly shard: number;
  readonly key: string;
  /** The last entry that was read as a new one. */
  position: string;
}

/** A consumer group, with the same name in the streams of all shards, and one consumer in it. */
export class Group {
  readonly name: string;
  readonly consumer: string;
  readonly #temporary: boolean;
  readonly #connection: Connection;

  /** Without a `name` the group is a temporary one of this process. */
  constructor(connection: Connection, name?: string, consumer?: string) {
    this.#connection = connection;
    this.#temporary = name === undefined;
    this.name = name ?? TEMPORARY + randomUUID();
    this.consumer = consumer ?? (this.#temporary ? "reader" : this.name);
  }

  /** Make sure that it exists; a new one begins at the end of the stream. */
  async open(stream: Stream): Promise<void> {
    if (this.#temporary) await this.#destroyDead(stream);
    await this.#create(stream, "$");
    const own = await this.#own(stream);
    if (own) stream.position = String(own["last-delivered-id"]);
  }

  /**
   * Create it again after it was lost: at the last entry that was read if the stream still reaches that far.
   * Otherwise the stream is a new one, and so is everything in it.
   */
  async restore(stream: Stream): Promise<void> {
    const end = pairs(await this.#info("STREAM", stream))["last-generated-id"];
    const reaches = typeof end === "string" && !isBefore(end, stream.position);
    await this.#create(stream, reaches ? stream.position : "0");
  }

  /** Remove a temporary one; any other stays and collects entries. */
  async close(stream: Stream): Promise<void> {
    if (this.#temporary) await this.#connection.run((redis) => redis.xgroup("DESTROY", stream.key, this.name));
  }

  /** Looks first: a server that is out of memory refuses the command even if the group exists. */
  async #create(stream: Stream, position: string): Promise<void> {
    if (await this.#own(stream)) return;
    const { key } = stream;
    try {
      await this.#insist((redis) => redis.xgroup("CREATE", key, this.name, position, "MKSTREAM"));
    } catch (error) {
      if (refusal(error) !== "BUSYGROUP") throw error;
    }
    // A process that looks for dead groups sees a young consumer.
    await this.#insist((redis) => redis.xgroup("CREATECONSUMER", key, this.name, this.consumer));
  }

  /** Destroy temporary groups in which nobody has read for a while: their processes are dead. */
  async #destroyDead(stream: Stream): Promise<void> {
    for (const { name } of await this.#infos("GROUPS", stream)) {
      if (!String(name).startsWith(TEMPORARY)) continue;
      try {
        await this.#destroyIfDead(stream, String(name));
      } catch (error) {
        if (refusal(error) !== "NOGROUP") throw error; // another process has destroyed it
      }
    }
  }

  async #destroyIfDead(stream: Stream, group: string): Promise<void> {
    const { key } = stream;
    const consumers = await this.#infos("CONSUMERS", stream, group);
    if (consumers.length === 0) {
      // Its process may be about to read. This consumer's idle time tells the next process that looks how
      // long it has been so.
      await this.#insist((redis) => redis.xgroup("CREATECONSUMER", key, group, "watched"));
    } else if (consumers.every(({ idle }) => Number(idle) > DEAD_AFTER_MS)) {
      await this.#insist((redis) => redis.xgroup("DESTROY", key, group));
    }
  }

  async #own(stream: Stream): Promise<Record<string, unknown> | undefined> {
    return (await this.#infos("GROUPS", stream)).find(({ name }) => name === this.name);
  }

  async #infos(what: "GROUPS" | "CONSUMERS", stream: Stream, ...more: string[]): Promise<Record<string, unknown>[]> {
    return ((await this.#info(what, stream, ...more)) as unknown[][]).map(pairs);
  }

  /** An empty reply if the stream does not exist. */
  async #info(what: "GROUPS" | "CONSUMERS" | "STREAM", stream: Stream, ...more: string[]): Promise<unknown[]> {
    try {
      return (await this.#insist((redis) => redis.call("XINFO", what, stream.key, ...more))) as unknown[];
    } catch (error) {
      if (refusal(error) === "ERR") return [];
      throw error;
    }
  }

  async #insist<Reply>(command: (redis: Redis) => Promise<Reply>): Promise<Reply> {
    return await this.#connection.insist(`the work on the group ${this.name}`, command);
  }
}
