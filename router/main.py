"""The console script shardis-server: the router process.

    arguments and file -> log -> listening sockets -> page, directory -> shards, workers -> serve

It imports everything once, so that the processes it forks are ready within milliseconds, and it
neither starts a thread nor touches ZeroMQ, so that it can fork again whenever one of them dies.
The listening sockets come before the expensive imports: a port in use is said at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cluster.members import Members, open_members
from protocol.version import REDIS_VERSION, SHARDIS_VERSION
from router import log
from router.command_line import Finished, read_command_line
from router.config import Config, set_failed
from router.directory import private_directory
from router.listeners import ListenError, close_listeners, describe, open_listeners
from router.log import logger

if TYPE_CHECKING:
    from actors.boot import Boot
    from actors.supervisor import Child, Supervisor
    from protocol.commands import CommandTable
    from router.admin import Admin

SLOTS: Final = 16384
RESERVED_DESCRIPTORS: Final = 128
"""What a worker needs beside its clients: links to the shards, libraries, the log."""


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
    from shards.main import shard_main

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
    if config["daemonize"]:
        _become_daemon()
    if config["dir"] != ".":
        try:
            os.chdir(config["dir"])
        except OSError as error:
            print(f"Cannot change to '{config['dir']}': {error.strerror}", file=sys.stderr)
            return 1
    try:
        descriptors = log.set_up(config["loglevel"], config["logfile"])
    except OSError as error:
        print(f"Can't open the log file: {error}", file=sys.stderr)
        return 1
    logger.info(
        "shardis %s (Redis %s) is starting, pid=%d", SHARDIS_VERSION, REDIS_VERSION, os.getpid()
    )
    if config.file:
        logger.info("Configuration loaded")
    for remark in config.remarks:
        logger.warning("%s", remark)
    for name in config.accepted:
        logger.warning("%s is accepted, but has no effect in this version", name)
    _allow_descriptors(config)
    mode = "cluster" if config["cluster-enabled"] else "standalone"
    logger.info("Running mode=%s, port=%d.", mode, config["port"])
    try:
        listeners = open_listeners(config)
        members = open_members(config, slot_ranges(config["shards"]))
    except ListenError:
        return 1
    pidfile = config["pidfile"] or ("/var/run/shardis.pid" if config["daemonize"] else "")
    try:
        _write_pidfile(pidfile)
        program = load()
        with private_directory() as directory:
            code = asyncio.run(_serve(config, program, listeners, members, directory, descriptors))
    finally:
        members.close()
        close_listeners(config, listeners)
        if pidfile:
            with contextlib.suppress(OSError):
                os.unlink(pidfile)
    if code == 0:
        logger.warning("All processes have ended, goodbye")
    return code


async def _serve(
    config: Config,
    program: Program,
    listeners: list[socket.socket],
    members: Members,
    directory: str,
    descriptors: frozenset[int],
) -> int:
    from actors.control import Message
    from actors.page import SharedPage
    from actors.supervisor import Plan, Supervisor
    from router.admin import Admin

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
            listeners=listeners,
            configuration=config.snapshot,
            on_request=requested,
            keep_descriptors=descriptors,
            shard_listeners=members.listeners,
            nodes=members.nodes,
        )
    )
    stop = asyncio.Event()
    admin = Admin(config, program.table, supervisor, apply_in_router, stop.set)
    _handle_signals(stop)
    try:
        return await _run_until(stop, config, supervisor, admin, listeners)
    finally:
        supervisor.kill()  # children ignore SIGTERM: none may be left to be waited for at exit


async def _run_until(
    stop: asyncio.Event,
    config: Config,
    supervisor: Supervisor,
    admin: Admin,
    listeners: list[socket.socket],
) -> int:
    from actors.supervisor import StartError

    starting = asyncio.ensure_future(supervisor.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        try:
            starting.result()
        except StartError as error:
            logger.critical("The server cannot start: %s", error)
            return 1
        logger.info("Server initialized")
        _say_ready(listeners, config["shards"], config["io-workers"])
        sampling = asyncio.ensure_future(admin.sample())
        await stopping
        sampling.cancel()
    else:
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
    logger.warning("Shutting down: clients first, then workers, then shards")
    await supervisor.stop(config["shutdown-timeout"])
    return 0


def apply_in_router(changes: dict[str, Any]) -> None:
    """What the router itself does about changed directives. Raises SetError."""
    if "maxclients" in changes:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_DESCRIPTORS
        if changes["maxclients"] > allowed:
            raise set_failed(
                "maxclients",
                "The operating system is not able to handle the specified number of clients, "
                f"try with {allowed}",
            )
    if "loglevel" in changes:
        log.set_level(changes["loglevel"])


def slot_ranges(shards: int) -> list[tuple[int, int, int]]:
    """The slots of each shard: equal shares, in order."""
    bounds = [index * SLOTS // shards for index in range(shards + 1)]
    return [(bounds[index], bounds[index + 1] - 1, index) for index in range(shards)]


def _say_ready(listeners: list[socket.socket], shards: int, workers: int) -> None:
    endpoints = [describe(listener) for listener in listeners]
    kinds = {"unix" if one.family == socket.AF_UNIX else "tcp" for one in listeners}
    for kind in sorted(kinds):
        logger.info("Ready to accept connections %s", kind)
    first = listeners[0]
    if first.family == socket.AF_UNIX:
        how = f"redis-cli -s {endpoints[0]}"
    else:
        host, port = first.getsockname()[:2]
        reach = "" if host in ("127.0.0.1", "0.0.0.0", "::") else f"-h {host} "
        how = f"redis-cli {reach}-p {port}"
    logger.info(
        "%d shard%s and %d I/O worker%s behind %s; connect with: %s",
        shards,
        "s" * (shards != 1),
        workers,
        "s" * (workers != 1),
        ", ".join(endpoints),
        how,
    )


def _handle_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def received(name: str) -> None:
        if stop.is_set():
            logger.warning("A second signal: exiting at once")
            os._exit(1)  # the kernel kills the children with this process
        logger.warning("Received %s, scheduling shutdown", name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number.name)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _allow_descriptors(config: Config) -> None:
    """Raise the limit of open files, so that each worker could hold every client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config["maxclients"] + RESERVED_DESCRIPTORS
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            soft = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = max(1, soft - RESERVED_DESCRIPTORS)
        logger.warning(
            "maxclients %d needs %d open files, but only %d are allowed; it is %d now",
            config["maxclients"],
            wanted,
            soft,
            allowed,
        )
        config.values["maxclients"] = allowed


def _become_daemon() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def _write_pidfile(path: str) -> None:
    if not path:
        return
    try:
        Path(path).write_text(f"{os.getpid()}\n")
    except OSError as error:
        logger.warning("Failed to write the pid file %s: %s", path, error.strerror)


if __name__ == "__main__":
    sys.exit(main())
