"""`invites bench`: what this machine can do, measured with a load generator and a server of its own."""

from workers.lab.bench.app import app

__all__ = ["app"]
