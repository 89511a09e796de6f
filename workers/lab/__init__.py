"""To try a worker out: benchmark, demo, a fake sippo-server, an embedded Valkey. No production worker imports it."""
