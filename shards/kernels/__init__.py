"""Pure computations on bytes: no keyspace, no reply, no clock."""
