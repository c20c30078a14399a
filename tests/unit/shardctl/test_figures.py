"""What shardctl reads from INFO: fields, rates between two looks, slots."""

from __future__ import annotations

from typing import Any

import pytest

from shardctl.client import ProtocolError
from shardctl.figures import (
    add_rates,
    busiest_commands,
    parse_fields,
    parse_info,
    status_from,
)
from shardctl.key_slots import Owners

INFO = """# Server\r
redis_version:7.2.6\r
shardis_version:0.1.0\r
process_id:100\r
uptime_in_seconds:3700\r
connected_clients:5\r
used_memory:2048\r
used_memory_human:2.00K\r
maxmemory:0\r
instantaneous_ops_per_sec:1500\r
\r
# Commandstats\r
cmdstat_get:calls={gets},usec={usec},usec_per_call=1.00,rejected_calls=0,failed_calls=0\r
cmdstat_config|get:calls=1,usec=50,usec_per_call=50.00,rejected_calls=0,failed_calls=0\r
shards:2\r
shard0:state=up,pid=101,epoch=1,restarts=0,slots=8192,keys=3,used_memory=1024,rss=9000,commands={commands},cpu={cpu}\r
shard1:state={state},pid=102,epoch=2,restarts=1,slots=8192,keys=4,used_memory=1024,rss=9000,commands=7,cpu=0.5\r
workers:1\r
worker0:state=up,pid={worker},epoch=1,restarts=0,connections=5,rss=9000,input_bytes=1,output_bytes=2,commands=3,cpu=0.25\r
router:state=up,pid=100,rss=9000,commands=2,cpu=0.125000\r
slots_8192-16383:shard=1\r
slots_0-8191:shard=0\r
"""
FIGURES: dict[str, Any] = {
    "gets": 10,
    "usec": 10,
    "commands": 100,
    "cpu": 1.0,
    "state": "up",
    "worker": 103,
}


def info(**changes: Any) -> str:
    return INFO.format(**{**FIGURES, **changes})


def test_info_is_read_by_name() -> None:
    assert parse_info("# A\r\na:1:2\r\n\r\nb:\r\n") == {"a": "1:2", "b": ""}
    assert parse_fields("a=1,b=0.5,c=up,d=") == {"a": 1, "b": 0.5, "c": "up", "d": ""}


def test_a_status_has_all_processes_and_slots() -> None:
    status = status_from(info())
    assert [(one["kind"], one["index"], one["pid"]) for one in status.processes] == [
        ("router", 0, 100),
        ("worker", 0, 103),
        ("shard", 0, 101),
        ("shard", 1, 102),
    ]
    assert (status.keys, status.clients, status.owned) == (7, 5, 16384)
    assert [one["shard"] for one in status.slots] == [0, 1]
    owners = Owners(status.slots)
    assert [owners.of(slot) for slot in (0, 8191, 8192, 16383)] == [0, 0, 1, 1]
    assert Owners(status.slots[:1]).of(9000) is None
    assert status.healthy
    assert not status_from(info(state="down")).healthy


def test_rates_are_what_changed_in_the_time_between() -> None:
    earlier = status_from(info(), now=10.0)
    later = status_from(info(commands=300, cpu=1.5), now=12.0)
    assert later.shards[0]["ops_per_second"] is None
    add_rates(later, earlier)
    assert (later.shards[0]["ops_per_second"], later.shards[0]["cpu_percent"]) == (100.0, 25.0)
    assert (later.router["ops_per_second"], later.router["cpu_percent"]) == (0.0, 0.0)


def test_what_began_anew_has_no_rate() -> None:
    earlier = status_from(info(), now=10.0)
    later = status_from(info(commands=5, worker=999, state="down"), now=12.0)
    add_rates(later, earlier)
    assert later.shards[0]["ops_per_second"] is None  # its figures were reset
    assert later.shards[0]["cpu_percent"] == 0.0
    assert later.workers[0]["cpu_percent"] is None  # another process
    assert later.shards[1]["cpu_percent"] is None  # down
    add_rates(earlier, earlier)  # no time between them
    assert earlier.router["cpu_percent"] is None


def test_the_busiest_commands_are_those_of_the_time_between() -> None:
    earlier = status_from(info(), now=10.0)
    later = status_from(info(gets=30, usec=110), now=12.0)
    assert busiest_commands(later, earlier, 5) == [
        {"command": "get", "calls_per_second": 10.0, "microseconds_per_call": 5.0}
    ]
    assert busiest_commands(later, earlier, 0) == []
    assert busiest_commands(earlier, later, 5) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("redis_version:7.2.6\r\n", "not shardis"),
        (info().replace("used_memory:2048", "used_memory:much"), "garbles"),
        (info().replace("workers:1", "workers:2"), "lacks or garbles 'worker1'"),
        (info().replace(",cpu=0.25", ""), "cpu of worker 0"),
        (info().replace("slots_0-8191", "slots_some"), "garbles"),
        (info().replace("keys=3", "keys=few"), "garbles"),
    ],
)
def test_another_server_is_told_apart(text: str, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        status_from(text)
