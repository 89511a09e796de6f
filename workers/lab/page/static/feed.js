// The stream of events from the page's server: entries of the timeline, and the state of rooms and workers.

const KEPT = 1_000;

/** Events: `entry` (detail: the entry, `isNews`), `rooms`, `workers` (detail: the state), `ready`, `lost`. */
export class Feed extends EventTarget {
  rooms = {};
  workers = [];
  entries = [];
  #isLive = false;
  #run = null;
  #source = null;

  /** Resolves once the history has come. */
  start() {
    return new Promise((resolve) => {
      this.#source = new EventSource("/api/feed");
      this.#source.addEventListener("entry", (message) => {
        const entry = JSON.parse(message.data);
        this.entries.push(entry);
        if (this.entries.length > KEPT) this.entries.shift();
        this.#tell("entry", { entry, isNews: this.#isLive });
      });
      for (const name of ["rooms", "workers"]) {
        this.#source.addEventListener(name, (message) => {
          this[name] = JSON.parse(message.data);
          this.#tell(name, this[name]);
        });
      }
      this.#source.addEventListener("run", (message) => {
        this.#run ??= message.data;
        if (this.#run !== message.data) location.reload(); // the demo was started again, with another gateway
      });
      this.#source.addEventListener("ready", () => {
        this.#isLive = true;
        this.#tell("ready");
        resolve();
      });
      this.#source.addEventListener("error", () => this.#tell("lost"));
    });
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
