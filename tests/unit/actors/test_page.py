"""SharedPage: what one process counts, all forked later see."""

from __future__ import annotations

import os

import pytest

from actors.page import FIELDS, PROCESSES_MAX, SharedPage


def in_children(count: int, action: object) -> None:
    """Run an action in forked processes, and wait for them."""
    pids = []
    for index in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                action(index)  # type: ignore[operator]
                os._exit(0)
            except BaseException:
                os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * count


def test_client_ids_of_several_processes_are_never_given_twice() -> None:
    page = SharedPage(2, 2)
    reader, writer = os.pipe()

    def take(index: int) -> None:
        ids = [page.next_client_id() for _ in range(500)]
        os.write(writer, b"".join(b"%6d" % one for one in ids))

    in_children(4, take)
    os.close(writer)
    data = b""
    while chunk := os.read(reader, 65536):
        data += chunk
    os.close(reader)
    ids = [int(data[at : at + 6]) for at in range(0, len(data), 6)]
    assert sorted(ids) == list(range(1, 2001))
    assert page.next_client_id() == 2001


def test_figures_of_one_process_are_seen_by_another() -> None:
    page = SharedPage(1, 2)
    in_children(2, lambda index: page.set_shard(index, "used_memory", 100 + index))
    assert [page.shard(0, "used_memory"), page.shard(1, "used_memory")] == [100, 101]
    assert page.total("used_memory") == 201


def test_connections_are_counted_over_all_workers() -> None:
    page = SharedPage(2, 1)
    assert page.connect(0) == 1
    assert page.connect(1) == 2
    page.disconnect(0)
    assert page.total("connections") == 1
    assert page.worker(1, "connections") == 1


def test_clearing_a_dead_process_leaves_the_others() -> None:
    page = SharedPage(2, 2)
    for name in FIELDS:
        for index in range(2):
            page.set_worker(index, name, 7)
            page.set_shard(index, name, 5)
    page.clear_worker(1)
    page.clear_shard(0)
    for name in FIELDS:
        assert page.total(name) == 12
        assert (page.worker(0, name), page.shard(1, name)) == (7, 5)


def test_an_index_out_of_range_is_refused() -> None:
    page = SharedPage(1, 1)
    for index in (-1, 1, 1000):
        with pytest.raises(IndexError):
            page.worker(index, "commands")
        with pytest.raises(IndexError):
            page.set_shard(index, "commands", 1)
    with pytest.raises(KeyError):
        page.worker(0, "no such figure")
    with pytest.raises(ValueError, match="workers and shards"):
        SharedPage(PROCESSES_MAX, 1)
