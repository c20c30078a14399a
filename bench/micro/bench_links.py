"""A message and its answer between two processes, by kind of link.

    python -m bench.micro.bench_links [rounds]        (default: 3)

Prints the time until the answer, the processor time of both processes with all their threads, and
how often these slept, each per message and answer. Kinds take turns, as the machine's speed varies.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import tempfile
import time
from collections.abc import Callable

import zmq

from actors.mailbox import ZmqLink
from actors.zmtp import ZmtpLink

Link = ZmqLink | ZmtpLink

MESSAGES = 20_000
SIZES = (100, 8192)
KINDS: dict[str, Callable[[str, bool], Link]] = {
    "libzmq": lambda path, bind: ZmqLink(zmq.Context(1), path, bind),
    "native": lambda path, bind: ZmtpLink(path, bind),
}


def wait(link: Link) -> bytes:
    while (message := link.fetch()) is None:
        select.select([link.fileno()], [], [])
    return message


def answer(link: Link) -> None:
    for _ in range(MESSAGES + 1):
        link.post(wait(link))
    wait(link)  # so that the last answer is not cut off by our end


def usage(who: int) -> tuple[float, int]:
    """Seconds of processor time, and how often a thread went to sleep."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime, used.ru_nvcsw


def measure(kind: str, size: int) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = f"ipc://{directory}/link"
        before_child = usage(resource.RUSAGE_CHILDREN)
        child = os.fork()
        if child == 0:
            answer(KINDS[kind](path, True))
            os._exit(0)
        link = KINDS[kind](path, False)
        message = b"x" * size
        link.post(message)
        wait(link)
        before, started = usage(resource.RUSAGE_SELF), time.monotonic()
        for _ in range(MESSAGES):
            link.post(message)
            wait(link)
        elapsed, after = time.monotonic() - started, usage(resource.RUSAGE_SELF)
        link.post(b"")
        os.waitpid(child, 0)
        after_child = usage(resource.RUSAGE_CHILDREN)
        link.close()
    cpu = after[0] - before[0] + after_child[0] - before_child[0]
    slept = after[1] - before[1] + after_child[1] - before_child[1]
    return (
        f"{kind:8} {size:6} bytes: {elapsed / MESSAGES * 1e6:6.1f} us, "
        f"processors {cpu / MESSAGES * 1e6:6.1f} us, slept {slept / MESSAGES:.1f} times"
    )


def main() -> None:
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        for size in SIZES:
            for kind in KINDS:
                print(measure(kind, size), flush=True)


if __name__ == "__main__":
    main()
