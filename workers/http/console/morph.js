// Updates the page element by element: focus, selection and scroll positions stay.

const OWN = new Set(["open"]); // set by a person, not by the page

/** Let `old` have the children of `fresh`. Elements with the same `data-key` are the same. */
export function show(old, ...fresh) {
  const focused = document.activeElement;
  const wanted = document.createElement("div");
  wanted.append(...fresh.flat().filter((one) => one !== null && one !== undefined && one !== false));
  children(old, wanted);
  if (focused && focused !== document.activeElement && focused.isConnected)
    focused.focus({ preventScroll: true });
}

function children(old, wanted) {
  let place = old.firstChild;
  for (const fresh of [...wanted.childNodes]) {
    const key = fresh.dataset?.key;
    if (key !== undefined && place?.dataset?.key !== key) {
      const found = [...old.children].find((one) => one.dataset.key === key);
      old.insertBefore(found ?? fresh, place);
      if (found) same(found, fresh);
      continue;
    }
    if (place && isAlike(place, fresh)) {
      same(place, fresh);
      place = place.nextSibling;
    } else if (place && key === undefined && place.dataset?.key === undefined) {
      const next = place.nextSibling;
      old.replaceChild(fresh, place);
      place = next;
    } else {
      old.insertBefore(fresh, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function isAlike(one, other) {
  return one.nodeName === other.nodeName && one.dataset?.key === other.dataset?.key;
}

function same(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !OWN.has(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  children(old, fresh);
}
