"""Other Python workers over Redis, each with a no-op job in its own process.

Each has a module with `enqueue(url, name, jobs)`, which makes the backlog, and `work(url, name, job)`, which runs one
worker until it is cancelled and calls `job` for each job. `name` is part of all key names where the library allows it.

Their settings are the fastest that lose no job in a crash: one call for each job, acknowledged (or removed) one by one
after the job is done. Results and the logs of single jobs are off where the library allows that.
"""
