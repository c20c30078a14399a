"""A Celery application on the server at PROGRAM_PORT; tasks leave marks there, as results would."""

from __future__ import annotations

import os

import redis
from celery import Celery

PORT = os.environ.get("PROGRAM_PORT", "6379")
URL = f"redis://127.0.0.1:{PORT}/"
app = Celery("programs", broker=URL + "0")
app.conf.update(
    worker_enable_remote_control=False,  # it needs pub/sub
    broker_connection_retry_on_startup=True,
    broker_transport_options={"priority_steps": list(range(3)), "queue_order_strategy": "priority"},
    worker_prefetch_multiplier=1,
)


def marks() -> redis.Redis:
    return redis.Redis(port=int(PORT), db=1)


@app.task
def note(name: str) -> int:
    return int(marks().rpush("marks", name))


@app.task
def add(left: int, right: int) -> int:
    return left + right


@app.task(bind=True, max_retries=3, acks_late=True)
def fail_twice(self) -> None:  # type: ignore[no-untyped-def]
    """Fail at first, and leave a mark when it succeeds."""
    if marks().incr("tries") < 3:
        raise self.retry(countdown=0)
    marks().rpush("marks", "at last")


@app.task(acks_late=True, reject_on_worker_lost=True)
def die_once(name: str) -> None:
    """End the process that runs it, the first time."""
    if marks().incr("deaths") == 1:
        os.kill(os.getpid(), 9)
    marks().rpush("marks", name)
