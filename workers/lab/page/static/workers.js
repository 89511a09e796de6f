// The worker processes, and a button to kill each of them.

import { post } from "./api.js";
import { h } from "./dom.js";

export function workersPanel(feed, announcer) {
  const list = h("ul", { class: "workers" });
  const draw = () => {
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.worker : null;
    list.replaceChildren(
      ...feed.workers.map(({ pid, runs }, at) =>
        h(
          "li",
          { class: "worker", "data-runs": String(runs) },
          h(
            "div",
            {},
            h("span", { class: "worker-name" }, `Worker ${at + 1}`),
            h("span", { class: "worker-state" }, runs ? `process ${pid}` : "killed, back soon"),
          ),
          h(
            "button",
            {
              type: "button",
              class: "kill",
              "data-worker": String(at + 1),
              "aria-label": `Kill worker ${at + 1}`,
              "aria-disabled": String(!runs),
              onclick: () => {
                if (!runs) return;
                announcer.say(`Worker ${at + 1} is killed. Calls go on.`);
                post(`/api/workers/${at + 1}/kill`);
              },
            },
            "Kill",
          ),
        ),
      ),
    );
    if (focused) list.querySelector(`[data-worker="${focused}"]`)?.focus();
  };
  feed.addEventListener("workers", draw);
  draw();
  return list;
}
