"""The console script shardis-server: the router process.

    arguments and file -> log -> listening sockets -> page, directory -> shards, workers -> serve

It imports everything once, so that the processes it forks are ready within milliseconds, and it
neither starts a thread nor touches ZeroMQ, so that it can fork again whenever one of them dies.
The listening sockets come before the expensive imports: a port in use is said at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from actors.descriptors import TooFewDescriptors, allow_clients, clients_at_start
from actors.diagnosis import apply_diagnosis, keep_crash_reports
from cluster.members import Members
from protocol.slots import SLOTS
from protocol.version import REDIS_VERSION, SHARDIS_VERSION
from router import log
from router.command_line import Finished, read_command_line
from router.config import Config, set_failed
from router.config.directives import BY_NAME
from router.directory import private_directory
from router.listeners import ListenError, Listeners, check_backlog, describe
from router.log import logger
from router.oom import OomScore
from router.shutdown import Shutdown
from router.supervision import READY, STATUS_READY, STOPPING, Supervision
from router.titles import TemplateError, child_title, expand, name_router

if TYPE_CHECKING:
    from actors.boot import Boot
    from actors.listening import Listener
    from actors.supervisor import Child, Supervisor
    from protocol.commands import CommandTable
    from router.admin import Admin

DEFAULT_PIDFILE: Final = "/var/run/redis.pid"
"""Of a daemon that is not told another, as redis-server's: who replaces it looks there."""


@dataclass(frozen=True, slots=True)
class Program:
    """What the processes run; tests put small mains in its place."""

    worker_main: Callable[[Boot], None]
    shard_main: Callable[[Boot], None]
    table: CommandTable


def load_program() -> Program:
    """The server itself. Imports everything that workers and shards will need."""
    from protocol.table import NativeTable
    from router.table import full_table
    from router.worker import worker_main
    from shards.process.main import shard_main

    table = full_table()
    native = NativeTable(table)
    return Program(partial(worker_main, table=native), partial(shard_main, table=native), table)


def main(arguments: Sequence[str] | None = None, load: Callable[[], Program] = load_program) -> int:
    """Run the server until it is told to stop; the exit code."""
    try:
        config = read_command_line(sys.argv[1:] if arguments is None else arguments)
    except Finished as finished:
        return finished.show()
    return run(config, load)


def run(config: Config, load: Callable[[], Program]) -> int:
    """Everything after the configuration is known; the exit code."""
    try:
        handler = log.set_up(config["logfile"])
    except OSError as error:
        print(f"Can't open the log file: {error.strerror}", file=sys.stderr)
        return 1
    early: list[signal.Signals] = []  # signals from before there is a loop to handle them
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: early.append(signal.Signals(received)))
    supervision = Supervision(config.show("supervised"))
    background = config["daemonize"] and not supervision
    if background:
        _become_daemon()
        handler = log.set_up(config["logfile"])  # the daemon, not its parent, is the M of the log
    if config["syslog-enabled"]:
        log.add_syslog(config["syslog-ident"], config.show("syslog-facility"))
    kept = keep_crash_reports(config["logfile"])
    apply_diagnosis(config.values)
    logger.info("oO0OoO0OoO0Oo shardis is starting oO0OoO0OoO0Oo")
    logger.info(
        "shardis version=%s, Redis version=%s, bits=64, pid=%d, just started",
        SHARDIS_VERSION,
        REDIS_VERSION,
        os.getpid(),
    )
    for remark in config.remarks:
        logger.warning("%s", remark)
    if config.file or len(sys.argv) > 1:
        logger.info("Configuration loaded")
    else:
        logger.warning(
            "Warning: no config file specified, using the defaults. Give one with %s "
            "/path/to/shardis.conf",
            sys.argv[0],
        )
    logger.warning("Nothing is saved to disk in this version: all keys are in memory only")
    for name in config.accepted:
        logger.warning("%s is accepted, but has no effect in this version", name)
    name_router(config, config["proc-title-template"])
    _show_logo(config, handler)
    listeners = Listeners()
    members = Members()
    try:
        config.values["maxclients"] = clients_at_start(config["maxclients"], config.values)
        context = _tls_context(config)
        check_backlog(config["tcp-backlog"])
        listeners.open(config.values)
        members.open(config, slot_ranges(config["shards"]))
    except (TooFewDescriptors, ListenError):
        members.close()
        return 1
    # The listening sockets come first: a server that cannot have its port must not take the pid
    # file of the one that has it.
    pidfile = config["pidfile"] or (DEFAULT_PIDFILE if background else "")
    pidfile = _write_pidfile(pidfile)
    try:
        program = load()
        with contextlib.ExitStack() as stack:
            try:
                directory = stack.enter_context(private_directory())
            except OSError as error:
                logger.critical("There can be no directory for the processes' sockets: %s", error)
                return 1
            code = asyncio.run(
                _serve(
                    config,
                    program,
                    listeners,
                    members,
                    context,
                    directory,
                    kept,
                    supervision,
                    early,
                )
            )
    finally:
        members.close()
        if pidfile:
            logger.info("Removing the pid file.")
            with contextlib.suppress(OSError):
                os.unlink(pidfile)
        listeners.close(config.values)
    if code == 0:
        logger.warning("shardis is now ready to exit, bye bye...")
    return code


