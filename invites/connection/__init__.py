"""Connections to Redis and Valkey: URLs, clients with explicit time-outs, Sentinel and Cluster."""
