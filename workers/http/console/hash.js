// The call that the page's address names.

/** The three parts of a ref, or null. Ids have no `|`. */
export function partsOf(ref) {
  const parts = ref.split("|");
  return parts.length === 3 && parts.every(Boolean) ? parts : null;
}

export const linkTo = (ref) => `#/call/${ref.split("|").map(encodeURIComponent).join("/")}`;

/** The ref in the address, or null. */
export function chosen() {
  const found = /^#\/call\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(location.hash);
  try {
    return found && found.slice(1).map(decodeURIComponent).join("|");
  } catch {
    return null;
  }
}

/** The path of a ref below `v1/invites/`. */
export const pathOf = (ref) => ref.split("|").map(encodeURIComponent).join("/");
