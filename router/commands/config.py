"""CONFIG: reading and changing the configuration of the running server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from protocol.commands import F, Place, Request, Response, command
from protocol.errors import SYNTAX, CommandError
from router.config import SetError

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

ADMIN = F.ADMIN | F.NOSCRIPT | F.LOADING | F.STALE
ALL_NODES: dict[str, Any] = {"request": Request.ALL_NODES, "response": Response.ALL_SUCCEEDED}
SERVER: dict[str, Any] = {"group": "server", "place": Place.ADMIN}
LOCAL_HOSTS = ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]")
NO_FILE = b"ERR The server is running without a config file"

_log = logging.getLogger("shardis")

HELP = (
    b"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"GET <pattern>",
    b"    Show the directives whose names match <pattern>, with their values.",
    b"SET <directive> <value>",
    b"    Give <directive> another value; several pairs are set together or not at all.",
    b"RESETSTAT",
    b"    Begin to count the figures of INFO anew.",
    b"REWRITE",
    b"    Write the values in force to the configuration file.",
    b"HELP",
    b"    Show this text.",
)


@command("CONFIG", arity=-2, **SERVER)
async def config(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Read and change the configuration; see its subcommands."""
    raise CommandError(b"ERR unknown subcommand '%s'. Try CONFIG HELP." % args[1][:128])


@command(
    "CONFIG|GET",
    arity=-3,
    flags=ADMIN,
    **SERVER,
)
async def config_get(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show the values in force of all directives that match the patterns."""
    found = admin.config.matching(args[2:])
    reply.map(len(found))
    for name, value in found.items():
        reply.bulk(name)
        reply.bulk(value)


@command(
    "CONFIG|SET",
    arity=-4,
    flags=ADMIN,
    **ALL_NODES,
    **SERVER,
)
async def config_set(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Change directives while the server runs, all of them or none."""
    if len(args) % 2:
        raise CommandError(SYNTAX)
    try:
        await admin.change(list(zip(args[2::2], args[3::2], strict=True)), _is_local(caller))
    except SetError as error:
        raise CommandError(str(error).encode("utf-8", "surrogateescape")) from None
    reply.ok()


@command(
    "CONFIG|RESETSTAT",
    arity=2,
    flags=ADMIN,
    **ALL_NODES,
    **SERVER,
)
async def config_resetstat(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Begin to count calls, errors and hits anew."""
    admin.reset_stats()
    await admin.broadcast({"op": "resetstat"})
    reply.ok()


@command(
    "CONFIG|REWRITE",
    arity=2,
    flags=ADMIN,
    **ALL_NODES,
    **SERVER,
)
async def config_rewrite(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Write the values in force to the configuration file."""
    rewrite_config(admin)
    reply.ok()


def rewrite_config(admin: Admin, all_values: bool = False) -> None:
    """Write the values to the file, if there is one. Raises CommandError."""
    if not admin.config.file:
        raise CommandError(NO_FILE)
    try:
        admin.config.rewrite(all_values)
    except OSError as error:
        _log.warning("CONFIG REWRITE failed: %s", error.strerror)
        reason = (error.strerror or str(error)).encode("utf-8", "surrogateescape")
        raise CommandError(b"ERR Rewriting config file: %s" % reason) from None
    _log.info("CONFIG REWRITE executed with success.")


@command("CONFIG|HELP", arity=2, flags=F.LOADING | F.STALE, **SERVER)
async def config_help(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """List the subcommands of CONFIG."""
    reply.array(len(HELP))
    for line in HELP:
        reply.status(line)


def _is_local(caller: Caller) -> bool:
    """Whether a client is on this machine, by the address its worker has seen."""
    address: str = caller.get("address", "")
    host = address.rpartition(":")[0]
    return address.startswith("/") or host in LOCAL_HOSTS