async def _serve(
    config: Config,
    program: Program,
    listeners: Listeners,
    members: Members,
    context: Any,
    directory: str,
    descriptors: frozenset[int],
    supervision: Supervision,
    early_signals: list[signal.Signals],
) -> int:
    from actors.control import Message
    from actors.page import SharedPage
    from actors.supervisor import Plan, Supervisor
    from router.admin import Admin
    from router.endpoint import Endpoint

    def requested(child: Child, message: Message) -> Any:
        if message.get("op") == "admin":
            return admin.dispatch(message)
        raise ValueError(f"{child.name} asks for {message.get('op')!r}")

    shards, workers = config["shards"], config["io-workers"]
    supervisor = Supervisor(
        Plan(
            directory=directory,
            page=SharedPage(workers, shards),
            hash_seed=os.urandom(16),
            run_id=os.urandom(20).hex(),
            slots=slot_ranges(shards),
            workers=workers,
            shards=shards,
            worker_main=program.worker_main,
            shard_main=program.shard_main,
            listeners=listeners.sockets,
            tls=context,
            configuration=lambda: {**config.snapshot(), "client-pause": admin.pause.state},
            on_request=requested,
            keep_descriptors=descriptors,
            title=partial(child_title, config),
            shard_listeners={
                index: listening.sockets for index, listening in enumerate(members.listeners)
            },
            nodes=members.nodes,
        )
    )
    shutdown = Shutdown(config)
    router = RouterSettings(config, supervisor)
    endpoint = Endpoint(listeners, members, supervisor, config)
    admin = Admin(config, program.table, supervisor, router.apply, shutdown, endpoint)
    _handle_signals(shutdown)
    for number in early_signals:
        shutdown.signalled(number)
    with contextlib.suppress(OSError):  # logged; a server that cannot be adjusted serves
        router.adjust_oom_score(config.values)
    try:
        return await _run_until(shutdown, config, supervisor, admin, listeners.sockets, supervision)
    finally:
        supervisor.kill()  # children ignore SIGTERM: none may be left to be waited for at exit


