"""Run a task queue's worker as its users do: by its own command line, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.servers import ROOT, Server

WORK_SECONDS = 40.0  # until all is done; a second or two where nothing else runs
END_SECONDS = 20.0


class Worker:
    """A worker's process, its output kept for when something fails."""

    def __init__(self, server: Server, *words: str) -> None:
        with tempfile.NamedTemporaryFile(prefix="program-", suffix=".log", delete=False) as log:
            self.log = Path(log.name)
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PROGRAM_PORT": str(server.port),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it ends by itself, with code 0."""
        code = self.process.wait(WORK_SECONDS)
        assert code == 0, f"code {code}\n{self.output()}"

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        """As an operator would; then with force."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.unlink(missing_ok=True)


@contextlib.contextmanager
def running(*workers: Worker) -> Iterator[None]:
    """End them all afterwards; show what they said when something fails."""
    try:
        yield
    except BaseException:
        for worker in workers:
            print(worker.output()[-6000:])
        raise
    finally:
        for worker in workers:
            worker.end()


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for something that workers do."""
    deadline = time.monotonic() + WORK_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what} does not come true"
        time.sleep(0.02)
