"""Queries for operators and the HTTP API: invites, the state of a shard, dead letters, stream entries."""
