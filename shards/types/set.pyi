"""Native only: sets as the keyspace and the set commands know them (set.pxd)."""
