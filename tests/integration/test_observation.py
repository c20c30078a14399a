"""SLOWLOG, LATENCY, MEMORY and INFO: what an operator sees, gathered from all processes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.resp_client import Node, parse
from tests.support.servers import Configuration, Oracle, ServerPool

pytestmark = pytest.mark.usefixtures("ours_only")


class Values:
    """A connection whose replies are Python values; an error is its text."""

    def __init__(self, client: Values) -> None:
        self.client = client

    def call(self, *args: bytes | str | int) -> Any:
        return value_of(parse(self.client.call(*args)))

    def close(self) -> None:
        self.client.close()


def value_of(node: Node) -> Any:
    """Lists, ints and bytes."""
    if isinstance(node.value, list):
        return [value_of(child) for child in node.value]
    if node.kind == ":":
        return int(node.value)
    return node.value.decode() if node.kind == "-" else node.value


@pytest.fixture
def client(server_pool: ServerPool) -> Iterator[Values]:
    """A connection to a server that remembers nothing yet."""
    server = server_pool.get(Configuration(shards=2))
    client = Values(server.client())
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "-1", "slowlog-max-len", "128")
    client.call("CONFIG", "SET", "latency-monitor-threshold", "0")
    client.call("SLOWLOG", "RESET")
    client.call("LATENCY", "RESET")
    client.call("CONFIG", "RESETSTAT")
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "10000")
    yield client
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "10000", "slowlog-max-len", "128")
    client.call("CONFIG", "SET", "latency-monitor-threshold", "0")
    client.close()


def fields(text: bytes) -> dict[str, str]:
    """INFO's fields by name."""
    lines = text.decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def slow_sleeps(client: Values) -> list[Any]:
    """What the slow log has of DEBUG. On a busy machine any other command may be in it, too: each
    of those to the router waits for all processes, and 10 ms are soon over."""
    return [entry for entry in client.call("SLOWLOG", "GET", "-1") if entry[3][0] == b"DEBUG"]


def test_a_slow_command_is_logged_with_its_client(client: Values) -> None:
    client.call("CLIENT", "SETNAME", "bob")
    client.call("DEBUG", "SLEEP", "0.02")
    [entry] = slow_sleeps(client)
    number, second, microseconds, arguments, address, name = entry
    assert arguments == [b"DEBUG", b"SLEEP", b"0.02"]
    assert 20_000 <= microseconds < 1_000_000
    assert abs(second - time.time()) < 5
    assert re.fullmatch(rb"127\.0\.0\.1:\d+", address)
    assert name == b"bob"
    client.call("DEBUG", "SLEEP", "0.02")
    newest, oldest = slow_sleeps(client)
    assert newest[0] > oldest[0] == number
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")
    assert client.call("SLOWLOG", "LEN") >= 2
    client.call("SLOWLOG", "RESET")
    assert client.call("SLOWLOG", "LEN") == 0


def test_commands_of_every_process_are_logged_in_order(client: Values) -> None:
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
    client.call("SET", "a", "1")  # one shard
    client.call("SET", "b", "1")  # the other
    client.call("MGET", "a", "b")  # split in the worker
    client.call("CLIENT", "ID")  # the worker itself
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")  # the router
    names = [entry[3][0] for entry in client.call("SLOWLOG", "GET", "-1")]
    assert names == [b"CLIENT", b"MGET", b"SET", b"SET", b"CONFIG"]


def test_long_arguments_and_passwords_are_cut_out(client: Values) -> None:
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
    client.call("SET", "key", "x" * 1000)
    client.call("DEL", *(f"{{t}}{number}" for number in range(40)))
    client.call("CONFIG", "SET", "masteruser", "secret")
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")
    by_name = {entry[3][0]: entry[3] for entry in client.call("SLOWLOG", "GET", "-1")}
    assert by_name[b"SET"][2] == b"x" * 128 + b"... (872 more bytes)"
    assert len(by_name[b"DEL"]) == 32
    assert by_name[b"DEL"][-1] == b"... (10 more arguments)"
    shown = [entry[3] for entry in client.call("SLOWLOG", "GET", "-1")]
    assert not any(b"secret" in arguments for arguments in shown)


