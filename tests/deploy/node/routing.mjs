// Tells the shard of each event `[type, payload, shards]` on its standard input.
import { routingKey, shardOf } from "@invites/client";

let text = "";
for await (const chunk of process.stdin) text += chunk;
console.log(JSON.stringify(JSON.parse(text).map(([type, payload, shards]) => shardOf(routingKey(type, payload), shards))));
