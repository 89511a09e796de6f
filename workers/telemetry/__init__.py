"""What others learn about a worker: metrics, readiness, log lines, one voice in an outage."""
