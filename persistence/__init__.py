"""Data as bytes that outlive a process: Redis's RDB formats."""
