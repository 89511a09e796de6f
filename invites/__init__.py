"""What the events mean: the contract's words, the keys, the scripts and what one needs to read them.

Nothing in here runs a process or a loop; that is the package `workers`.
"""

__version__ = "0.2.0"

SERVICE = "SippoAS.qss.invites-rooms"
"""The service's name, as the vendor's: in JSON log lines, and the name of the Redis connections."""
