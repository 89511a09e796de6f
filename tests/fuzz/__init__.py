"""Generated input of every kind for a worker process: nothing stops it, and no entry is lost."""
