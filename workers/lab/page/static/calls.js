// The calls and the connections on the timeline.

const SIGNS = { registered: (payload) => payload.registry, invite: (payload) => payload.peer };

/** Event: `change`. `all` has each call by its key, the latest one last. */
export class Calls extends EventTarget {
  all = new Map();
  #rooms = new Map();
  #labels = new Map();
  #devices = new Map();

  constructor(feed, cast) {
    super();
    this.cast = cast;
    this.#labels.set(cast.network.peer, "phone network");
    for (const entry of feed.entries) this.#take(entry);
    feed.addEventListener("entry", ({ detail }) => {
      this.#take(detail.entry);
      this.dispatchEvent(new CustomEvent("change"));
    });
  }

  /** Which call an entry belongs to; null for none. */
  callOf(entry) {
    const payload = entry.payload ?? {};
    if (payload.inviteId)
      return this.all.get(`${payload.from ?? payload.peer?.user}|${payload.inviteId}`) ?? null;
    return this.#rooms.get(payload.roomId ?? payload.room) ?? null;
  }

  /** Who a connection is. */
  label(peer, otherwise = "a device that is gone") {
    return this.#labels.get(peer) ?? otherwise;
  }

  /** The connection of a device, in any browser; undefined for none. */
  peerOf(device) {
    return this.#devices.get(device);
  }

  /** The call that leads into a room. */
  ofRoom(room) {
    return this.#rooms.get(room);
  }

  nameOf(user) {
    if (user === this.cast.network.user) return "Phone network";
    const known = [...this.cast.people, ...this.cast.targets].find((one) => (one.user ?? one.to) === user);
    return known?.name ?? user;
  }

  #take(entry) {
    const payload = entry.payload ?? {};
    const sign = SIGNS[entry.type]?.(payload);
    if (sign?.device) this.#labels.set(sign.id, this.labelOf(sign.device));
    if (entry.type === "registered") this.#devices.set(sign?.device, sign?.id);
    if (entry.type === "unregistered" || entry.type === "disconnected") this.#gone(payload.peer?.id);
    if (entry.kind === "event" && (entry.type === "invite" || entry.type === "inviteRequest"))
      this.#begin(entry);
    else if (entry.type === "INVITE_COMPLETED") {
      const call = this.callOf(entry);
      if (call)
        call.outcome =
          payload.state === "ACCEPTED"
            ? "accepted"
            : payload.error === 487
              ? "cancelled"
              : `ended, ${payload.error}`;
    }
  }

  #gone(peer) {
    for (const [device, known] of this.#devices) if (known === peer) this.#devices.delete(device);
  }

  #begin({ at, payload, type }) {
    const key = `${payload.peer.user}|${payload.inviteId}`;
    if (this.all.has(key)) return;
    const call = {
      key,
      at,
      from: payload.peer.user,
      to: payload.to,
      inviteId: payload.inviteId,
      room: payload.room,
      isRequest: type === "inviteRequest",
      outcome: "",
    };
    this.all.set(key, call);
    if (call.room) this.#rooms.set(call.room, call);
  }

  /** Whose device it is, and which. */
  labelOf(device) {
    for (const person of this.cast.people) {
      const found = person.devices.find((one) => one.id === device);
      if (found) return `${person.name}'s ${found.name.toLowerCase()}`;
    }
    return device;
  }
}
