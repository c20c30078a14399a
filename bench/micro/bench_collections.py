"""What an element of a big set, hash, sorted set or tree of ids costs, in time and in memory.

    python -m bench.micro.bench_collections [elements [redis-server]]        (default: 1000000)

The loops are C (collection_loops.pyx, built into a temporary folder). Memory is what the pool
counted and what RSS grew by; beside it what redis-server reports for the same data, by used_memory
and by RSS. Then, with each operation timed, the longest one in thread CPU time while the structure
grows from nothing and shrinks to nothing: the least of three runs.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.macro.servers import Server, free_port
from bench.micro.bench_keyspace import build_loops, report, rss_bytes
from shards.keyspace.keyspace import trim_memory, tune_allocator

BATCH = 1000
ROUNDS = 3
RANGES = 20_000


def request(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def additions(kind: str, count: int) -> Iterator[bytes]:
    """Commands that add the elements that the loops add."""
    for first in range(0, count, BATCH):
        members = [b"member:%07d" % n for n in range(first, min(first + BATCH, count))]
        if kind == "set":
            yield request([b"SADD", b"key", *members])
        elif kind == "hash":
            yield request([b"HSET", b"key", *(w for m in members for w in (m, m[:10]))])
        else:
            scores = (b"%d" % (n * 2654435761 % 2**31) for n in range(first, first + BATCH))
            pairs = zip(scores, members, strict=False)
            yield request([b"ZADD", b"key", *(word for pair in pairs for word in pair)])


def redis_bytes(binary: str, kind: str, count: int) -> tuple[float, float]:
    """What an element costs redis-server, in used_memory and in RSS."""
    port = free_port()
    folder = tempfile.mkdtemp()
    server = Server(port, [port], Path(folder))
    try:
        server.launch(binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "")
        server.wait_ready()
        status = Path(f"/proc/{server.children[0].pid}/statm")
        used, rss = server.used_memory(), int(status.read_text().split()[1])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for command in additions(kind, count):
                connection.sendall(command)
                assert connection.recv(100).startswith(b":")
        used = server.used_memory() - used
        rss = (int(status.read_text().split()[1]) - rss) * 4096
    finally:
        server.stop()
    return used / count, rss / count


def figures(name: str, unit_ns: dict[str, Callable[[], tuple[float, float]]]) -> None:
    for operation, run in unit_ns.items():
        report(f"{name}: {operation}", run()[0], "ns")


def longest(name: str, make: Callable[[], Any]) -> None:
    """The worst single operation of growing and of shrinking, each the least of some runs."""
    growing, shrinking = [], []
    for _ in range(ROUNDS):
        loops = make()
        growing.append(loops.fill(True)[1])
        shrinking.append(loops.empty(True)[1])
    report(f"{name}: longest insert", min(growing), "us")
    report(f"{name}: longest remove", min(shrinking), "us")


def memory(name: str, loops: Any, rss: int, count: int, redis: tuple[float, float] | None) -> None:
    grown = rss_bytes() - rss
    report(f"{name}: used_memory", loops.bytes / count, "bytes an element")
    report(f"{name}: RSS", grown / count, "bytes an element")
    if redis is not None:
        report(f"{name}: redis-server used_memory", redis[0], "bytes an element")
        report(f"{name}: redis-server RSS", redis[1], "bytes an element")


def measure(module: ModuleType, count: int, binary: str | None) -> None:
    members, wanted = module.Members(count, 1), module.Members(count, 2)
    for kind in ("set", "hash"):
        redis = redis_bytes(binary, kind, count) if binary else None
        trim_memory()
        rss = rss_bytes()
        loops = module.DictLoops(members, wanted, kind == "hash")
        figures(kind, {"insert": lambda loops=loops: loops.fill(False)})  # type: ignore[misc]
        memory(kind, loops, rss, count, redis)
        report(f"{kind}: find", min(loops.find(False)[0] for _ in range(ROUNDS)), "ns")
        ahead = min(loops.find(True)[0] for _ in range(ROUNDS))
        report(f"{kind}: find, prefetch of 16", ahead, "ns")
        figures(kind, {"random member": loops.random})
        report(f"{kind}: remove", loops.empty(False)[0], "ns")
        longest(kind, lambda kind=kind: module.DictLoops(members, wanted, kind == "hash"))  # type: ignore[misc]
    redis = redis_bytes(binary, "zset", count) if binary else None
    trim_memory()
    rss = rss_bytes()
    loops = module.ZsetLoops(members, wanted)
    report("zset: insert", loops.fill(False)[0], "ns")
    memory("zset", loops, rss, count, redis)
    report("zset: find and rank", loops.rank(count)[0], "ns")
    report("zset: range of 100 at a rank", loops.range_100(RANGES)[0], "ns")
    report("zset: find and update", loops.update(count)[0], "ns")
    report("zset: find and remove", loops.empty(False)[0], "ns")
    longest("zset", lambda: module.ZsetLoops(members, wanted))
    trim_memory()
    rss = rss_bytes()
    loops = module.IdTreeLoops(count)
    report("ids: append", loops.fill()[0], "ns")
    memory("ids", loops, rss, count, None)
    report("ids: find", loops.find()[0], "ns")
    report("ids: remove in order", loops.empty()[0], "ns")


def main() -> None:
    tune_allocator()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    binary = sys.argv[2] if len(sys.argv) > 2 else shutil.which("redis-server")
    with tempfile.TemporaryDirectory() as folder:
        measure(build_loops(folder, "collection_loops"), count, binary)


if __name__ == "__main__":
    main()
