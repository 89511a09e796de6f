"""Validation with readable errors, secrets, and text that is safe to print."""
