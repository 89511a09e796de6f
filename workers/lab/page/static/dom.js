// What the page draws itself: lines and faces.

import { h } from "./elements.js";

export { h };

const SVG = "http://www.w3.org/2000/svg";

const HANDSET = "M3.5 14.5V13c4.5-5 12.5-5 17 0v1.5";
const WAVES = "M3 9.5c5-5 13-5 18 0M6.5 13c3-3 8-3 11 0M10.5 16.5a2.2 2.2 0 0 1 3 0";
const SPEAKER = "M4 9.5v5h3.5l4.5 4v-13l-4.5 4z";
const SLASH = "M4 3.5l16 17";

// Lines in a square of 24, drawn with a pen of 2.
const PATHS = {
  accept: HANDSET,
  hangup: HANDSET,
  silence: `M6 16v-5a6 6 0 0 1 12 0v5l1.5 2h-15zM10.5 21h3${SLASH}`,
  link: "M10 8H7a4 4 0 0 0 0 8h3M14 8h3a4 4 0 0 1 0 8h-3M9 12h6",
  cut: WAVES + SLASH,
  back: WAVES,
  redial: "M19 12a7 7 0 1 1-2.5-5.4M17 2.5V7h-4.5",
  sleep: "M19 14.5A7.5 7.5 0 1 1 10 5a6 6 0 0 0 9 9.5z",
  wake: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  open: "M13 5h6v6M19 5l-8 8M17 14v5H5V7h5",
  sound: `${SPEAKER}M15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11`,
  mute: `${SPEAKER}M16 9.5l5 5M21 9.5l-5 5`,
  key: "M8 16a4 4 0 1 1 3.8-5.3H21V14h-2.5v2.5h-3V14h-3.7A4 4 0 0 1 8 16z",
  close: "M6 6l12 12M18 6L6 18",
  browser: "M3.5 5h17v14h-17zM3.5 9.5h17",
  desk: "M3.5 4.5h17v11h-17zM12 15.5v4M8 19.5h8",
  phone: "M7.5 2.5h9a1 1 0 0 1 1 1v17a1 1 0 0 1-1 1h-9a1 1 0 0 1-1-1v-17a1 1 0 0 1 1-1zM11 18h2",
  number: "M4 9c4-4 12-4 16 0M8 9l-2.5 10h13L16 9zM12 12.5a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4z",
};

/** A picture that says nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `icon icon-${name}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A person's initial on a person's colour. */
export function avatar(user, name, more = "") {
  const letter = user.startsWith("+") || user === "phone-network" ? icon("number") : name.slice(0, 1);
  return h("span", { class: `avatar ${more}`, "data-user": user, "aria-hidden": "true" }, letter);
}
