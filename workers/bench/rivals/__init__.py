"""Other Python workers over Redis, each with a job that does nothing, in a process of its own.

A module for each has `enqueue(url, name, jobs)`, which makes the backlog, and `work(url, name, job)`, which runs one
worker until it is cancelled and calls `job` for each job. `name` is in the names of all keys where that can be said.

Their settings are the fastest of those that keep what a worker owes: a call for each job, acknowledged (or removed)
one by one after it is done, so that a crash loses none. Where results can be left out, or logs of each job, they are.
"""
