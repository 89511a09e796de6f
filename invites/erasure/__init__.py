"""Erases the data of a user (`invites erase`): keys, mentions in other keys, entries of streams."""

from invites.erasure.procedure import Erasure, ErasureError
from invites.erasure.report import Line, Report

__all__ = ["Erasure", "ErasureError", "Line", "Report"]
