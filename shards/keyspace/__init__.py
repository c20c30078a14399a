"""The keyspace of one shard: entries, tables by slot, expiry, lazy freeing."""