def test_the_log_is_as_long_as_it_may_be(client: Values) -> None:
    client.call("CONFIG", "SET", "slowlog-max-len", "3")
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
    for number in range(20):
        client.call("SET", f"key{number}", "1")
    assert client.call("SLOWLOG", "LEN") == 3
    assert len(client.call("SLOWLOG", "GET", "2")) == 2


def test_a_threshold_of_zero_logs_the_fastest_command_too(client: Values) -> None:
    # Redis's suite counts 10 entries after 100 PINGs; ours were answered without being timed.
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
    client.call("SLOWLOG", "RESET")
    for _ in range(3):
        client.call("PING")
    names = [entry[3][0] for entry in client.call("SLOWLOG", "GET", "-1")]
    assert names == [b"PING", b"PING", b"PING", b"SLOWLOG"]


@pytest.mark.parametrize("count", ["-2", "x"])
def test_a_bad_count_is_refused(client: Values, count: str) -> None:
    answer = client.call("SLOWLOG", "GET", count)
    assert str(answer) == "ERR count should be greater than or equal to -1"


def test_latency_events_are_sampled_and_drawn(client: Values) -> None:
    assert client.call("LATENCY", "LATEST") == []
    assert client.call("LATENCY", "HISTORY", "command") == []
    assert str(client.call("LATENCY", "GRAPH", "command")) == (
        "ERR No samples available for event 'command'"
    )
    # Far above what a command takes, on a busy machine too; and none counts after the one meant.
    client.call("CONFIG", "SET", "latency-monitor-threshold", "150")
    client.call("DEBUG", "SLEEP", "0.2")
    client.call("CONFIG", "SET", "latency-monitor-threshold", "60000")
    [[event, second, latest, highest]] = client.call("LATENCY", "LATEST")
    assert event == b"command"
    assert 200 <= latest == highest < 5000
    assert client.call("LATENCY", "HISTORY", "command") == [[second, latest]]
    drawn = client.call("LATENCY", "GRAPH", "command").decode().split("\n")
    assert drawn[0] == (f"command - high {latest} ms, low {latest} ms (all time high {latest} ms)")
    assert drawn[1] == "-" * 80
    assert drawn[-1] == ""
    assert "command" in client.call("LATENCY", "DOCTOR").decode()
    assert client.call("LATENCY", "RESET", "fork") == 0
    # On a busy machine any command may take ten milliseconds: no more samples from here on.
    client.call("CONFIG", "SET", "latency-monitor-threshold", "0")
    assert client.call("LATENCY", "RESET") == 1
    assert client.call("LATENCY", "LATEST") == []


def test_the_histogram_of_a_command(client: Values) -> None:
    for number in range(10):
        client.call("SET", f"key{number}", "1")
    client.call("DEBUG", "SLEEP", "0.02")
    name, figures = client.call("LATENCY", "HISTOGRAM", "set")
    assert name == b"set"
    assert figures[:3] == [b"calls", 10, b"histogram_usec"]
    assert figures[3][-1] == 10
    _, (_, calls, _, steps) = client.call("LATENCY", "HISTOGRAM", "debug")
    assert calls == 1
    assert steps[0] >= 33816
    assert steps[1:] == [1]
    assert client.call("LATENCY", "HISTOGRAM", "nothing") == []
    stats = fields(client.call("INFO", "latencystats"))
    assert re.fullmatch(
        r"p50=[\d.]+,p99=[\d.]+,p99\.9=[\d.]+", stats["latency_percentiles_usec_set"]
    )
    client.call("CONFIG", "SET", "latency-tracking", "no")
    client.call("CONFIG", "RESETSTAT")
    client.call("SET", "key", "1")
    assert client.call("LATENCY", "HISTOGRAM", "set") == []
    client.call("CONFIG", "SET", "latency-tracking", "yes")


