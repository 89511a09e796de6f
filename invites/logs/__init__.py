"""The vendor's log templates, and the format of log lines."""
