"""What the events mean: protocol, keys, the server's functions, and the clients for Redis and sippo-server.

Nothing here starts a process or runs until it is stopped; that is the package `workers`. Two clients start short-lived
asyncio tasks, which end with them: `sippo` for a login or a probe, `resharding` to renew its lease during a move.
"""

__version__ = "0.1.0"

SERVICE = "SippoAS.qss.invites-rooms"
"""The vendor's name for this service. It stands in JSON log lines and in the names of Redis connections."""
