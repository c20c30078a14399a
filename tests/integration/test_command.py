"""COMMAND of a running server, and redis-cli, which takes its hints from it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from fcntl import ioctl

import pytest

from tests.meta.sources import ROOT
from tests.support.docs_shape import digest, shapes
from tests.support.resp_client import RespClient, parse
from tests.support.servers import Shardis

DIGESTS: dict[str, str] = json.loads((ROOT / "tests/data/command-docs-7.2.json").read_text())
COLUMNS = 200
HINT_SECONDS_MAX = 10.0
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def names(client: RespClient, *words: str) -> set[str]:
    return {one.value.decode() for one in parse(client.call("COMMAND", "LIST", *words)).value}


@pytest.mark.usefixtures("ours_only")
def test_docs_answer_for_every_command_that_runs(connect: Callable[..., RespClient]) -> None:
    client = connect(resp=3)
    described = shapes(parse(client.call("COMMAND", "DOCS")))
    assert set(described) == names(client)
    differing = {
        name: shape
        for name, shape in described.items()
        if name in DIGESTS and digest(shape) != DIGESTS[name]
    }
    assert not differing


@pytest.mark.usefixtures("ours_only")
def test_list_count_and_info_are_of_one_mind(connect: Callable[..., RespClient]) -> None:
    client = connect()
    everything = names(client)
    commands = {name for name in everything if "|" not in name}
    assert everything > commands
    assert int(parse(client.call("COMMAND", "COUNT")).value) == len(commands)
    described = parse(client.call("COMMAND", "INFO")).value
    assert {entry.value[0].value.decode() for entry in described} == commands
    assert client.call("COMMAND") == client.call("COMMAND", "INFO")
    assert names(client, "FILTERBY", "PATTERN", "config|*") == {
        name for name in everything if name.startswith("config|")
    }
    assert names(client, "FILTERBY", "MODULE", "any") == set()


def test_docs_of_unknown_commands_are_left_out(connect: Callable[..., RespClient]) -> None:
    client = connect(resp=3)
    assert client.call("COMMAND", "DOCS", "nosuch") == b"%0\r\n"
    reply = parse(client.call("COMMAND", "DOCS", "config|get", "nosuch", "GET", "get"))
    assert [one.value for one in reply.value[::2]] == [b"config|get", b"get", b"get"]


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="no redis-cli")
def test_redis_cli_shows_hints_and_runs_commands(shardis: Shardis) -> None:
    """At a terminal; hints come after the cursor, and go as the arguments come."""
    with contextlib.ExitStack() as stack:
        ours, theirs = pty.openpty()
        stack.callback(os.close, ours)
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        cli = subprocess.Popen(
            ["redis-cli", "-p", str(shardis.port)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "HOME": str(shardis.directory)},
        )
        stack.callback(cli.wait)
        stack.callback(cli.kill)
        os.close(theirs)
        read_until(ours, b"> ")
        os.write(ours, b"getex k ")
        shown = read_until(ours, b"PERSIST]")
        assert b"EX seconds" in shown
        os.write(ours, b"persist\r")
        read_until(ours, b"(nil)\r\n127.0.0.1:%d> " % shardis.port)
        os.write(ours, b"config get ")
        assert b"parameter" in read_until(ours, b"parameter ...]")
        os.write(ours, b"port\r")
        read_until(ours, str(shardis.port).encode())


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What the terminal shows, without its escapes, until the wanted text is in it."""
    shown = b""
    deadline = time.monotonic() + HINT_SECONDS_MAX
    while wanted not in (plain := ESCAPES.sub(b"", shown)):
        left = deadline - time.monotonic()
        assert left > 0, f"{wanted!r} did not come: {plain!r}"
        if select.select([terminal], [], [], left)[0]:
            shown += os.read(terminal, 65536)
    return plain
