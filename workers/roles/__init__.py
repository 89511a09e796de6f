"""The roles of a worker on one shard: settle, push, relay, fire timers, keep the shard small."""
