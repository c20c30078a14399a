"""MODULE: there are none, and none can be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocol.commands import F, Place, command
from protocol.errors import CommandError
from protocol.help import help_reply

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

SERVER: dict[str, Any] = {"group": "server", "place": Place.ADMIN}
LOADING = F.NO_ASYNC_LOADING | F.ADMIN | F.NOSCRIPT | F.PROTECTED
NOT_ALLOWED = (
    b'ERR MODULE command not allowed. If the enable-module-command option is set to "local", you '
    b"can run it from a local connection, otherwise you need to set this option in the "
    b"configuration file, and then restart the server."
)
NOT_LOADED = b"ERR Error loading the extension. Please check the server logs."
NOT_UNLOADED = b"ERR Error unloading module: no such module with that name"
HELP = (
    b"LIST",
    b"    Show the modules that are loaded: always none.",
    b"LOAD <path> [<arg> ...]",
    b"    Refused: this server loads no modules.",
    b"LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
    b"    Refused, too.",
    b"UNLOAD <name>",
    b"    Refused, as there is none.",
)


@command("MODULE", arity=-2, **SERVER)
async def module(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Hold the subcommands about modules. Depends on the subcommand."""
    raise AssertionError("only its subcommands are called")


@command("MODULE|HELP", arity=2, flags=F.LOADING | F.STALE, **SERVER)
async def module_help(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """List the subcommands. O(1)"""
    help_reply(reply, b"MODULE", HELP)


@command(
    "MODULE|LIST",
    arity=2,
    flags=F.ADMIN | F.NOSCRIPT,
    tips=("nondeterministic_output_order",),
    **SERVER,
)
async def module_list(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show the modules that are loaded: none. O(1)"""
    reply.array(0)


@command("MODULE|LOAD", arity=-3, flags=LOADING, **SERVER)
@command("MODULE|LOADEX", arity=-3, flags=LOADING, **SERVER)
async def module_load(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Refuse to load a module. O(1)"""
    refuse(admin, NOT_LOADED)


@command("MODULE|UNLOAD", arity=3, flags=LOADING, **SERVER)
async def module_unload(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Refuse to unload a module. O(1)"""
    refuse(admin, NOT_UNLOADED)


def refuse(admin: Admin, reason: bytes) -> None:
    """Raise the error of a server that does not allow the command, or else the reason."""
    raise CommandError(
        reason if admin.config.show("enable-module-command") == "yes" else NOT_ALLOWED
    )
