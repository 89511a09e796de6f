"""`invites demo`: plays calls in the terminal, with a real server and a real worker."""

from workers.lab.demo.runner import play

__all__ = ["play"]
