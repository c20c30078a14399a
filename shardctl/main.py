"""The console script shardctl: looks after running servers; one file for each subcommand."""

from __future__ import annotations

import click

from protocol.version import SHARDIS_VERSION
from shardctl.config import config
from shardctl.options import with_connection
from shardctl.slots import slots
from shardctl.status import status
from shardctl.top import top


@click.group(context_settings={"help_option_names": ["--help"]})
@click.version_option(SHARDIS_VERSION, prog_name="shardctl")
@with_connection
def main() -> None:
    """Look after shardis servers.

    Exit codes: 0 done and all is well, 1 the answer is no (a process is down, nothing matches), 2 a
    wrong command line, 3 no server answers there, 4 the server refuses.
    """


for subcommand in (status, top, config, slots):
    main.add_command(subcommand)

if __name__ == "__main__":
    main()