async def _run_until(
    shutdown: Shutdown,
    config: Config,
    supervisor: Supervisor,
    admin: Admin,
    listeners: list[Listener],
    supervision: Supervision,
) -> int:
    from actors.supervisor import StartError
    from actors.watchdog import Watchdog

    starting = asyncio.ensure_future(supervisor.start())
    stopping = asyncio.ensure_future(shutdown.begun.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        try:
            starting.result()
        except StartError as error:
            logger.critical("The server cannot start: %s", error)
            return 1
        logger.info("Server initialized")
        _say_ready(listeners, config["shards"], config["io-workers"])
        supervision.tell(STATUS_READY, READY)
        watchdog = Watchdog(supervisor, lambda: stuck_timeouts(config))
        tasks = [asyncio.ensure_future(task) for task in (admin.sample(), watchdog.run())]
        await stopping
        for task in tasks:
            task.cancel()
    else:
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
    supervision.tell(STOPPING)
    logger.info("Ending the processes: clients first, then workers, then shards")
    await supervisor.stop(shutdown.timeout_seconds)
    return 0


class RouterSettings:
    """What the router itself does about its directives."""

    def __init__(self, config: Config, supervisor: Supervisor) -> None:
        self._config = config
        self._supervisor = supervisor
        self._oom_score = OomScore()

    def apply(self, changes: dict[str, Any]) -> None:
        """Act on changed directives, all or none of them. Raises SetError."""
        if "maxclients" in changes:
            allowed = allow_clients(changes["maxclients"], self._config.values)
            if changes["maxclients"] > allowed:
                raise set_failed(
                    "maxclients",
                    "The operating system is not able to handle the specified number of clients, "
                    f"try with {allowed}",
                )
        if "proc-title-template" in changes:
            try:
                expand(changes["proc-title-template"], self._config, "")
            except TemplateError:
                raise set_failed(
                    "proc-title-template",
                    "template format is invalid or contains unknown variables",
                ) from None
        adjusted = [name for name in ("oom-score-adj", "oom-score-adj-values") if name in changes]
        if adjusted:
            try:
                self.adjust_oom_score({**self._config.values, **changes})
            except OSError:
                with contextlib.suppress(OSError):
                    self.adjust_oom_score(self._config.values)
                raise set_failed(
                    adjusted[0], "Failed to set current oom_score_adj. Check server logs."
                ) from None
        # From here on nothing fails.
        if "proc-title-template" in changes:
            name_router(self._config, changes["proc-title-template"])
        apply_diagnosis(changes)

    def adjust_oom_score(self, values: dict[str, Any]) -> None:
        """Apply `oom-score-adj` to all processes. Raises OSError, having logged it."""
        mode, numbers = (
            BY_NAME[name].kind.show(values[name])
            for name in ("oom-score-adj", "oom-score-adj-values")
        )
        self._oom_score.apply(mode, numbers, [os.getpid(), *self._supervisor.pids()])


def stuck_timeouts(config: Config) -> dict[str, int]:
    """After how many seconds a stuck process is killed, by its role; 0: never."""
    return {role: int(config[f"{role}-stuck-timeout"]) for role in ("worker", "shard")}


def slot_ranges(shards: int) -> list[tuple[int, int, int]]:
    """The slots of each shard: equal shares, in order."""
    bounds = [index * SLOTS // shards for index in range(shards + 1)]
    return [(bounds[index], bounds[index + 1] - 1, index) for index in range(shards)]


def _say_ready(listeners: list[Listener], shards: int, workers: int) -> None:
    endpoints = [describe(listener) for listener in listeners]
    for kind in dict.fromkeys(one.kind for one in listeners):
        logger.info("Ready to accept connections %s", kind)
    first = listeners[0]
    if first.family == socket.AF_UNIX:
        how = f"redis-cli -s {endpoints[0]}"
    else:
        host, port = first.getsockname()[:2]
        reach = "" if host in ("127.0.0.1", "0.0.0.0", "::") else f"-h {host} "
        how = f"redis-cli {reach}-p {port}" + " --tls" * (first.kind == "tls")
    logger.info(
        "%d shard%s and %d I/O worker%s behind %s; connect with: %s",
        shards,
        "s" * (shards != 1),
        workers,
        "s" * (workers != 1),
        ", ".join(endpoints),
        how,
    )


def _handle_signals(shutdown: Shutdown) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shutdown.signalled, number)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _tls_context(config: Config) -> Any:
    """The context of tls-port, or None without one. Raises ListenError."""
    if not config["tls-port"]:
        return None
    from sessions.tls_context import TlsError, server_context

    try:
        return server_context(config.values)
    except TlsError:
        logger.warning("Failed to configure TLS. Check logs for more info.")
        raise ListenError("tls") from None


LOGO: Final = r"""
         __
   _____/ /_
  / ___/ __ \    {version} (Redis {redis}), 64 bit
 (__  ) / / /
/____/_/ /_/     Running in {mode} mode
   ardis         Port: {port}
                 PID: {pid}

"""


def _show_logo(config: Config, handler: log.LineHandler) -> None:
    """A logo where a person looks on, or where it is asked for; else a line of the log."""
    mode = "cluster" if config.values.get("cluster-enabled") else "standalone"
    port = config["port"] or config.values.get("tls-port", 0)
    watched = not config["syslog-enabled"] and not config["logfile"] and os.isatty(1)
    if not (config["always-show-logo"] or watched):
        logger.info("Running mode=%s, port=%d.", mode, port)
    elif logger.isEnabledFor(logging.INFO):
        handler.write(
            LOGO.format(
                version=SHARDIS_VERSION,
                redis=REDIS_VERSION,
                mode=mode,
                port=port,
                pid=os.getpid(),
            )
        )


def _become_daemon() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def _write_pidfile(path: str) -> str:
    """Write the pid file; its absolute path, or "" if there is none to remove."""
    if not path:
        return ""
    try:
        Path(path).write_text(f"{os.getpid()}\n")
    except OSError as error:
        logger.warning("Failed to write PID file: %s", error.strerror)
        return ""
    return os.path.abspath(path)


if __name__ == "__main__":
    sys.exit(main())
