"""Titles and crash lines, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize("length", [3, 200, 100_000])
def test_a_title_replaces_the_arguments_and_spares_the_environment(length: int) -> None:
    done = run(
        "import ctypes, os\n"
        "from actors.process import set_title\n"
        "os.environ['BEFORE'] = 'value'\n"
        f"set_title(b'x' * {length})\n"
        f"set_title(b'y' * {length})\n"
        "shown = open('/proc/self/cmdline', 'rb').read().rstrip(b'\\0')\n"
        f"assert shown and shown == b'y' * len(shown), shown\n"
        f"assert len(shown) == {length} or {length} > 10_000\n"
        "getenv = ctypes.CDLL(None).getenv\n"
        "getenv.restype = ctypes.c_char_p\n"
        "assert getenv(b'PATH').decode() == os.environ['PATH']\n"
        "assert getenv(b'BEFORE') == b'value'\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("settings", ["[True]", "[True, True]", "[True, False, True]"])
def test_a_crash_is_announced_once_and_still_ends_the_process(settings: str) -> None:
    """Switched on twice, the handler once found itself behind itself, and wrote for ever."""
    done = run(
        "import os, signal\n"
        "from actors.diagnosis import apply_diagnosis, keep_crash_reports\n"
        "keep_crash_reports('')\n"
        f"for setting in {settings}:\n"
        "    apply_diagnosis({'crash-log-enabled': setting})\n"
        "os.kill(os.getpid(), signal.SIGBUS)\n"
    )
    assert done.returncode == -signal.SIGBUS
    assert done.stdout.count("shardis crashed by signal: 7\n") == 1
    assert done.stdout.count("Fatal Python error: Bus error") == 1


def test_no_crash_report_when_switched_off() -> None:
    done = run(
        "import os, signal\n"
        "from actors.diagnosis import apply_diagnosis, keep_crash_reports\n"
        "keep_crash_reports('')\n"
        "apply_diagnosis({'crash-log-enabled': True})\n"
        "apply_diagnosis({'crash-log-enabled': False})\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "")
