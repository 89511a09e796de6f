"""Moves the calls of a deployment to a larger number of shards.

All cluster nodes must be healthy. Do not move slots or fail over during a reshard. While a reshard runs, a task renews
its lease; it ends with the reshard.
"""

from invites.resharding.procedure import Resharding, ReshardingError, Summary

__all__ = ["Resharding", "ReshardingError", "Summary"]
