"""`invites demo --page`: people and their devices on one page, over a real gateway, real workers and a real server."""

from workers.lab.page.access import PageError
from workers.lab.page.runner import show

__all__ = ["PageError", "show"]
