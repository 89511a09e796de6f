// Draws one device. It is redrawn when something changes, and keeps the keyboard focus.

import { avatar, h, icon } from "./dom.js";
import { duration } from "./words.js";

const STATUS = {
  connecting: "Connecting",
  cut: "Cut off",
  asleep: "Asleep",
  elsewhere: "On another screen",
  idle: "Ready",
  ringing: "Ringing",
  silenced: "Silenced",
  calling: "Calling",
  talking: "In a call",
};

const SHORTCUTS = { a: "accept", d: "decline", s: "silence", h: "hangup" };

/** The card of a device. `calls` knows the rooms; `own` is a card that fills its page. */
export class Card {
  #drawn = "";

  constructor(phone, calls, { own = false } = {}) {
    this.phone = phone;
    this.calls = calls;
    this.own = own;
    this.element = h("section", {
      class: `device device-${phone.device.kind}`,
      "data-device": phone.device.id,
      "aria-label": phone.label,
      onkeydown: (event) => this.#key(event),
    });
    phone.addEventListener("change", () => this.draw());
    calls.addEventListener("change", () => this.draw());
    phone.feed.addEventListener("rooms", () => this.draw());
    setInterval(() => this.#tick(), 500);
    this.draw();
  }

  draw() {
    const { element, phone } = this;
    const { look } = phone;
    const rooms = this.#openRooms();
    // A press must not hit another button because something far away has changed.
    const drawn = JSON.stringify([
      look,
      phone.note,
      phone.call,
      [...phone.incoming.values()].map((one) => ({ ...one, timer: 0 })),
      rooms,
    ]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const focused = element.contains(document.activeElement)
      ? (document.activeElement.dataset.does ?? "")
      : null;
    element.dataset.state = look;
    element.replaceChildren(
      this.#header(look),
      h("div", { class: "screen", tabindex: "-1" }, this.#screen(look, rooms)),
    );
    this.#tick();
    if (focused !== null) {
      // When a button disappears, nothing gets the focus: a key press must not hit a button that has just
      // appeared.
      const again = focused && element.querySelector(`[data-does="${CSS.escape(focused)}"]`);
      (again || element.querySelector(".screen")).focus();
    }
  }

  #header(look) {
    const { phone, own } = this;
    const { device, person } = phone;
    const isOn = phone.link.state === "on" && !phone.isPlayed;
    const isFree = !phone.call && phone.incoming.size === 0;
    return h(
      "header",
      { class: "device-head" },
      icon(device.kind),
      h("span", { class: "device-name" }, own ? phone.label : device.name),
      h("span", { class: "device-status" }, STATUS[look]),
      h(
        "span",
        { class: "device-tools" },
        device.sleeps &&
          isOn &&
          isFree &&
          this.#tool("sleep", `Let ${phone.label} sleep`, "sleep", () => phone.link.sleep()),
        isOn && this.#tool("cut", `Cut ${phone.label} off`, "cut", () => phone.link.cut()),
        !own &&
          !phone.isPlayed &&
          h(
            "a",
            {
              class: "tool",
              href: `/device?user=${person.user}&device=${device.id.slice(person.user.length + 1)}`,
              target: "_blank",
              title: "Open it on its own",
              "aria-label": `Open ${phone.label} on its own`,
              "data-does": "open",
            },
            icon("open"),
          ),
      ),
    );
  }

  #screen(look, rooms) {
    const { phone } = this;
    const { call, link } = phone;
    switch (look) {
      case "connecting":
        return this.#plain("", "Connecting…");
      case "cut":
        return this.#plain(
          "The connection is lost.",
          call || phone.incoming.size ? "The call waits for a while." : "",
          [this.#button("back", "Bring it back", "back", () => link.connect())],
        );
      case "asleep":
        return this.#plain("Asleep", "A push wakes it when somebody calls.", [
          this.#button("wake", "Wake up", "wake", () => link.connect()),
        ]);
      case "elsewhere":
        return this.#plain("On another screen", "It goes on there.", [
          this.#button("back", "Bring it here", "back", () => link.connect()),
        ]);
      case "ringing":
      case "silenced":
        return [...phone.incoming.values()]
          .slice(-1)
          .map((one) => this.#ringing(one, phone.incoming.size - 1));
      case "calling":
        return this.#calling(call);
      case "talking":
        return this.#talking(call);
      default:
        return this.#idle(rooms);
    }
  }

  #idle(rooms) {
    const { phone } = this;
    if (phone.isPlayed) return this.#plain(phone.note || "Quiet", "It rings when somebody calls the number.");
    const targets = phone.cast.targets.filter((one) => one.to !== phone.person.user);
    return [
      phone.note
        ? h("p", { class: "note" }, phone.note)
        : h("p", { class: "note hint" }, phone.person.guest ? "Knock at" : "Call"),
      h(
        "ul",
        { class: "targets" },
        ...targets
          .filter((one) => !phone.person.guest || one.kind !== "number")
          .map((target) =>
            h(
              "li",
              {},
              h(
                "button",
                {
                  type: "button",
                  class: "target",
                  "data-does": `dial-${target.to}`,
                  "aria-label": `${phone.person.guest ? "Knock at" : "Call"} ${target.name} from ${phone.label}`,
                  onclick: () => phone.dial(target),
                },
                avatar(target.to, target.name, "small"),
                h("span", {}, target.name),
              ),
            ),
          ),
      ),
      rooms.length > 0 &&
        h(
          "ul",
          { class: "links" },
          ...rooms.map(({ room, title }) =>
            h(
              "li",
              {},
              this.#button(`join-${room}`, `Join ${title}`, "link", () => phone.join(room), "quiet"),
            ),
          ),
        ),
    ];
  }

  #ringing(one, further) {
    const { phone } = this;
    const forWhom = one.isRequest
      ? "asks to be let in"
      : one.group
        ? `calls ${phone.nameOf(one.group)}`
        : "is calling";
    return h(
      "div",
      { class: "face" },
      avatar(one.from, one.name, "large"),
      h("p", { class: "who" }, one.name),
      h(
        "p",
        { class: "what" },
        one.isSilenced ? "Silenced. You can still answer." : forWhom,
        further > 0 && ` · ${further} more`,
      ),
      h(
        "div",
        { class: "round-buttons" },
        this.#round("decline", "Decline", "hangup", "no", () => phone.decline(one.ref)),
        this.#round("accept", "Answer", "accept", "yes", () => phone.accept(one.ref)),
      ),
      h(
        "div",
        { class: "quiet-buttons" },
        !one.isSilenced &&
          this.#button("silence", "Silence", "silence", () => phone.silence(one.ref), "quiet"),
        one.room && this.#button("join", "Join by link", "link", () => phone.join(one.room), "quiet"),
      ),
    );
  }

  #calling(call) {
    const { phone } = this;
    const other = call.to ?? call.from;
    const name = other ? phone.nameOf(other) : "the room";
    const isOwn = call.direction === "out";
    return h(
      "div",
      { class: "face" },
      avatar(other ?? "room", name, "large"),
      h("p", { class: "who" }, name),
      h("p", { class: "what" }, isOwn ? this.#progress(call) : "Connecting…"),
      isOwn &&
        h(
          "div",
          { class: "round-buttons" },
          call.state === "calling" &&
            !call.isReply &&
            this.#round("redial", "Redial", "redial", "plain", () => phone.redial()),
          this.#round("hangup", "Cancel", "hangup", "no", () => phone.cancel()),
        ),
    );
  }

  #progress({ state, progress, isTaken }) {
    if (state === "asking")
      return isTaken ? "Being let in…" : progress?.code === 180 ? "Knocking · rings" : "Knocking…";
    if (!progress) return "Calling…";
    const { candidates, pushed } = progress;
    const many = `${candidates} ${candidates === 1 ? "device" : "devices"}`;
    if (progress.code === 180) return `Rings · ${many}`;
    return pushed > 0 ? `Calling ${many} · woken by push` : `Calling ${many}`;
  }

  #talking(call) {
    const { phone } = this;
    const others = call.others?.length
      ? call.others.map((one) => one.user)
      : [call.to ?? call.from].filter(Boolean);
    const names = [...new Set(others)].map((user) => phone.nameOf(user));
    return h(
      "div",
      { class: "face" },
      h(
        "div",
        { class: "avatars" },
        ...[...new Set(others)].slice(0, 3).map((user) => avatar(user, phone.nameOf(user), "large")),
      ),
      h("p", { class: "who" }, names.join(", ") || "Nobody else yet"),
      h("p", { class: "what clock", "data-since": call.since }),
      h(
        "div",
        { class: "round-buttons" },
        this.#round("hangup", "Hang up", "hangup", "no", () => phone.hangUp()),
      ),
    );
  }

  #plain(title, text, buttons = []) {
    return h(
      "div",
      { class: "plain" },
      title && h("p", { class: "who" }, title),
      text && h("p", { class: "what" }, text),
      ...buttons,
    );
  }

  /** The rooms that somebody is in, or is called into, for a device that has nothing else to do. */
  #openRooms() {
    const { phone, calls } = this;
    if (phone.look !== "idle") return [];
    return Object.keys(phone.feed.rooms)
      .filter((room) => calls.ofRoom(room))
      .slice(-1)
      .map((room) => ({ room, title: `${phone.nameOf(calls.ofRoom(room).from)}'s room` }));
  }

  #tool(does, label, picture, onclick) {
    return h(
      "button",
      { type: "button", class: "tool", title: label, "aria-label": label, "data-does": does, onclick },
      icon(picture),
    );
  }

  #button(does, text, picture, onclick, more = "") {
    return h(
      "button",
      {
        type: "button",
        class: `button ${more}`,
        "data-does": does,
        "aria-label": `${text}, ${this.phone.label}`,
        onclick,
      },
      icon(picture),
      h("span", {}, text),
    );
  }

  #round(does, text, picture, tone, onclick) {
    const key = Object.keys(SHORTCUTS).find((one) => SHORTCUTS[one] === does);
    return h(
      "button",
      {
        type: "button",
        class: `round ${tone}`,
        "data-does": does,
        "aria-label": `${text}, ${this.phone.label}`,
        "aria-keyshortcuts": key,
        onclick,
      },
      h("span", { class: "disc" }, icon(picture)),
      h("span", { class: "round-text", "aria-hidden": "true" }, text),
    );
  }

  /** A letter answers, declines, silences or hangs up the device that has the focus. */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const button = this.element.querySelector(`[data-does="${SHORTCUTS[event.key.toLowerCase()]}"]`);
    if (button) {
      event.preventDefault();
      button.click();
    }
  }

  #tick() {
    for (const clock of this.element.querySelectorAll("[data-since]")) {
      clock.textContent = duration(Date.now() - Number(clock.dataset.since));
    }
  }
}
