"""Native only: the sorted set as the keyspace knows it (zset.pxd)."""
