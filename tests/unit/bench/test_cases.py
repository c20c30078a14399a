"""What a preload sends, how many items a draining case needs, and what the reports say of cases."""

from __future__ import annotations

import io
from typing import Any

import pytest

from bench.macro import load, report, report_types
from bench.macro.cases import Case, Fill, wire
from bench.macro.servers import ServerFailed
from bench.macro.targets import Goal
from tests.unit.bench.test_macro import result

ONE = b"*2\r\n$3\r\nGET\r\n$14\r\nk:%012d\r\n"


def test_a_fill_sends_its_command_once_for_each_number() -> None:
    chunks = wire(Fill("GET k:__rand_int__", 5), 5, batch=2)
    assert [count for _, count in chunks] == [2, 2, 1]
    assert b"".join(part for part, _ in chunks) == b"".join(ONE % n for n in range(5))


def test_items_go_in_batches_and_count_on() -> None:
    ((request, replies),) = wire(Fill("SADD s", 150, "m:__rand_int__"), 150)
    assert replies == 2
    assert request.startswith(b"*102\r\n$4\r\nSADD\r\n$1\r\ns\r\n$14\r\nm:000000000000\r\n")
    assert b"*52\r\n" in request
    assert request.endswith(b"m:000000000149\r\n")


def test_a_draining_case_has_enough_for_what_is_in_flight() -> None:
    assert Case("LPOP", "LPOP l", drain=1).needed(1000, 800) == 1800
    assert Case("GET", "GET k").needed(1000, 800) == 0


def test_replies_are_skipped_whatever_they_nest() -> None:
    stream = io.BytesIO(b"+OK\r\n:1\r\n*2\r\n$1\r\na\r\n*1\r\n$-1\r\n*-1\r\n+last\r\n")
    load.skip_replies(stream, 4)
    assert stream.read() == b"+last\r\n"


@pytest.mark.parametrize("answer", [b"-ERR no\r\n", b"*1\r\n-ERR no\r\n", b""])
def test_an_error_among_the_replies_fails_the_server(answer: bytes) -> None:
    with pytest.raises(ServerFailed):
        load.skip_replies(io.BytesIO(answer), 1)


def measured(ratio: float, broken: dict[str, dict[str, str]]) -> dict[str, Any]:
    base = result({"redis-server": 1.0, "shardis-1+1": ratio})
    commands = {test: f"{test} key" for test in ("SET", "GET", "INCR")}
    return {**base, "commands": commands, "broken": broken}


def test_verdicts_name_what_is_below_the_must() -> None:
    cases = report_types.Cases(measured(0.5, {}))
    (line,) = cases.verdicts({16: Goal(0.6, 1.0)})
    assert "**missed** by 3: GET 0.50, INCR 0.50, SET 0.50" in line
    (line,) = cases.verdicts({16: Goal(0.4, 0.45)})
    assert line.endswith("3 of 3 at the target; **target**")


def test_a_broken_case_is_below_every_must() -> None:
    cases = report_types.Cases(measured(2.0, {"shardis-1+1": {"GET": "it said no"}}))
    (line,) = cases.verdicts({16: Goal(0.6, 1.0)})
    assert "**missed** by 1: GET 0.00" in line
    assert cases.failures() == ["- shardis-1+1, GET: it said no"]


def test_the_survey_lists_the_slowest_first() -> None:
    survey = measured(0.5, {})
    for sample in survey["samples"]:
        if sample["row"] != "redis-server" and sample["test"] == "SET":
            sample["rps"] *= 3
    text = report.render({**survey, "scenario": "commands"})
    assert text.index("| GET |") < text.index("| SET |")


def test_memory_above_the_ratio_is_missed() -> None:
    grown = {"redis-server": {"a set": {"used": 100.0, "rss": 100.0}}}
    own = {"shardis-1+1": {"a set": {"used": 90.0, "rss": 110.0}}}
    base = result({"redis-server": 1.0, "shardis-1+1": 1.0})
    head = {key: base[key] for key in ("machine", "options", "rows", "failed")}
    text = report.render({**head, "scenario": "types-memory", "measured": {**grown, **own}})
    assert "| a set | 0.0 | 0.0 | 0.900 | 0.0 | 0.0 | 1.100 |" in text
    assert "**missed** (a set (RSS): 1.100)" in text
