// Announces new calls to a screen reader, in one sentence for all devices of a page.

const GATHER_MS = 80;

export class Announcer {
  #element;
  #ringing = new Map();
  #timer = 0;

  constructor(element) {
    this.#element = element;
  }

  /** Follow a device. */
  watch(phone) {
    let before = new Set();
    phone.addEventListener("change", () => {
      const now = new Set(phone.look === "ringing" ? phone.incoming.keys() : []);
      for (const ref of now) if (!before.has(ref)) this.#rings(phone, phone.incoming.get(ref));
      before = now;
    });
  }

  /** Say it, even if it repeats the last sentence. */
  say(text) {
    this.#element.textContent = "";
    requestAnimationFrame(() => (this.#element.textContent = text));
  }

  #rings(phone, one) {
    const text = `${one.name} ${one.isRequest ? "asks to be let in" : "is calling"}`;
    this.#ringing.set(text, [...(this.#ringing.get(text) ?? []), phone.label]);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.say([...this.#ringing].map(([what, labels]) => `${what}: ${labels.join(", ")}.`).join(" "));
      this.#ringing.clear();
    }, GATHER_MS);
  }
}
