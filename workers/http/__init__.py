"""The HTTP server of a worker: health, metrics, and what rings now."""
