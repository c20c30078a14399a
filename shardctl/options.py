"""What all subcommands have in common: the options of the connection, JSON, and the exit codes.

0  done, and everything is up
1  the answer is no: a process is down, no directive matches, not all slots are owned
2  the command line is wrong
3  no server answers there, or it is not shardis
4  the server refuses: password, rights, a value it does not take
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from shardctl.client import TIMEOUT_SECONDS, ProtocolError, ServerError, Target

EXIT_NO: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_REFUSED: Final = 4

Command = TypeVar("Command", bound=Callable[..., Any])

CONNECTION: Final = (
    click.option(
        "-h",
        "--host",
        default="127.0.0.1",
        show_default=True,
        envvar="SHARDCTL_HOST",
        help="Where the server listens.",
    ),
    click.option(
        "-p",
        "--port",
        default=6379,
        show_default=True,
        type=click.IntRange(1, 65535),
        envvar="SHARDCTL_PORT",
        help="Its port.",
    ),
    click.option("-s", "--socket", "path", default="", help="A unix socket instead."),
    click.option("--user", default="", envvar="SHARDCTL_USER", help="Who to be; with a password."),
    click.option(
        "-a",
        "--password",
        default="",
        envvar=["SHARDCTL_PASSWORD", "REDISCLI_AUTH"],
        help="Others on this machine see it here: SHARDCTL_PASSWORD in the environment is safer.",
    ),
    click.option("--tls", is_flag=True, help="Connect with TLS."),
    click.option("--cacert", "ca_file", default="", help="Whom to trust, instead of the system's."),
    click.option("--cert", "certificate_file", default="", help="A certificate to show."),
    click.option("--key", "key_file", default="", help="The private key of the certificate."),
    click.option("--insecure", is_flag=True, help="With TLS: talk to whoever answers."),
    click.option(
        "--timeout",
        "timeout_seconds",
        default=TIMEOUT_SECONDS,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds to wait for an answer.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def server_command(function: Command) -> Command:
    """Give a subcommand the options of the connection, as `target` and `as_json`."""

    @functools.wraps(function)
    def with_target(
        *args: Any,
        insecure: bool,
        as_json: bool,
        **options: Any,
    ) -> Any:
        context = click.get_current_context()
        for name, value in (context.find_root().obj or {}).items():
            # Given before the subcommand, as redis-cli has them; after it, they win.
            if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
                if name == "insecure":
                    insecure = value
                elif name == "as_json":
                    as_json = value
                else:
                    options[name] = value
        names = Target.__dataclass_fields__.keys() & options.keys()
        found = {name: options.pop(name) for name in names}
        files = found["certificate_file"] or found["key_file"] or found["ca_file"]
        if (files or insecure) and not found["tls"]:
            raise click.UsageError("--cacert, --cert, --key and --insecure need --tls")
        target = Target(verify=not insecure, **found)
        try:
            return function(*args, target=target, as_json=as_json, **options)
        except (OSError, ProtocolError) as error:
            _fail(target, as_json, error, EXIT_UNREACHABLE)
        except ServerError as error:
            _fail(target, as_json, error, EXIT_REFUSED)

    for option in reversed(CONNECTION):
        with_target = option(with_target)
    return with_target  # type: ignore[return-value]


def with_connection(function: Command) -> Command:
    """Give the group the options of the connection, to be taken over by its subcommands."""

    @functools.wraps(function)
    def remember(**options: Any) -> Any:
        context = click.get_current_context()
        context.obj = {
            name: value
            for name, value in options.items()
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        return function()

    for option in reversed(CONNECTION):
        remember = option(remember)
    return remember  # type: ignore[return-value]


def _fail(target: Target, as_json: bool, error: Exception, code: int) -> None:
    if as_json:
        print_json({"error": str(error), "exit_code": code})
    else:
        click.echo(f"{target}: {error}", err=True)
    click.get_current_context().exit(code)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))
