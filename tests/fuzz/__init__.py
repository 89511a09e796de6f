"""Generated input of every kind for a worker process: nothing stops it, and each entry is kept or a dead letter."""
