// The telephone behind the gateway to the phone network. Its device is no browser: the page's server plays the gateway.

import { post } from "./api.js";
import { whyStopped } from "./words.js";

/** Looks like a `Phone` to a card. */
export class Telephone extends EventTarget {
  incoming = new Map();
  call = null;
  note = "";
  isPlayed = true;

  constructor({ cast, feed }) {
    super();
    Object.assign(this, { cast, feed });
    this.person = { user: cast.network.number, name: "+34 600 123 456", guest: false };
    this.device = { id: "telephone", name: "Telephone", kind: "number" };
    this.label = "telephone";
    this.link = { state: "on" };
    for (const entry of feed.entries) this.#take(entry);
    feed.addEventListener("entry", ({ detail }) => this.#take(detail.entry));
    feed.addEventListener("rooms", () => this.#roomsChanged());
  }

  get look() {
    if (this.call) return "talking";
    return this.incoming.size > 0 ? "ringing" : "idle";
  }

  nameOf(user) {
    return this.cast.people.find((one) => one.user === user)?.name ?? user;
  }

  accept(ref) {
    this.#pick("accept", this.incoming.get(ref));
  }

  decline(ref) {
    this.#pick("decline", this.incoming.get(ref));
    this.incoming.delete(ref);
    this.#change("Declined");
  }

  hangUp() {
    post("/api/network", { action: "hangUp", room: this.call.room });
  }

  #pick(action, { from, inviteId, to }) {
    post("/api/network", { action, from, inviteId, to });
  }

  #take({ kind, type, peers, payload }) {
    if (kind !== "notification" || !peers.includes(this.cast.network.peer)) return;
    const ref = `${payload.from}|${payload.inviteId}|${payload.to}`;
    if (type === "invitation") {
      if (payload.replaces) this.incoming.delete(payload.replaces);
      const { from, inviteId, to, room } = payload;
      this.incoming.set(ref, {
        ref,
        from,
        inviteId,
        to,
        room: null,
        leads: room,
        name: this.nameOf(from),
        isSilenced: false,
      });
      this.#change("");
    } else if (type === "invitationCancel" || (type === "answer" && payload.request !== "ringing")) {
      if (this.incoming.delete(ref) && type === "invitationCancel") this.#change(whyStopped(payload.reason));
      else this.#change(this.note);
    }
  }

  #roomsChanged() {
    const room = Object.keys(this.feed.rooms).find((one) =>
      this.feed.rooms[one].some((member) => member.peer === this.cast.network.peer),
    );
    if (!room) {
      if (this.call) this.#change("Call ended", null);
      return;
    }
    const others = this.feed.rooms[room].filter((one) => one.peer !== this.cast.network.peer);
    const call = { room, others, since: this.call?.since ?? Date.now() };
    this.#change("", call);
  }

  #change(note, call = this.call) {
    this.note = note;
    this.call = call;
    this.dispatchEvent(new CustomEvent("change"));
  }
}
