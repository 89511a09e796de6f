"""`invites demo`: calls played in the terminal, on a real server with a real worker."""

from workers.lab.demo.theatre import play

__all__ = ["play"]
