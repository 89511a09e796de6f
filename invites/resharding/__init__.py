"""Moves the calls of a running deployment to a larger number of shards."""

from invites.resharding.procedure import Resharding, ReshardingError, Summary

__all__ = ["Resharding", "ReshardingError", "Summary"]
