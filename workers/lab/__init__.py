"""Tools around a worker: benchmark, demo, a fake sippo-server, an embedded Valkey. Production workers import none."""
