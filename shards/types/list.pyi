"""Native only: the list as the keyspace knows it (list.pxd)."""
