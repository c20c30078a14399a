"""What both lanes of handlers, native and Python, see of their shard."""
