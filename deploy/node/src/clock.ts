import { type Connection, refusal } from "./connection.js";

/** The server's time, or this machine's if the server's user may not ask for it. */
export class ServerClock {
  readonly #connection: Connection;
  #ahead: number | undefined;
  #refused = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Ask the server. A refusal is final: each would be noted in the server's ACL LOG. */
  async set(): Promise<void> {
    if (this.#refused) return;
    try {
      const [seconds, microseconds] = await this.#connection.run((redis) => redis.time());
      this.#ahead = Number(seconds) * 1_000 + Number(microseconds) / 1_000 - performance.now();
    } catch (error) {
      this.#refused = refusal(error) === "NOPERM";
    }
  }

  /** ms since 1970 */
  now(): number {
    return this.#ahead === undefined ? Date.now() : this.#ahead + performance.now();
  }
}
