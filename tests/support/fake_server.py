"""The router process with small workers and shards (integration/fakes.py), as a subprocess."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.servers import free_port

FAKES = Path(__file__).resolve().parents[1] / "integration" / "fakes.py"
PATIENCE_SECONDS = 10.0


def eventually(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """What a condition returns once it is true. Fails after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError):
            result = condition()
            if result:
                return result
        assert time.monotonic() < deadline, "this never became true"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Server:
    """One server; its standard output and errors go to the file `log`."""

    def __init__(
        self, tmp_path: Path, *options: str, environment: dict[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.directory = tmp_path
        self.log = tmp_path / "log"
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--shards", "2",
                 "--io-workers", "2", *options]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(FAKES), *words],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "TMPDIR": str(tmp_path),
                    "XDG_RUNTIME_DIR": "",
                    **(environment or {}),
                },
            )

    def ask(self, line: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 5) as client:
            client.sendall(line.encode() + b"\n")
            return client.recv(1 << 16)

    def topology(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("topology"))
        return found

    def pids(self, kind: str) -> list[int]:
        text = self.ask(f"admin INFO {kind}s").decode()
        return [int(part.split(",")[0]) for part in text.split("pid=")[1:]]

    def text(self) -> str:
        return self.log.read_text()
