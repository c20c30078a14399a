"""Native only: the hash as the keyspace knows it (hash.pxd)."""
