// Closes readers while they open: the URL comes on standard input. Prints how many groups are left.
import { readFileSync } from "node:fs";

import { Notifications } from "@invites/client";
import { Redis } from "ioredis";

const SHARDS = 60;
const redis = new Redis(readFileSync(0, "utf8"));
const groups = async (shard) => {
  try {
    return (await redis.xinfo("GROUPS", `invites:{${shard}}:notifications`)).length;
  } catch {
    return 0; // there is no such stream yet
  }
};

let left = 0;
for (let step = 0; step < 5; step++) {
  const notifications = new Notifications(redis, { shards: SHARDS });
  const opening = notifications.open().catch(() => {});
  while ((await groups(SHARDS / 2)) === 0);
  for (let more = 0; more < step; more++) await redis.ping(); // another command is under way then
  await notifications.close();
  await opening;
  for (let shard = 0; shard < SHARDS; shard++) left += await groups(shard);
  await redis.flushall();
}
process.stdout.write(JSON.stringify(left));
redis.disconnect();
