"""The data plane: one strictly single-threaded actor per shard that owns its keyspace."""
