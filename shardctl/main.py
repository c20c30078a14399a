"""The console script shardctl: looks after running servers; one file for each subcommand."""

from __future__ import annotations

import click

from protocol.version import SHARDIS_VERSION
from shardctl.status import status


@click.group(context_settings={"help_option_names": ["--help"]})
@click.version_option(SHARDIS_VERSION, prog_name="shardctl")
def main() -> None:
    """Look after shardis servers."""


main.add_command(status)

if __name__ == "__main__":
    main()
