"""One stream of a shard as a worker consumes it: read, reclaim, keep, hand over."""
