// The page with one device: ?user=bob&device=phone.

import { Card } from "./card.js";
import { avatar, h } from "./dom.js";
import { ringFor, setUp } from "./setup.js";

const { cast, calls, sound, makePhone } = await setUp();
const asked = new URLSearchParams(location.search);
const person = cast.people.find((one) => one.user === asked.get("user"));
const device = person?.devices.find((one) => one.id === `${person.user}-${asked.get("device")}`);
const stage = document.querySelector("#stage");

if (device) {
  const phone = makePhone(person, device);
  document.title = phone.label;
  stage.append(new Card(phone, calls, { own: true }).element);
  ringFor(sound, [phone]);
  phone.link.connect();
} else {
  stage.append(
    h("h1", {}, "Which device is this?"),
    h("ul", { class: "targets choice" }, cast.people.flatMap(choices)),
  );
}
document.documentElement.dataset.ready = "true";

function choices({ user, name, devices }) {
  return devices.map((one) => {
    const href = `/device?user=${user}&device=${one.id.slice(user.length + 1)}`;
    const text = h("span", {}, `${name}'s ${one.name.toLowerCase()}`);
    return h("li", {}, h("a", { class: "target", href }, avatar(user, name, "small"), text));
  });
}
