"""The commands for operators: what to look at, what to publish, what to mend."""
