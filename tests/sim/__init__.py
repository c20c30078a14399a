"""The deterministic simulation: workers, shards and clients in one process, from a seed."""
