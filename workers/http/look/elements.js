// Makes elements without a string of HTML, so that no text of a peer can become markup.

/** An element. An attribute that is a function listens to the event `on…`; one that is null or false is left out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** A text that somebody has chosen. The direction in which it is written turns nothing around that stands beside it. */
export const isolated = (text) => h("bdi", {}, text);