def test_memory_subcommands(client: Values) -> None:
    client.call("SET", "key", "x" * 100)
    figures = paired(client.call("MEMORY", "STATS"))
    assert figures[b"keys.count"] == 1
    assert figures[b"total.allocated"] > 100
    assert client.call("MEMORY", "PURGE") == b"OK"
    assert b"arena" in client.call("MEMORY", "MALLOC-STATS")
    assert client.call("MEMORY", "DOCTOR").endswith(b"\n")


def paired(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def test_memory_stats_shows_each_database_where_redis_does(client: Values, oracle: Oracle) -> None:
    """Each that has keys, in order, after the caches; the map of slots came with Redis 7.0."""
    theirs = Values(oracle.client())
    for values in (client, theirs):
        values.call("SET", "key", "x", "EX", "1000")
        values.call("SELECT", "3")
        values.call("MSET", *(word for n in range(1000) for word in (f"key:{n}", "x")))
    own, reference = (paired(values.call("MEMORY", "STATS")) for values in (client, theirs))
    # What a 7.0 does not have yet is left out; jemalloc's own fields come and go with it.
    assert [name for name in own if name in reference] == [n for n in reference if n in own]
    assert [name for name in own if name.startswith(b"db.")] == [b"db.0", b"db.3"]
    databases = [
        [paired(figures[name]) for name in (b"db.0", b"db.3")] for figures in (own, reference)
    ]
    for ours, redis in zip(*databases, strict=True):
        assert list(ours) == list(redis)
        assert all(isinstance(value, int) for value in ours.values())
        assert [value > 0 for value in ours.values()] == [value > 0 for value in redis.values()]
    assert own[b"overhead.total"] > sum(sum(one.values()) for one in databases[0])
    theirs.close()


def test_memory_is_counted_up_to_the_last_command(client: Values) -> None:
    for i in range(20):
        before = int(fields(client.call("INFO", "memory"))["used_memory"])
        client.call("SET", f"memory:{i}", b"x" * 100_000)
        after = int(fields(client.call("INFO", "memory"))["used_memory"])
        assert 100_000 <= after - before < 500_000  # the first one has its database made


def test_info_has_the_fields_of_redis_server(client: Values, oracle: Oracle) -> None:
    theirs = Values(oracle.client())
    for section in ("default", "everything"):
        expected = {
            name
            for name in fields(theirs.call("INFO", section))
            if not name.startswith(("cmdstat_", "errorstat_", "latency_percentiles_", "db"))
        }
        missing = expected - fields(client.call("INFO", section)).keys()
        assert not missing, missing
    theirs.close()


def test_event_loops_are_counted(client: Values) -> None:
    before = fields(client.call("INFO", "stats"))
    for number in range(20):
        client.call("SET", f"key{number}", "1")
    after = fields(client.call("INFO", "stats"))
    for name in ("eventloop_cycles", "eventloop_duration_sum", "eventloop_duration_cmd_sum"):
        assert int(after[name]) > int(before[name]), name
    assert "instantaneous_eventloop_cycles_per_sec" in after
    assert "instantaneous_eventloop_duration_usec" in after


def test_figures_for_developers_are_shown_by_name_only(client: Values) -> None:
    client.call("SET", "key", "1")
    for words in ((), ("all",), ("everything",), ("default",)):
        assert "eventloop_duration_max" not in fields(client.call("INFO", *words))
    figures = fields(client.call("INFO", "debug"))
    assert figures["eventloop_duration_aof_sum"] == "0"
    assert int(figures["eventloop_duration_max"]) > 0
    assert int(figures["eventloop_cmd_per_cycle_max"]) > 0
    assert "eventloop_duration_cron_sum" in figures
