"""The private directory of a running server, where its ipc endpoints live.

It belongs to one process, which holds a lock in it; what a killed server left behind is removed
by the next one that starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Final

PREFIX: Final = "shardis-"
UNLOCKED_PREFIX: Final = "shardis."
"""While a server makes its directory, before it has locked it."""
UNLOCKED_SECONDS_MAX: Final = 60
LOCK: Final = "lock"
PATH_BYTES_MAX: Final = 60
"""Room for an endpoint's name after it: a unix socket's path has at most 107 bytes."""


@contextlib.contextmanager
def private_directory() -> Iterator[str]:
    """A new directory with mode 0700, which is removed afterwards."""
    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"
    if len(os.fsencode(base)) > PATH_BYTES_MAX or not os.access(base, os.W_OK | os.X_OK):
        base = "/tmp"
    _remove_abandoned(base)
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    path = os.path.join(base, PREFIX + name)
    unlocked = os.path.join(base, UNLOCKED_PREFIX + name)
    os.mkdir(unlocked, 0o700)
    lock = os.open(os.path.join(unlocked, LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Nobody else looks at it under this name; once it has the other one, it is locked.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(unlocked, path)
        yield path
    finally:
        _remove(unlocked)
        _remove(path)
        os.close(lock)


def _remove_abandoned(base: str) -> None:
    with contextlib.suppress(OSError):
        for entry in os.scandir(base):
            if not entry.name.startswith((PREFIX, UNLOCKED_PREFIX)):
                continue
            if not entry.is_dir(follow_symlinks=False):
                continue
            found = entry.stat(follow_symlinks=False)
            if found.st_uid != os.getuid():
                continue
            if entry.name.startswith(UNLOCKED_PREFIX):
                if time.time() - found.st_mtime > UNLOCKED_SECONDS_MAX:
                    _remove(entry.path)
                continue
            with contextlib.suppress(OSError):
                lock = os.open(os.path.join(entry.path, LOCK), os.O_RDWR | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while it is owned
                    _remove(entry.path)
                finally:
                    os.close(lock)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            os.unlink(entry.path)
        os.rmdir(path)
