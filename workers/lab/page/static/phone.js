// One device: its actions, its ringing invitations, and its call. It draws nothing.

import { post } from "./api.js";
import { duration, whyRejected, whyStopped } from "./words.js";

const AGAIN_MS = 4_000; // clients repeat an invite until they get a response
const PLACES = { invite: "calling", inviteRequest: "asking" };
const LONGEST_MS = 60_000; // how long a call rings
const CLOSING_MS = 3_000; // a closed page may still seem to be connected
const BUSY = 486;
const DECLINED = 603;

const refOf = (payload, to = payload.to) => `${payload.from}|${payload.inviteId}|${to}`;
const newId = () =>
  crypto.getRandomValues(new Uint32Array(2)).reduce((text, part) => text + part.toString(36), "");

/**
 * Event: `change`. `incoming` has the ringing invitations, by ref. `call` is the own call, or the one that
 * was answered:
 * `direction` (out, in), `state` (calling, asking, answering, talking), `to` or `from`, `room`, …
 */
export class Phone extends EventTarget {
  incoming = new Map();
  call = null;
  note = "";

  constructor({ person, device, cast, link, feed }) {
    super();
    Object.assign(this, { person, device, cast, link, feed });
    this.label = `${person.name}'s ${device.name.toLowerCase()}`;
    link.addEventListener("message", ({ detail }) => this.#hear(detail.type, detail.payload));
    link.addEventListener("state", () => this.#linked());
    feed.addEventListener("rooms", () => this.#roomsChanged());
    feed.addEventListener("entry", ({ detail }) => detail.isNews && this.#told(detail.entry));
  }

  /** asleep, cut, elsewhere, connecting, ringing, silenced, calling, talking or idle: what the device looks like. */
  get look() {
    const { state } = this.link;
    if (state !== "on") return state === "off" ? "connecting" : state;
    if (this.call) return this.call.state === "talking" ? "talking" : "calling";
    if (this.incoming.size === 0) return "idle";
    return [...this.incoming.values()].some((one) => !one.isSilenced) ? "ringing" : "silenced";
  }

  nameOf(user) {
    if (user === this.cast.network.user) return "+34 600 123 456";
    return (
      this.cast.people.find((one) => one.user === user)?.name ??
      this.cast.targets.find((one) => one.to === user)?.name ??
      user
    );
  }

  // --- what a person does

  dial({ to }) {
    const inviteId = newId();
    const call = {
      direction: "out",
      state: "calling",
      to,
      inviteId,
      progress: null,
      since: Date.now(),
    };
    const payload = {
      to,
      inviteId,
      fromDetails: { name: this.person.name },
      mediatypes: ["audio", "video"],
    };
    if (this.person.guest) {
      call.state = "asking";
      this.#place(call, "inviteRequest", payload);
    } else {
      call.room = `room-${inviteId}`;
      this.#place(call, "invite", { ...payload, room: call.room });
    }
  }

  /** Call the same callee again: one call keeps ringing, not two. */
  redial() {
    clearTimeout(this.call.timer);
    this.dial({ to: this.call.to });
  }

  async cancel() {
    const { call } = this;
    await this.link.ask("stopInvite", { callee: call.to, inviteId: call.inviteId });
    if (this.call === call && call.state !== "talking") this.#end("Cancelled");
  }

  async accept(ref) {
    const one = this.incoming.get(ref);
    this.incoming.delete(ref);
    for (const other of [...this.incoming.values()]) this.#decline(other, BUSY);
    const call = {
      direction: "in",
      state: "answering",
      ref,
      from: one.from,
      room: one.room,
      since: Date.now(),
    };
    this.call = call;
    this.#change();
    const answer = await this.link.ask("accept", this.#replyTo(one));
    if (this.call !== call) return;
    if (answer?.code !== 200) {
      this.#end(
        answer?.whoAccepted
          ? whyStopped("accepted_elsewhere")
          : answer
            ? "Too late"
            : "No answer from the service",
      );
    } else if (one.isRequest) {
      this.#letIn(one);
    } else {
      this.#enter(call, one.room);
    }
  }

  decline(ref) {
    this.#decline(this.incoming.get(ref), DECLINED);
    this.note = "Declined";
    this.#change();
  }

  async silence(ref) {
    const one = this.incoming.get(ref);
    one.isSilenced = true;
    this.#change();
    await this.link.ask("silence", this.#replyTo(one));
  }

  /** Enter a room by its link. If a call into it rings here, that is an answer. */
  join(room) {
    for (const [ref, one] of this.incoming) if (one.room === room) this.incoming.delete(ref);
    for (const other of [...this.incoming.values()]) this.#decline(other, BUSY);
    const call = { direction: "in", state: "answering", from: null, room, since: Date.now() };
    this.call = call;
    this.#enter(call, room);
  }

  hangUp() {
    const { call } = this;
    post("/api/rooms/leave", this.#inRoom(call.room)).catch(() => {});
    this.#end(`Call ended · ${duration(Date.now() - call.since)}`);
  }

  /** Leave the device to the browser that has it, unless that one is just closing. */
  leaveTo(peer) {
    this.link.yield();
    const until = Date.now() + CLOSING_MS;
    this.feed.addEventListener("entry", ({ detail: { entry } }) => {
      const isEnd = entry.type === "disconnected" || entry.type === "unregistered";
      if (isEnd && entry.payload?.peer?.id === peer && this.link.state === "elsewhere" && Date.now() < until)
        this.link.connect();
    });
  }

  // --- what comes

  #hear(type, payload) {
    switch (type) {
      case "invitation":
        return this.#rung(payload);
      case "invitationCancel":
        return this.#stopped(payload);
      case "inviteProgress":
        if (!this.#isOwn(payload)) return;
        clearTimeout(this.call.timer);
        this.call.progress = payload;
        return this.#change();
      case "inviteAccepted":
        if (!this.#isOwn(payload)) return;
        clearTimeout(this.call.timer);
        if (payload.room) return this.#enter(this.call, payload.room);
        this.call.isTaken = true; // a request: the invite follows
        return this.#change();
      case "inviteRejected":
        if (this.#isOwn(payload)) this.#end(whyRejected(payload.reason));
    }
  }

  #rung(payload) {
    const ref = refOf(payload);
    if (payload.requestId && payload.requestId === this.call?.inviteId)
      return this.#answerOwnRequest(payload);
    if (payload.replaces) {
      for (const [old, one] of this.incoming) {
        if (old === payload.replaces || (one.group && one.groupRef === payload.replaces))
          this.incoming.delete(old);
      }
    }
    const known = this.incoming.get(ref);
    const one = {
      ref,
      from: payload.from,
      inviteId: payload.inviteId,
      to: payload.to,
      name: payload.fromDetails?.name ?? this.nameOf(payload.from),
      group: payload.group,
      groupRef: payload.group && refOf(payload, payload.group),
      room: payload.room,
      isRequest: payload.inviteRequest,
      isSilenced: known?.isSilenced ?? false,
      isResumed: payload.resumed,
    };
    if (this.call?.ref === ref) return; // its accept is on the way
    if (this.call) return this.#decline(one, BUSY);
    clearTimeout(known?.timer);
    one.timer = setTimeout(() => this.#lapsed(ref), payload.expiresIn + 2_000);
    this.incoming.set(ref, one);
    this.note = "";
    this.link.send("ringing", this.#replyTo(one));
    this.#change();
  }

  #stopped(payload) {
    const one = this.incoming.get(refOf(payload));
    if (!one) return;
    clearTimeout(one.timer);
    this.incoming.delete(one.ref);
    this.note = whyStopped(payload.reason);
    this.#change();
  }

  #lapsed(ref) {
    if (this.incoming.delete(ref)) {
      this.note = whyStopped("timeout");
      this.#change();
    }
  }

  /** The host has accepted the guest's request, and invites it: that is no call to answer. */
  async #answerOwnRequest(payload) {
    const { call } = this;
    const answer = await this.link.ask("accept", this.#replyTo(payload));
    if (this.call === call && answer?.code === 200) this.#enter(call, payload.room);
  }

  #told(entry) {
    if (entry.kind === "push" && entry.device === this.device.id && this.link.state === "asleep") {
      if (entry.type === "invitation") this.link.connect();
    }
    // The same device has logged in from another browser. It continues there. (Until our own login is
    // answered, it may be ours.)
    const registry = entry.type === "registered" ? entry.payload?.registry : null;
    if (
      registry?.device === this.device.id &&
      registry.id !== this.link.peer &&
      this.link.state !== "connecting"
    ) {
      this.incoming.clear();
      this.call = null;
      this.link.yield();
    }
  }

  #roomsChanged() {
    const { call } = this;
    if (call?.state !== "talking") return;
    const members = this.feed.rooms[call.room] ?? [];
    const isThere = members.some((one) => one.peer === this.link.peer);
    if (call.wasThere && !isThere) return this.#end("Away for too long");
    call.wasThere = isThere;
    call.others = members.filter((one) => one.peer !== this.link.peer);
    if (call.others.length > 0) call.wasTogether = true;
    else if (call.wasTogether) return this.hangUp();
    this.#change();
  }

  #linked() {
    if (this.link.state === "asleep" || this.link.state === "elsewhere") {
      this.incoming.clear();
      this.call = null;
      this.note = "";
    }
    if (this.link.state === "on") {
      if (!this.call) this.#restore();
      else if (this.call.repeat && this.call.state !== "talking") this.call.repeat();
    }
    this.#change();
  }

  // --- steps

  /**
   * Send an invite or a request, and repeat it until a response comes. A device that is back sends it once more: it may
   * have missed the outcome while it was away.
   */
  #place(call, type, payload) {
    this.call = call;
    this.note = "";
    const attempt = () => {
      if (this.call !== call) return;
      clearTimeout(call.timer);
      // What is forgotten would be a new call.
      if (Date.now() - call.since > LONGEST_MS) return this.#end(whyRejected("timeout"));
      this.link.send(type, payload);
      call.timer = setTimeout(attempt, AGAIN_MS);
    };
    call.repeat = attempt;
    attempt();
    this.#change();
  }

  /** Restore the device's state from a closed page: it is in a room, or it calls. A repeat is no second call. */
  #restore() {
    const { entries, rooms } = this.feed;
    const room = Object.keys(rooms).find((one) => rooms[one].some(({ peer }) => peer === this.link.peer));
    if (room) return this.join(room);
    const last = entries.findLast(
      ({ kind, type, payload }) =>
        kind === "event" && PLACES[type] && payload?.peer?.device === this.device.id,
    );
    if (!last || Date.now() - last.at > LONGEST_MS) return;
    const { peer: _, ...payload } = last.payload;
    const { to, inviteId } = payload;
    if (entries.some((one) => one.type === "INVITE_COMPLETED" && one.payload.inviteId === inviteId)) return;
    const call = {
      direction: "out",
      state: PLACES[last.type],
      isReply: payload.requestId !== undefined,
      to,
      inviteId,
      room: payload.room,
      progress: null,
      since: last.at,
    };
    this.#place(call, last.type, payload);
  }

  /** The host accepts a guest's request by inviting the guest. */
  #letIn(request) {
    const inviteId = newId();
    const room = `room-${inviteId}`;
    const call = {
      direction: "out",
      state: "calling",
      isReply: true,
      to: request.from,
      inviteId,
      room,
      progress: null,
      since: Date.now(),
    };
    this.#place(call, "invite", {
      to: request.from,
      inviteId,
      room,
      requestId: request.inviteId,
      fromDetails: { name: this.person.name },
    });
  }

  #enter(call, room) {
    Object.assign(call, { room, state: "talking", since: Date.now(), others: [] });
    this.#change();
    post("/api/rooms/join", this.#inRoom(room)).then(
      () => this.#roomsChanged(),
      () => this.call === call && this.#end("The room cannot be entered"),
    );
  }

  #inRoom(room) {
    return { room, device: this.device.id, peer: this.link.peer };
  }

  #decline(one, errorCode) {
    clearTimeout(one.timer);
    this.incoming.delete(one.ref);
    this.link.ask("decline", { ...this.#replyTo(one), errorCode });
  }

  #replyTo({ from, inviteId, to }) {
    return { from, inviteId, to };
  }

  #isOwn(payload) {
    return this.call?.direction === "out" && payload.inviteId === this.call.inviteId;
  }

  #end(note) {
    clearTimeout(this.call?.timer);
    this.call = null;
    this.note = note;
    this.#change();
  }

  #change() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}
