"""How a worker reports on itself: metrics, readiness, log lines, outages."""
