"""shardctl slots: which shard owns which hash slots, and where a key lives."""

from __future__ import annotations

import click

from shardctl import render
from shardctl.client import Client, Target
from shardctl.figures import take_status
from shardctl.key_slots import SLOTS, Owners, key_slot
from shardctl.options import EXIT_NO, print_json, server_command


@click.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@server_command
def slots(target: Target, as_json: bool, keys: tuple[str, ...]) -> None:
    """Show which shard owns which hash slots; with KEYs, slot and shard of each.

    Exits with 1 when a slot has no owner, or the shard of one is down.
    """
    with Client(target) as client:
        status = take_status(client)
    if keys:
        found = [(key, key_slot(key.encode("utf-8", "surrogateescape"))) for key in keys]
        shards = Owners(status.slots)
        owners = [{"key": key, "slot": slot, "shard": shards.of(slot)} for key, slot in found]
        if as_json:
            print_json(owners)
        else:
            for one in owners:
                click.echo(f"{one['key']}  slot {one['slot']}  shard {one['shard']}")
        concerned = {one["shard"] for one in owners}
    else:
        if as_json:
            print_json({"slots": status.slots, "owned": status.owned, "total": SLOTS})
        else:
            render.show(render.slot_table(status))
        concerned = {one["shard"] for one in status.slots}
        if status.owned < SLOTS:
            click.get_current_context().exit(EXIT_NO)
    up = {shard["index"] for shard in status.shards if shard["state"] == "up"}
    click.get_current_context().exit(0 if concerned <= up else EXIT_NO)
