// Asks the worker that has served the page. The token stays in this tab.

const KEPT = "invites-console-token";
const ANSWER_MS = 8_000;

/** The worker has refused the request. `status` is its HTTP status. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The worker has not answered. */
export class Away extends Error {}

export const token = {
  get: () => sessionStorage.getItem(KEPT),
  keep: (value) => sessionStorage.setItem(KEPT, value),
  forget: () => sessionStorage.removeItem(KEPT),
};

/** The JSON at a path below `v1/`. Throws Refused or Away. */
export async function get(path) {
  const kept = token.get();
  const headers = kept === null ? {} : { Authorization: `Bearer ${kept}` };
  let answer, text;
  try {
    answer = await fetch(`v1/${path}`, { headers, signal: AbortSignal.timeout(ANSWER_MS) });
    text = await answer.text();
  } catch (error) {
    throw new Away("", { cause: error });
  }
  const body = parsed(text);
  if (answer.ok && body !== null) return body;
  throw new Refused(
    answer.status,
    body?.message ?? `no answer of a worker, but ${answer.status} of something between`,
  );
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
