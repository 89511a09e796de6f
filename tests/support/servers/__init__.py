"""Real servers for the tests: single ones that keep their data when killed, with replicas and sentinels, clusters."""
