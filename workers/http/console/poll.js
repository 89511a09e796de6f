// Polls: often while all is well, seldom after failures, and not at all while the tab is hidden.

const LONGEST_MS = 30_000;

export class Poll {
  #timer = 0;
  #round = 0;
  #failures = 0;
  #runs = false;

  /** `step` asks and shows, and returns after how many ms to ask again. `ended` gets its error, or null, and these ms. */
  constructor(step, ended) {
    this.step = step;
    this.ended = ended;
    document.addEventListener("visibilitychange", () => this.#runs && this.now());
  }

  /** Ask now, whatever is in flight. */
  now() {
    this.#runs = true;
    clearTimeout(this.#timer);
    this.#round += 1;
    if (!document.hidden) this.#ask(this.#round);
  }

  stop() {
    this.#runs = false;
    this.#round += 1;
    clearTimeout(this.#timer);
  }

  async #ask(round) {
    const isLate = () => round !== this.#round;
    let wait;
    try {
      wait = await this.step(isLate);
      if (isLate()) return;
      this.#failures = 0;
      this.ended(null, wait);
    } catch (error) {
      if (isLate()) return;
      this.#failures += 1;
      wait = Math.min(LONGEST_MS, 1_000 * 2 ** this.#failures);
      this.ended(error, wait);
    }
    if (!isLate()) this.#timer = setTimeout(() => this.now(), wait);
  }
}
