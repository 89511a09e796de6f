"""Calls under load while worker processes are killed, frozen and stopped, and the servers with them.

python -m tests.chaos --place cluster --seconds 60
"""
