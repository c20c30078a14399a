"""The end of the server, decided: who asked for it, whether it is allowed, and taking it back.

    signal --> requested --(nothing is being set up, the cron is not paused)--> begun
    SHUTDOWN command ------------------------------------------------> begun, or refused

What is requested can be aborted; what has begun can't: clients are already being turned away.
A shutdown is refused when it should save (SAVE, or save points without NOSAVE), because this
version keeps data in memory only; FORCE says that the data may go. The server then goes on, as
redis-server does when saving fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection
from typing import Final

from router.config import Config
from router.log import logger

NOW_SECONDS: Final = 1.0
"""How long processes may take to end when nobody wants to wait: less is no orderly end."""
DIRECTIVES: Final = {
    signal.SIGINT: "shutdown-on-sigint",
    signal.SIGTERM: "shutdown-on-sigterm",
}


class ShutdownRefused(Exception):
    """The server cannot end without losing data; the log says why."""


class Shutdown:
    """The one shutdown of a server. `begun` is set when there is no way back."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._requested: signal.Signals | None = None
        self._paused = False
        self._now = False
        self.begun = asyncio.Event()

    def signalled(self, number: signal.Signals) -> None:
        """A signal asks for it. A second SIGINT ends the process at once."""
        insists = self.begun.is_set() or self._requested is not None
        if insists and number is signal.SIGINT:
            logger.warning("You insist... exiting now.")
            os._exit(1)  # the kernel kills the children with this process
        logger.warning("Received %s scheduling shutdown...", number.name)
        if self.begun.is_set():
            return
        self._requested = number
        if not self._paused:
            self._begin_requested()

    def pause(self, paused: bool) -> None:
        """Let signals wait (DEBUG PAUSE-CRON), as redis-server's do for its cron."""
        self._paused = paused
        if not paused and self._requested is not None:
            self._begin_requested()

    def abort(self) -> bool:
        """Take back what is requested; False when there is nothing that could be taken back."""
        if self._requested is None:
            return False
        self._requested = None
        logger.info("Shutdown manually aborted.")
        return True

    def begin(self, flags: Collection[str]) -> None:
        """Shut down, by these words of SHUTDOWN in lower case. Raises ShutdownRefused."""
        logger.info("User requested shutdown...")
        if "save" in flags or (self._config["save"] and "nosave" not in flags):
            if "force" not in flags:
                logger.warning(
                    "Error trying to save the DB, can't exit: this version keeps data in memory "
                    "only. SHUTDOWN NOSAVE or FORCE ends the server without it."
                )
                raise ShutdownRefused
            logger.warning("Error trying to save the DB: not supported. Exit anyway.")
        self._now = "now" in flags
        self.begun.set()

    @property
    def timeout_seconds(self) -> float:
        """How long commands that are under way may take."""
        return NOW_SECONDS if self._now else max(self._config["shutdown-timeout"], NOW_SECONDS)

    def _begin_requested(self) -> None:
        number, self._requested = self._requested, None
        assert number is not None
        try:
            self.begin(self._config.show(DIRECTIVES[number]).split())
        except ShutdownRefused:
            logger.warning("Errors trying to shut down the server; it goes on.")
