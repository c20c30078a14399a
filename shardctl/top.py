"""shardctl top: the processes and the busiest commands of a running server, as they change."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Iterator
from typing import Any, Final

import click

from shardctl import render
from shardctl.client import Client, ProtocolError, Target
from shardctl.figures import Status, add_rates, busiest_commands, take_status
from shardctl.options import EXIT_NO, EXIT_UNREACHABLE, server_command
from shardctl.status import as_json_object

INTERVAL_SECONDS: Final = 1.0
COMMANDS_SHOWN: Final = 10

Look = tuple[Status | None, list[dict[str, Any]], str]
"""A status with its busiest commands, or None and what is wrong."""


def looks(target: Target, interval_seconds: float) -> Generator[Look, None, None]:
    """One look after the other, each at its time; a server that went away is tried again.

    Only the first look raises: an address with no server behind it is a mistake, not an event.
    Refusals always raise: a password does not become right.
    """
    first = Client(target)
    client: Client | None = first
    try:
        earlier: Status | None = take_status(first)
        due = time.monotonic()
        while True:
            due = max(due + interval_seconds, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if client is None:
                    client = Client(target)
                found = take_status(client)
            except (OSError, ProtocolError) as error:
                if client is not None:
                    client.close()
                client = earlier = None
                yield None, [], str(error)
                continue
            commands: list[dict[str, Any]] = []
            if earlier is not None:
                add_rates(found, earlier)
                commands = busiest_commands(found, earlier, COMMANDS_SHOWN)
            earlier = found
            yield found, commands, ""
    finally:
        if client is not None:
            client.close()


@click.command()
@click.option(
    "-i",
    "--interval",
    "interval_seconds",
    default=INTERVAL_SECONDS,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Seconds between looks.",
)
@click.option(
    "-n",
    "--count",
    default=0,
    type=click.IntRange(min=0),
    help="End after so many looks; 0 goes on until Ctrl-C.",
)
@server_command
def top(target: Target, as_json: bool, interval_seconds: float, count: int) -> None:
    """Watch the processes and the busiest commands of a running server.

    With --json, one object a line for each look. Ends by Ctrl-C with 0, or after --count looks with
    the code of the last one: 1 when a process is down, 3 when the server does not answer.
    """
    code = 0
    with contextlib.suppress(KeyboardInterrupt):
        shown = _json_lines if as_json else _pictures
        taken = looks(target, interval_seconds)
        with contextlib.closing(taken), shown(target) as show:
            for number, look in enumerate(taken, 1):
                show(look)
                if number == count:
                    code = _code(look[0])
                    break
    click.get_current_context().exit(code)


def _code(status: Status | None) -> int:
    if status is None:
        return EXIT_UNREACHABLE
    return 0 if status.healthy else EXIT_NO


@contextlib.contextmanager
def _json_lines(target: Target) -> Iterator[Any]:
    def show(look: Look) -> None:
        status, commands, problem = look
        if status is None:
            found: dict[str, Any] = {"error": problem, "exit_code": EXIT_UNREACHABLE}
        else:
            found = {"time": time.time(), **as_json_object(status), "commands": commands}
        click.echo(json.dumps(found))

    yield show


@contextlib.contextmanager
def _pictures(target: Target) -> Iterator[Any]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:  # one picture below the other
        yield lambda look: render.show(_picture(target, look), "")
        return
    waiting = Text(f"{target}: looking ...")
    with Live(waiting, console=console, screen=True, auto_refresh=False) as live:
        yield lambda look: live.update(_picture(target, look), refresh=True)


def _picture(target: Target, look: Look) -> Any:
    from rich.text import Text

    status, commands, problem = look
    if status is None:
        return Text(f"{target}: {problem}; trying again", style="red")
    return render.screen(target, status, commands)
