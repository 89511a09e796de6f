"""Erases what the server holds about a user (`invites erase`): keys, what other keys say of it, entries of streams."""

from invites.erasure.procedure import Erasure, ErasureError
from invites.erasure.report import Line, Report

__all__ = ["Erasure", "ErasureError", "Line", "Report"]
