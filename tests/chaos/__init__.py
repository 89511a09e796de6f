"""Calls under load while worker processes are killed, frozen and stopped, and the server with them.

python -m tests.chaos --seconds 60
"""
