"""COMMAND INFO: a declaration in the structure that clients read.

What Redis derives is derived here in the same way: the first-last-step triple that older clients
use, the movablekeys flag, the ACL categories. Replies list flags and categories in the order of
Redis's own tables, since a test compares them byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocol.commands import Command, DeclarationError, F, Keys, Request, Response
from protocol.reply import Reply

# The flags that COMMAND shows; the others are for the server itself.
SHOWN_FLAGS = (
    F.WRITE,
    F.READONLY,
    F.DENYOOM,
    F.ADMIN,
    F.PUBSUB,
    F.NOSCRIPT,
    F.BLOCKING,
    F.LOADING,
    F.STALE,
    F.SKIP_MONITOR,
    F.SKIP_SLOWLOG,
    F.ASKING,
    F.FAST,
    F.NO_AUTH,
    F.NO_MANDATORY_KEYS,
    F.NO_ASYNC_LOADING,
    F.NO_MULTI,
    F.MOVABLEKEYS,
    F.ALLOW_BUSY,
)
CATEGORIES = (
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
)
# The category of a family, for commands that declare none; the keys are module names, or Redis's
# group names where those differ.
GROUP_CATEGORIES = {
    "bitmap": "bitmap",
    "connection": "connection",
    "generic": "keyspace",
    "geo": "geo",
    "hash": "hash",
    "hll": "hyperloglog",
    "hyperloglog": "hyperloglog",
    "list": "list",
    "scripting": "scripting",
    "set": "set",
    "sorted_set": "sortedset",
    "stream": "stream",
    "string": "string",
    "transactions": "transaction",
    "zset": "sortedset",
}
KEY_FLAGS = (
    "RO",
    "RW",
    "OW",
    "RM",
    "access",
    "update",
    "insert",
    "delete",
    "not_key",
    "incomplete",
    "variable_flags",
)
NOT_KEY = "not_key"
INCOMPLETE = "incomplete"


def key_flags(keys: Keys) -> list[str]:
    """The flags of a key spec, spelled and ordered as COMMAND INFO prints them."""
    declared = {flag.lower() for flag in keys.flags.split()}
    unknown = declared - {flag.lower() for flag in KEY_FLAGS}
    if unknown:
        raise DeclarationError(f"unknown key-spec flags: {', '.join(sorted(unknown))}")
    return [flag for flag in KEY_FLAGS if flag.lower() in declared]


def is_range(keys: Keys) -> bool:
    """Whether the keys are at fixed indexes: no count, no keyword, not unknown."""
    return not keys.keyword and not keys.count_at and keys.first > 0


def legacy_range(specs: tuple[Keys, ...]) -> tuple[tuple[int, int, int], bool]:
    """The (first, last, step) of a command with these specs, and whether that is not all.

    Consecutive plain ranges are joined; anything else sets "movable": a client has to ask
    COMMAND GETKEYS. (0, 0, 0) without a usable range.
    """
    if not specs:
        return (0, 0, 0), False
    movable = any(INCOMPLETE in key_flags(keys) for keys in specs)
    if len(specs) == 1 and is_range(specs[0]):
        only = specs[0]
        return (only.first, only.last_index, only.step), movable
    first = last = 0
    for keys in specs:
        follows = not last or (last > 0 and keys.first == last + 1)
        if not is_range(keys) or keys.step != 1 or not follows:
            movable = True
            continue
        first = min(first, keys.first) if first else keys.first
        last = keys.last_index if keys.last_index < 0 else max(last, keys.last_index)
    return (first, last, 1 if first else 0), movable or not first


def flags_of(command: Command) -> F:
    """The declared flags, and MOVABLEKEYS where it follows from the key specs."""
    movable = legacy_range(command.keys)[1]
    return command.flags | F.MOVABLEKEYS if movable else command.flags


def categories_of(command: Command) -> list[str]:
    """The ACL categories, without "@", in Redis's order.

    `acl` of the declaration names those that no flag implies. Without it they are the family's,
    except that a container belongs to none: its subcommands do.
    """
    declared = {category.lower() for category in command.acl}
    unknown = declared - set(CATEGORIES)
    if unknown:
        raise DeclarationError(f"{command.name}: no ACL category {', '.join(sorted(unknown))}")
    if not declared and not command.subcommands and command.group in GROUP_CATEGORIES:
        declared.add(GROUP_CATEGORIES[command.group])
    if F.WRITE in command.flags:
        declared.add("write")
    # A script may read without any key, so reading is not what is granted there.
    if F.READONLY in command.flags and "scripting" not in declared:
        declared.add("read")
    if F.ADMIN in command.flags:
        declared |= {"admin", "dangerous"}
    if F.PUBSUB in command.flags:
        declared.add("pubsub")
    if F.BLOCKING in command.flags:
        declared.add("blocking")
    declared.add("fast" if F.FAST in command.flags else "slow")
    return [category for category in CATEGORIES if category in declared]


def tips_of(command: Command) -> list[str]:
    """The tips, the two policies last; `tips` of the declaration may name them to place them."""
    tips = [tip.lower() for tip in command.tips]
    policies = []
    if command.request is not Request.DEFAULT:
        policies.append(f"request_policy:{command.request.value}")
    if command.response is not Response.DEFAULT:
        policies.append(f"response_policy:{command.response.value}")
    return tips + [policy for policy in policies if policy not in tips]


def write_command_info(reply: Reply, command: Command | None) -> None:
    """One element of COMMAND and COMMAND INFO: null for a command that does not exist.

    O(its key specs and subcommands).
    """
    if command is None:
        reply.null()
        return
    first, last, step = legacy_range(command.keys)[0]
    flags = flags_of(command)
    reply.array(10)
    reply.bulk(command.name.lower().encode())
    reply.integer(command.arity)
    _write_statuses(reply, [(flag.name or "").lower() for flag in SHOWN_FLAGS if flag in flags])
    reply.integer(first)
    reply.integer(last)
    reply.integer(step)
    _write_statuses(reply, [f"@{category}" for category in categories_of(command)])
    tips = tips_of(command)
    reply.set(len(tips))
    for tip in tips:
        reply.bulk(tip.encode())
    reply.set(len(command.keys))
    for keys in command.keys:
        _write_key_spec(reply, keys)
    if not command.subcommands:
        reply.set(0)
        return
    reply.array(len(command.subcommands))
    for subcommand in command.subcommands:
        write_command_info(reply, subcommand)


def _write_statuses(reply: Reply, names: list[str]) -> None:
    reply.set(len(names))
    for name in names:
        reply.status(name.encode())


def _write_key_spec(reply: Reply, keys: Keys) -> None:
    reply.map(4 if keys.notes else 3)
    if keys.notes:
        reply.bulk(b"notes")
        reply.bulk(keys.notes.encode())
    reply.bulk(b"flags")
    _write_statuses(reply, key_flags(keys))
    if keys.keyword:
        _write_search(
            reply, b"begin_search", b"keyword", {b"keyword": keys.keyword, b"startfrom": keys.first}
        )
    elif keys.first == 0:
        _write_search(reply, b"begin_search", b"unknown", {})
        _write_search(reply, b"find_keys", b"unknown", {})
        return
    else:
        _write_search(reply, b"begin_search", b"index", {b"index": keys.count_at or keys.first})
    if keys.count_at:
        _write_search(
            reply,
            b"find_keys",
            b"keynum",
            {b"keynumidx": 0, b"firstkey": keys.first - keys.count_at, b"keystep": keys.step},
        )
        return
    if keys.keyword:
        last = keys.last or 0
    else:
        last = keys.last_index if keys.last_index < 0 else keys.last_index - keys.first
    _write_search(
        reply,
        b"find_keys",
        b"range",
        {b"lastkey": last, b"keystep": keys.step, b"limit": keys.limit},
    )


def _write_search(
    reply: Reply, name: bytes, kind: bytes, fields: Mapping[bytes, str | int]
) -> None:
    reply.bulk(name)
    reply.map(2)
    reply.bulk(b"type")
    reply.bulk(kind)
    reply.bulk(b"spec")
    reply.map(len(fields))
    for field, value in fields.items():
        reply.bulk(field)
        if isinstance(value, int):
            reply.integer(value)
        else:
            reply.bulk(value.encode())
