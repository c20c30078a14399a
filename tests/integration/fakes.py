"""A server whose workers and shards do nothing but what the supervisor asks; run as a script.

    python fakes.py COMMAND-LINE-OF-SHARDIS-SERVER...

A worker accepts connections and answers a RESP command, or the line `admin WORD...`, with the
reply of that ADMIN command, `topology` with the newest topology, `config NAME` with the value it
knows, and anything else with its own index and pid.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors.boot import Boot
from actors.control import ControlLink
from actors.figures import process_figures
from router.main import Program, main
from router.table import full_table


def worker_main(boot: Boot) -> None:
    asyncio.run(serve(boot))


async def serve(boot: Boot) -> None:
    topology: dict[str, Any] = boot.topology.message()
    config = dict(boot.config)
    stopping = asyncio.Event()

    def requested(message: dict[str, Any]) -> Any:
        match message["op"]:
            case "topology":
                topology.update(message)
            case "config":
                config.update(message["changes"])
            case "stats":
                return {
                    **process_figures(),
                    "connections": boot.page.worker(boot.index, "connections"),
                    "commands": {"ping": [2, 10, 1, 0]},
                    "errors": {"ERR": 2},
                }
            case "shutdown":
                stopping.set()
        return None

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        boot.page.connect(boot.index)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                words = line.split()
                if line[:1] == b"*":  # a RESP command, for clients that speak nothing else
                    words = [b"admin"]
                    for _ in range(int(line[1:])):
                        size = int((await reader.readline())[1:])
                        words.append((await reader.readexactly(size + 2))[:-2])
                if words[0] == b"admin":
                    request = {"op": "admin", "caller": {"resp": 2}, "args": words[1:]}
                    writer.write((await link.request(request))["reply"])
                elif words[0] == b"topology":
                    writer.write(json.dumps(topology).encode() + b"\n")
                elif words[0] == b"config":
                    writer.write(json.dumps(config[words[1].decode()]).encode() + b"\n")
                else:
                    writer.write(b"worker %d pid %d\n" % (boot.index, os.getpid()))
        boot.page.disconnect(boot.index)
        writer.close()

    link = await ControlLink.connect(boot.control, requested, lambda: os._exit(1))
    for listener in boot.listeners:
        await asyncio.start_server(client, sock=listener.dup())
    await link.request({"op": "ready"})
    await stopping.wait()


def shard_main(boot: Boot) -> None:
    asyncio.run(hold(boot))


async def hold(boot: Boot) -> None:
    stopping = asyncio.Event()

    def requested(message: dict[str, Any]) -> Any:
        match message["op"]:
            case "stats":
                return {
                    **process_figures(),
                    "used_memory": 1000,
                    "databases": {0: [3, 1, 50, 1000, 1000]},
                    "hits": 5,
                    "commands": {"ping": [1, 5, 0, 0]},
                }
            case "shutdown":
                stopping.set()
        return None

    link = await ControlLink.connect(boot.control, requested, lambda: os._exit(1))
    boot.page.set_shard(boot.index, "used_memory", 1000)
    await link.request({"op": "ready"})
    await stopping.wait()


def load() -> Program:
    return Program(worker_main, shard_main, full_table())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load))
