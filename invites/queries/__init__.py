"""What people and the HTTP API read: invites, the state of a shard, dead letters, stream entries."""
