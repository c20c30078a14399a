"""Native only: a shard's Keyspace owns its reaper (Keyspace.start_reaper)."""
