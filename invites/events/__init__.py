"""The events of the contract: decoded strictly, routed to a shard, turned into the call of a rule."""
