// The page with all devices.

import { Card } from "./card.js";
import { avatar, h, icon } from "./dom.js";
import { Keys } from "./keys.js";
import { ringFor, setUp } from "./setup.js";
import { Telephone } from "./telephone.js";
import { Timeline } from "./timeline.js";
import { workersPanel } from "./workers.js";

const { cast, feed, calls, announcer, sound, makePhone } = await setUp();
const stage = document.querySelector("#stage");
const phones = [];

function devicesOf(person) {
  return person.devices.map((device) => {
    const phone = makePhone(person, device);
    phones.push(phone);
    return new Card(phone, calls).element;
  });
}

function group(name, title, hint, wide, ...content) {
  return h(
    "section",
    { class: `person span-${wide}`, "aria-label": title, "data-person": name },
    h(
      "header",
      { class: "person-head" },
      avatar(name, title, "small"),
      h("h2", {}, title),
      h("span", { class: "hint" }, hint),
    ),
    h("div", { class: "devices" }, ...content),
  );
}

const HINTS = { bob: "his phone sleeps until a push wakes it", anna: "" };
const members = new Set(Object.values(cast.members).flat());
for (const person of cast.people.filter((one) => !members.has(one.user) && !one.guest)) {
  stage.append(
    group(person.user, person.name, HINTS[person.user] ?? "", person.devices.length, ...devicesOf(person)),
  );
}
for (const [name, users] of Object.entries(cast.members)) {
  const people = cast.people.filter((one) => users.includes(one.user));
  const title = cast.targets.find((one) => one.to === name).name;
  const cards = people.flatMap((person) =>
    devicesOf({ ...person }).map((card) =>
      h("div", { class: "member" }, h("h3", {}, avatar(person.user, person.name, "tiny"), person.name), card),
    ),
  );
  stage.append(group(name, title, "a group of two", people.length, ...cards));
}
const telephone = new Telephone({ cast, feed });
announcer.watch(telephone);
stage.append(group(cast.network.number, telephone.person.name, "", 1, new Card(telephone, calls).element));
for (const person of cast.people.filter((one) => one.guest)) {
  stage.append(group(person.user, person.name, "has only a link", 1, ...devicesOf(person)));
}
ringFor(sound, [...phones, telephone]);

const workers = group("workers", "Workers", "", 1);
workers.querySelector(".devices").replaceWith(workersPanel(feed, announcer));
workers.querySelector(".avatar").remove();
stage.append(workers);
const opener = document.querySelector("#open-keys");
opener.prepend(icon("key"));
const keys = new Keys(feed, calls, opener);
opener.addEventListener("click", () => keys.toggle());
document.body.append(keys.element);
document.querySelector("#timeline").append(new Timeline(feed, calls, (call) => keys.select(call)).element);
if (cast.address)
  document
    .querySelector("#address")
    .append("One of them on another device: ", h("a", { href: cast.address }, cast.address));

// Those that sleep stay asleep until a push wakes them. Those in another browser stay there.
for (const phone of phones) {
  const peer = calls.peerOf(phone.device.id);
  if (peer && peer !== phone.link.peer) phone.leaveTo(peer);
  else if (phone.device.sleeps && !phone.link.peer) phone.link.sleep();
  else phone.link.connect();
}
document.documentElement.dataset.ready = "true";
