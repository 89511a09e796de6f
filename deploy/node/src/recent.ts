/** Remembers the last names that it was shown. */
export class Recent {
  readonly #names = new Set<string>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether the name is new. */
  add(name: string): boolean {
    if (this.#names.has(name)) return false;
    this.#names.add(name);
    if (this.#names.size > this.#limit) this.#names.delete(this.#names.values().next().value!);
    return true;
  }
}
