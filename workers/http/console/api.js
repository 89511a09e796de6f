// Asks the worker that has served the page. The token stays in this tab.

const KEPT = "invites-console-token";
const ANSWER_MS = 8_000;

/** The worker has answered, but not with what was asked for. `status` is its HTTP status. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEPT),
  keep: (value) => sessionStorage.setItem(KEPT, value),
  forget: () => sessionStorage.removeItem(KEPT),
};

/** The JSON at a path below `v1/`. Throws Refused, or another error if the worker does not answer. */
export async function get(path) {
  const kept = token.get();
  const headers = kept === null ? {} : { Authorization: `Bearer ${kept}` };
  const answer = await fetch(`v1/${path}`, { headers, signal: AbortSignal.timeout(ANSWER_MS) });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.message ?? `The worker answers ${answer.status}.`);
  return body;
}
