"""SLOWLOG: the slow commands of all processes, newest first. See sessions/slowlog.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from protocol.commands import F, Place, Request, Response, command
from protocol.errors import CommandError
from protocol.help import help_reply
from sessions.slowlog import Entry

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

ADMIN = F.ADMIN | F.LOADING | F.STALE
SERVER: dict[str, Any] = {"group": "server", "place": Place.ADMIN}
COUNT_DEFAULT = 10
BAD_COUNT = b"ERR count should be greater than or equal to -1"
HELP = (
    b"GET [<count>]",
    b"    Show the newest <count> slow commands (10; -1 shows all), each as",
    b"    id, time, microseconds, arguments, address of the client and its name.",
    b"LEN",
    b"    Tell how many are kept.",
    b"RESET",
    b"    Forget them.",
)


async def gathered(admin: Admin) -> list[Entry]:
    """The slow log of the server, newest first. O(N log N) for N entries of all processes"""
    request = {"op": "slowlog"}
    workers, shards = await asyncio.gather(admin.ask_workers(request), admin.ask_shards(request))
    clients: dict[int, tuple[str, bytes]] = {}
    entries: list[Entry] = list(admin.monitor.entries)
    for answer in (*workers, *shards):
        if answer:
            clients.update(answer.get("clients", {}))
            entries += answer["entries"]
    entries.sort(key=lambda entry: entry[0], reverse=True)
    del entries[admin.config["slowlog-max-len"] :]
    return [
        [*entry[:5], *clients[entry[4]]] if not entry[5] and entry[4] in clients else entry
        for entry in entries
    ]


@command("SLOWLOG", arity=-2, **SERVER)
async def slowlog(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Look at the commands that took long; see its subcommands."""
    raise CommandError(b"ERR unknown subcommand '%s'. Try SLOWLOG HELP." % args[1][:128])


@command(
    "SLOWLOG|GET",
    arity=-2,
    flags=ADMIN,
    request=Request.ALL_NODES,
    tips=("request_policy:all_nodes", "nondeterministic_output"),
    **SERVER,
)
async def slowlog_get(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show the newest slow commands."""
    count = COUNT_DEFAULT
    if len(args) > 3:
        raise CommandError(b"ERR wrong number of arguments for 'slowlog|get' command")
    if len(args) == 3:
        try:
            count = int(args[2])
        except ValueError:
            raise CommandError(BAD_COUNT) from None
        if count < -1:
            raise CommandError(BAD_COUNT)
    entries = await gathered(admin)
    if count >= 0:
        entries = entries[:count]
    reply.array(len(entries))
    for number, time, microseconds, arguments, _, address, name in entries:
        reply.array(6)
        reply.integer(number)
        reply.integer(time)
        reply.integer(microseconds)
        reply.bulks(arguments)
        reply.bulk(address.encode())
        reply.bulk(name)


@command(
    "SLOWLOG|LEN",
    arity=2,
    flags=ADMIN,
    request=Request.ALL_NODES,
    response=Response.AGG_SUM,
    tips=("request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"),
    **SERVER,
)
async def slowlog_len(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Tell how many slow commands are kept."""
    reply.integer(len(await gathered(admin)))


@command(
    "SLOWLOG|RESET",
    arity=2,
    flags=ADMIN,
    request=Request.ALL_NODES,
    response=Response.ALL_SUCCEEDED,
    **SERVER,
)
async def slowlog_reset(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Forget all slow commands."""
    admin.monitor.entries.clear()
    await admin.broadcast({"op": "slowlog-reset"})
    reply.ok()


@command(
    "SLOWLOG|HELP",
    arity=2,
    flags=F.LOADING | F.STALE,
    **SERVER,
)
async def slowlog_help(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Describe the subcommands of SLOWLOG."""
    help_reply(reply, b"SLOWLOG", HELP)
