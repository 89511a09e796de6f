// Reads notifications and publishes events, as lines of JSON on its standard input say; tells what happens in lines of JSON.
import { createInterface } from "node:readline";

import { Notifications, Publisher } from "@invites/client";
import { Cluster, Redis } from "ioredis";

const { url, nodes, redis: connecting = {}, shards = 1, reading, waits, hold = [] } = JSON.parse(process.argv[2]);
const redis = nodes ? new Cluster(nodes, { lazyConnect: true }) : new Redis(url, { lazyConnect: true, ...connecting });
const publisher = new Publisher(redis, { shards });
const onError = (error) => tell({ error: error.message });
const notifications = reading && new Notifications(redis, { shards, onError, ...reading });

function tell(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

async function read() {
  for await (const one of notifications) {
    tell({ heard: one.type, ...one });
    if (!hold.includes(one.payload.inviteId)) notifications.done(one);
  }
  tell({ over: true });
}

const commands = {
  read,
  publish: async (...event) => tell({ published: await publisher.publish(...event) }),
  ask: async (...event) => tell({ answer: await publisher.ask(...event) }),
  skip: async (ms) => {
    const now = performance.now.bind(performance);
    performance.now = () => now() + ms;
  },
  close: async () => {
    await notifications?.close();
    publisher.close();
    process.stdin.destroy(); // nothing else may keep the process alive
  },
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, ...rest] = JSON.parse(line);
  commands[command](...rest).catch((error) => tell({ rejected: error.message, kind: error.name }));
});
process.stdin.on("end", () => process.exit(1)); // the test is gone
if (notifications) {
  await notifications.open();
  tell({ reads: true });
  if (!waits) await read().catch((error) => tell({ rejected: error.message, kind: error.name }));
}
