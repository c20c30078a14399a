"""Two huey applications on the server at PROGRAM_PORT, with and without priorities."""

from __future__ import annotations

import os

from huey import PriorityRedisHuey, RedisHuey

PORT = int(os.environ.get("PROGRAM_PORT", "6379"))
plain = RedisHuey("plain", port=PORT, blocking=True, read_timeout=1)
ordered = PriorityRedisHuey("ordered", port=PORT, blocking=True, read_timeout=1)


@plain.task()
def add(left: int, right: int) -> int:
    return left + right


@plain.task(retries=3, retry_delay=0)
def fail_twice() -> str:
    if plain.storage.conn.incr("tries") < 3:
        raise RuntimeError("not yet")
    return "at last"


@plain.task()
@plain.lock_task("only-one")
def alone() -> int:
    """How many run at the same time, at most."""
    running = int(plain.storage.conn.incr("running"))
    plain.storage.conn.decr("running")
    return running


@ordered.task()
def note(name: str) -> None:
    ordered.storage.conn.rpush("marks", name)
