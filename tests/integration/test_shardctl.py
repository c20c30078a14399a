"""shardctl as an operator runs it, against a running server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from shardctl.client import Client, Target
from shardctl.figures import take_status
from tests.support.servers import ROOT, Shardis

pytestmark = pytest.mark.usefixtures("ours_only")
SECONDS_MAX = 30
KEYS = 100


def command(server: Shardis, *words: str) -> list[str]:
    return [sys.executable, "-m", "shardctl.main", *words, "--port", str(server.port)]


def shardctl(server: Shardis, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(server, *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def found(server: Shardis, *words: str, code: int = 0) -> Any:
    done = shardctl(server, *words, "--json")
    assert done.returncode == code, done
    return json.loads(done.stdout)


def test_status_shows_every_process(shardis: Shardis) -> None:
    with shardis.client() as client:
        client.pipeline([("SET", f"key:{number}", "x") for number in range(KEYS)])
        status = found(shardis, "status", "--sample", "0.2")
    assert status["healthy"] is True
    assert status["process_id"] == status["router"]["pid"] == shardis.pid
    living = set(shardis.pids())
    processes = [status["router"], *status["workers"], *status["shards"]]
    assert {process["pid"] for process in processes} <= living
    assert (len(status["workers"]), len(status["shards"])) == (1, 2)
    assert status["keys"] == sum(shard["keys"] for shard in status["shards"]) == KEYS
    assert sum(shard["slots"] for shard in status["shards"]) == 16384
    assert all(process["rss"] > 1 << 20 and process["cpu"] > 0 for process in processes)
    assert all(process["cpu_percent"] is not None for process in processes)
    assert all(shard["used_memory"] > 0 for shard in status["shards"])
    assert "shard 1" in shardctl(shardis, "status").stdout


def test_top_sees_what_runs_between_two_looks(shardis: Shardis) -> None:
    watching = subprocess.Popen(
        command(shardis, "top", "--json", "-i", "0.3", "-n", "3"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with shardis.client() as client, watching:
        while watching.poll() is None:
            client.pipeline([("GET", f"key:{number}") for number in range(KEYS)])
        assert watching.stdout is not None
        looks = [json.loads(line) for line in watching.stdout]
    assert (watching.returncode, len(looks)) == (0, 3)
    for look in looks:
        assert all(shard["ops_per_second"] > 0 for shard in look["shards"])
        assert "get" in [one["command"] for one in look["commands"]]


def test_top_ends_by_an_interrupt(shardis: Shardis) -> None:
    with subprocess.Popen(
        command(shardis, "top", "-i", "0.1", "--json"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["healthy"] is True
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=SECONDS_MAX)
    assert watching.returncode == 0


def test_config_is_read_and_changed(shardis: Shardis) -> None:
    before = found(shardis, "config", "get", "hz")["hz"]
    try:
        done = shardctl(shardis, "config", "set", "hz", "17")
        assert (done.returncode, done.stdout) == (0, "")
        assert shardctl(shardis, "config", "get", "hz").stdout == "hz 17\n"
    finally:
        assert shardctl(shardis, "config", "set", "hz", before).returncode == 0
    assert shardctl(shardis, "config", "get", "nosuch*").returncode == 1
    refused = shardctl(shardis, "config", "set", "nosuch", "1")
    assert refused.returncode == 4
    assert "nosuch" in refused.stderr


def test_slots_says_where_keys_live(shardis: Shardis) -> None:
    slots = found(shardis, "slots")
    assert (slots["owned"], slots["total"]) == (16384, 16384)
    with shardis.client() as client:
        client.call("SET", "foo", "x")
    (place,) = found(shardis, "slots", "foo")
    keys = [shard["keys"] for shard in found(shardis, "status", "--sample", "0")["shards"]]
    assert keys[place["shard"]] == 1
    assert sum(keys) == 1


def test_a_wrong_password_is_refused(shardis: Shardis) -> None:
    """The server has no password: giving one is an error of the operator."""
    done = shardctl(shardis, "status", "--password", "secret")
    assert done.returncode == 4
    assert "secret" not in done.stderr


def test_a_stopped_server_is_told_from_a_running_one(
    own_server: Callable[..., Shardis],
) -> None:
    server = own_server(shards=1)
    server.stop()
    assert shardctl(server, "status").returncode == 3


def test_a_shard_that_is_down_is_degraded_not_gone(own_server: Callable[..., Shardis]) -> None:
    """Killed as often as it comes back, until a look falls in between."""
    server = own_server(shards=2)
    deadline = time.monotonic() + SECONDS_MAX
    code = 0
    while code == 0 and time.monotonic() < deadline:
        with Client(Target(port=server.port)) as client:
            victim = take_status(client).shards[1]
        if victim["state"] == "up":
            os.kill(victim["pid"], signal.SIGKILL)
        done = shardctl(server, "status", "--sample", "0", "--json")
        code = done.returncode
    assert code == 1, done
    assert [shard["state"] for shard in json.loads(done.stdout)["shards"]] == ["up", "down"]
