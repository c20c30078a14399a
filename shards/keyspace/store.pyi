"""The native keyspace; native only (see store.pxd)."""
