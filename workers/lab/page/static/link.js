// A device's connection to the gateway: log in, resume, connect again, ask and wait for the answer.
// The protocol is that of invites/contract/websocket.md.

import { get } from "./api.js";

const FIRST_MS = 250;
const LONGEST_MS = 4_000;
const AGAIN_MS = 4_000; // a request without an answer is sent again: a repeat gets the same answer
const TRIES = 5;
const REMEMBERED = 500;
const MOVED = 4409;

/** Events: `state`, and `message` (detail: type, payload). States: off, connecting, on, cut, asleep, elsewhere. */
export class Link extends EventTarget {
  state = "off";
  #socket = null;
  #tries = 0;
  #timer = 0;
  #seen = new Set();
  #asked = new Map();

  constructor(device, url) {
    super();
    this.device = device;
    this.url = url;
    // A hidden page may run its timers once a minute.
    window.addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => this.#hurry());
  }

  /** The connection's own id. A reloaded tab continues with it. */
  get peer() {
    return sessionStorage.getItem(`peer:${this.device}`);
  }

  /** Connect, and stay connected. */
  async connect() {
    clearTimeout(this.#timer);
    if (this.state === "on" || this.#socket) return;
    this.#become("connecting");
    let token;
    try {
      ({ token } = await get(`/api/token?device=${encodeURIComponent(this.device)}`));
    } catch {
      if (!this.#socket) this.#later();
      return;
    }
    if (this.state !== "connecting" || this.#socket) return;
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      const resume = this.peer;
      socket.send(JSON.stringify({ type: "login", payload: resume ? { token, resume } : { token } }));
    });
    socket.addEventListener("message", (message) => this.#hear(socket, JSON.parse(message.data)));
    socket.addEventListener("close", (close) => this.#closed(socket, close.code));
  }

  /** Lose the connection, as in a tunnel. */
  cut() {
    this.#end("cut");
  }

  /** Sign off: only a push reaches the device now. */
  sleep() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send('{"type":"logout"}');
    sessionStorage.removeItem(`peer:${this.device}`);
    this.#end("asleep");
  }

  /** The device continues in another browser. */
  yield() {
    sessionStorage.removeItem(`peer:${this.device}`);
    this.#end("elsewhere");
  }

  /** Send an event, if there is a connection. */
  send(type, payload) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ type, payload }));
  }

  /** Send a request, and again until the answer comes. Resolves to the answer, or to null if none has come. */
  ask(type, payload) {
    const transaction = crypto.getRandomValues(new Uint32Array(2)).join("-");
    return new Promise((resolve) => {
      let tries = 0;
      const attempt = () => {
        if (tries >= TRIES) return this.#answer(transaction, null);
        tries += 1;
        this.send(type, { ...payload, transaction });
        this.#asked.get(transaction).timer = setTimeout(attempt, AGAIN_MS);
      };
      this.#asked.set(transaction, { resolve, timer: 0 });
      attempt();
    });
  }

  #hear(socket, message) {
    if (socket !== this.#socket) return;
    const { type, payload, id } = message;
    if (id !== undefined) {
      if (this.#seen.has(`${id} ${type}`)) return;
      this.#seen.add(`${id} ${type}`);
      if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
    }
    if (type === "welcome") {
      this.#tries = 0;
      sessionStorage.setItem(`peer:${this.device}`, payload.peer);
      this.#become("on");
    } else if (type === "answer" || type === "error") {
      this.#answer(payload.transaction, type === "error" ? { code: 400, reason: payload.message } : payload);
    }
    this.dispatchEvent(new CustomEvent("message", { detail: { type, payload } }));
  }

  #answer(transaction, answer) {
    const asked = this.#asked.get(transaction);
    if (!asked) return;
    this.#asked.delete(transaction);
    clearTimeout(asked.timer);
    asked.resolve(answer);
  }

  #closed(socket, code) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    if (code === MOVED) this.#become("elsewhere");
    else this.#later();
  }

  #later() {
    this.#become("connecting");
    const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#tries) * (0.5 + Math.random());
    this.#tries += 1;
    this.#timer = setTimeout(() => this.connect(), wait);
  }

  #hurry() {
    if (this.state === "connecting" && !document.hidden) this.connect();
  }

  #end(state) {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#become(state);
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state"));
  }
}
