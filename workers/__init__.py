"""What runs: the loops of a worker, its HTTP server, the command line, the demo and the benchmark.

It builds on the package `invites`, which never imports it.
"""
