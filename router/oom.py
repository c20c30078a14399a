"""`oom-score-adj`: which processes the kernel kills first when memory runs out.

Redis has one value for a master, one for a replica and one for a child that saves. The router, its
workers and its shards are the master together, and have the first value: none of them is of use
without the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from router.log import logger

LOWEST: Final = -1000
HIGHEST: Final = 1000


class OomScore:
    """The adjustment in force, and what to go back to."""

    def __init__(self) -> None:
        self._base: int | None = None  # before the first adjustment; None: none is in force

    def apply(self, mode: str, values: str, pids: Iterable[int]) -> None:
        """Adjust these processes. `mode` and `values` are as CONFIG GET shows them.

        Raises OSError, with the processes before the failed one adjusted.
        """
        if mode == "no":
            if self._base is None:
                return
            adjustment, self._base = self._base, None
        else:
            if self._base is None:
                self._base = int(Path("/proc/self/oom_score_adj").read_text())
            adjustment = int(values.split()[0])
            if mode in ("yes", "relative"):
                adjustment += self._base
        adjustment = min(max(adjustment, LOWEST), HIGHEST)
        for pid in pids:
            try:
                Path(f"/proc/{pid}/oom_score_adj").write_text(f"{adjustment}\n")
            except (ProcessLookupError, FileNotFoundError):
                continue  # it has died; its successor inherits the router's value
            except OSError as error:
                logger.warning("Unable to write oom_score_adj: %s", error.strerror)
                raise
