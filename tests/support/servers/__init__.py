"""Real servers for the tests: single ones that outlive their death, with replicas and sentinels, and clusters."""
