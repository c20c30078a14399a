"""shardctl config: the configuration of a running server."""

from __future__ import annotations

import click

from shardctl.client import Client, ProtocolError, Target
from shardctl.options import EXIT_NO, print_json, server_command


@click.group()
def config() -> None:
    """Read and change the configuration of a running server."""


@config.command("get")
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@server_command
def config_get(target: Target, as_json: bool, patterns: tuple[str, ...]) -> None:
    """Show the directives whose names match PATTERN, with their values.

    Lines are "name value", as in a configuration file. Exits with 1 when nothing matches.
    """
    with Client(target) as client:
        flat = client.call("CONFIG", "GET", *patterns)
    if not isinstance(flat, list) or len(flat) % 2:
        raise ProtocolError("the answer to CONFIG GET is no list of pairs")
    found = dict(sorted(zip(flat[::2], flat[1::2], strict=True)))
    if as_json:
        print_json(found)
    else:
        for name, value in found.items():
            click.echo(f"{name} {quoted(value)}")
    click.get_current_context().exit(0 if found else EXIT_NO)


@config.command("set")
@click.argument("pairs", nargs=-1, required=True, metavar="NAME VALUE...")
@server_command
def config_set(target: Target, as_json: bool, pairs: tuple[str, ...]) -> None:
    """Give directives other values, all of them or none.

    Holds until the server ends; its configuration file stays as it is. A value that begins with a
    dash needs "--" before the first name.
    """
    if len(pairs) % 2:
        raise click.UsageError(f"{pairs[-1]} has no value")
    with Client(target) as client:
        client.call("CONFIG", "SET", *pairs)
    if as_json:
        print_json(dict(zip(pairs[::2], pairs[1::2], strict=True)))


def quoted(value: str) -> str:
    """A value as a configuration file has it: in quotes when it is empty or has spaces."""
    plain = value and not any(character.isspace() or character in "\"'\\" for character in value)
    if plain and value.isprintable():
        return value
    text = value.replace("\\", "\\\\").replace('"', '\\"')
    text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{text}"'
