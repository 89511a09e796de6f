"""The HTTP server of a worker: health, metrics, invites, and the console."""
