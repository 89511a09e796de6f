"""Helpers that tests share, one module for each thing they help with."""
