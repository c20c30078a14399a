"""RQ, as it comes from PyPI, over three shards: its queues, results, retries and dependencies.

Its scheduler and unique jobs are Lua scripts, and commands to a running worker come by pub/sub:
these wait for both.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
import rq
from rq.job import JobStatus

from tests.integration.programs import rq_jobs
from tests.integration.programs.processes import Worker, running, until
from tests.support.servers import Configuration, Server, ServerPool

JOBS = 40


@pytest.fixture
def server(server_pool: ServerPool) -> Server:
    return server_pool.get(Configuration(shards=3, workers=2))


@pytest.fixture
def connection(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as client:
        yield client


def worker(server: Server, *words: str) -> Worker:
    url = f"redis://127.0.0.1:{server.port}"
    return Worker(server, "rq.cli", "worker", "--url", url, "--path", ".", *words)


def test_jobs_of_two_queues_are_done_once_each(server: Server, connection: redis.Redis) -> None:
    high, low = rq.Queue("high", connection=connection), rq.Queue("low", connection=connection)
    jobs = [(high, low)[n % 2].enqueue(rq_jobs.add, n, 1000) for n in range(JOBS)]
    low.enqueue_many([rq.Queue.prepare_data(rq_jobs.note, (str(n),)) for n in range(JOBS)])
    workers = [worker(server, "--burst", "high", "low") for _ in range(2)]
    with running(*workers):
        for one in workers:
            one.wait()
        assert [job.return_value() for job in jobs] == [1000 + n for n in range(JOBS)]
        marks = connection.lrange("marks", 0, -1)
        assert sorted(marks, key=int) == [b"%d" % n for n in range(JOBS)]
        assert high.finished_job_registry.count + low.finished_job_registry.count == 2 * JOBS
        assert high.count == low.count == 0


@pytest.mark.parametrize("queues", [["one"], ["one", "two"]], ids=["a-queue", "two-queues"])
def test_a_worker_that_waits_is_woken(
    queues: list[str], server: Server, connection: redis.Redis
) -> None:
    """With one queue it waits by BLMOVE, with more by BLPOP."""
    one = worker(server, *queues)
    with running(one):
        until(lambda: rq.Worker.count(connection=connection) == 1, "the worker's registration")
        queue = rq.Queue(queues[-1], connection=connection)
        for number in range(5):
            job = queue.enqueue(rq_jobs.add, number, 1)
            until(lambda job=job: job.get_status(refresh=True) == JobStatus.FINISHED, "the job")
            assert job.return_value() == number + 1


def test_what_fails_is_tried_again(server: Server, connection: redis.Redis) -> None:
    queue = rq.Queue("retries", connection=connection)
    job = queue.enqueue(rq_jobs.fail_until, 3, retry=rq.Retry(max=3))
    hopeless = queue.enqueue(rq_jobs.fail_until, 1000, retry=rq.Retry(max=2))
    one = worker(server, "--burst", "retries")
    with running(one):
        one.wait()
        assert job.get_status(refresh=True) == JobStatus.FINISHED
        assert hopeless.get_status(refresh=True) == JobStatus.FAILED
        assert queue.failed_job_registry.get_job_ids() == [hopeless.id]
        queue.failed_job_registry.requeue(hopeless.id)
        assert queue.job_ids == [hopeless.id]
        assert len(queue.failed_job_registry) == 0


def test_jobs_wait_for_those_that_they_depend_on(server: Server, connection: redis.Redis) -> None:
    queue = rq.Queue("chain", connection=connection)
    first = [queue.enqueue(rq_jobs.note, f"first {n}") for n in range(3)]
    second = queue.enqueue(rq_jobs.note, "second", depends_on=first)
    third = queue.enqueue(rq_jobs.note, "third", depends_on=second)
    dropped = queue.enqueue(rq_jobs.note, "dropped", depends_on=first)
    dropped.cancel()
    assert second.get_status() == third.get_status() == JobStatus.DEFERRED
    one = worker(server, "--burst", "chain")
    with running(one):
        one.wait()
        marks = connection.lrange("marks", 0, -1)
        assert sorted(marks[:3]) == [b"first 0", b"first 1", b"first 2"]
        assert marks[3:] == [b"second", b"third"]
        assert dropped.get_status(refresh=True) == JobStatus.CANCELED
