"""What the server has to reach, as ratios to redis-server in the same round."""

from __future__ import annotations

from dataclasses import dataclass

BASELINE = "redis-server"
PROXY = "twemproxy"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that must be reached, and the one that is aimed at."""

    must: float
    target: float

    def verdict(self, value: float) -> str:
        if value >= self.target:
            return "target"
        return "must" if value >= self.must else "missed"


# Row -> pipeline depth -> goal for the geometric mean of SET, GET and INCR.
THROUGHPUT: dict[str, dict[int, Goal]] = {
    "shardis-1+1": {1: Goal(0.85, 1.0), 16: Goal(1.3, 1.6), 50: Goal(1.5, 2.1)},
    "shardis-1+2": {1: Goal(0.80, 0.9), 16: Goal(1.0, 1.3), 50: Goal(1.2, 1.8)},
    "shardis-port": {1: Goal(0.90, 1.0), 16: Goal(1.5, 2.0), 50: Goal(2.2, 3.0)},
}

# Pipeline depth -> goal for each hot command on collections.
TYPES: dict[int, Goal] = {1: Goal(0.85, 1.0), 16: Goal(1.0, 1.3), 50: Goal(1.1, 1.6)}
# Pipeline depth -> goal for each command of ten keys over two shards.
SEVERAL_KEYS: dict[int, Goal] = {16: Goal(0.6, 0.8)}
# No command at all may be slower than this, at P=16.
WORST_COMMAND = Goal(0.35, 1.0)
# Growth of memory by the same data.
MEMORY_RATIO_MAX = 1.02
# Row and case of the scenario `transactions`.
TRANSACTIONS: dict[tuple[str, str], Goal] = {
    ("shardis-1+1", "EXEC of 4 INCR (one shard) P=16"): Goal(1.2, 1.2),
    ("shardis-1+2", "EXEC of 4 INCR (one shard) P=16"): Goal(1.2, 1.2),
    ("shardis-1+2", "EXEC of 4 INCR (two shards) P=16"): Goal(0.35, 0.35),
    ("shardis-1+1", "BLPOP/RPUSH in 50 pairs"): Goal(0.9, 0.9),
    ("shardis-1+1", "queue of 10 + 10"): Goal(1.0, 1.0),
}
