// The common start of both pages.

import { Announcer } from "./announce.js";
import { get } from "./api.js";
import { Calls } from "./calls.js";
import { icon } from "./dom.js";
import { Feed } from "./feed.js";
import { Link } from "./link.js";
import { Phone } from "./phone.js";
import { Sound } from "./sound.js";

export async function setUp() {
  const cast = await get("/api/cast");
  const feed = new Feed();
  await feed.start();
  const calls = new Calls(feed, cast);
  const announcer = new Announcer(document.querySelector("#announcer"));
  const sound = soundOf(document.querySelector("#sound"));
  const url = `ws://${location.hostname}:${cast.gatewayPort}/ws`;
  const offline = document.querySelector("#offline");
  feed.addEventListener("lost", () => (offline.hidden = false));
  feed.addEventListener("ready", () => (offline.hidden = true));
  const makePhone = (person, device) => {
    const phone = new Phone({ person, device, cast, feed, link: new Link(device.id, url) });
    announcer.watch(phone);
    return phone;
  };
  return { cast, feed, calls, announcer, sound, makePhone };
}

/** The tone rings while one of the devices does. */
export function ringFor(sound, phones) {
  const follow = () => (sound.isRinging = phones.some((phone) => phone.look === "ringing"));
  for (const phone of phones) phone.addEventListener("change", follow);
}

function soundOf(button) {
  const sound = new Sound();
  const draw = () => {
    button.setAttribute("aria-pressed", String(sound.isOn));
    button.replaceChildren(icon(sound.isOn ? "sound" : "mute"), sound.isOn ? "Sound on" : "Sound off");
  };
  button.addEventListener("click", () => {
    sound.toggle();
    draw();
  });
  draw();
  return sound;
}
