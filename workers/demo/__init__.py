"""`invites demo`: calls played in the terminal, on a real server with a real worker."""

from workers.demo.runner import play

__all__ = ["play"]
