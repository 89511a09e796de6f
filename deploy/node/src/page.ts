/**
 * How many entries to ask for: at most `most`, and one after a failure. A server may close a connection when a reply is
 * too large.
 */
export class Page {
  readonly #most: number;
  #size: number;

  constructor(most: number) {
    this.#most = most;
    this.#size = most;
  }

  async sized<Reply>(ask: (count: number) => Promise<Reply>): Promise<Reply> {
    try {
      const reply = await ask(this.#size);
      this.#size = Math.min(this.#most, 2 * this.#size);
      return reply;
    } catch (error) {
      this.#size = 1;
      throw error;
    }
  }
}
