"""Running commands in a shard: the executor, locks."""
