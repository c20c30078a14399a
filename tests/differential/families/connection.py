"""Grammar of the commands on the connection itself."""

from __future__ import annotations

from tests.differential.families.strings import optional
from tests.differential.grammar import Args, Draw, Family

CONNECTION = Family("connection", weight=0.8)
NAMES = [b"name", b"", b"with space", b"new\nline", b"n\xc3\xa4me", b"a" * 30, b"~!", b"\x7f"]


@CONNECTION.command(weight=2)
def ping(draw: Draw) -> list[Args]:
    return [[b"PING"] if draw.chance(0.5) else [b"PING", draw.value()]]


@CONNECTION.command()
def echo(draw: Draw) -> list[Args]:
    return [[b"ECHO", draw.value()]]


@CONNECTION.command(weight=2)
def select(draw: Draw) -> list[Args]:
    return [[b"SELECT", draw.database()]]


@CONNECTION.command(weight=0.1)
def leave(draw: Draw) -> list[Args]:
    return [[b"QUIT"]]


@CONNECTION.command(weight=0.7)
def hello(draw: Draw) -> list[Args]:
    args = [b"HELLO"]
    if draw.chance(0.8):
        args.append(draw.choice([b"2", b"3", b"3", b"2", b"4", b"1", b"abc", b"-3", b""]))
        args += optional(
            draw,
            [b"SETNAME", draw.choice(NAMES)],
            [b"AUTH", draw.choice([b"default", b"nobody"]), b"secret"],
            [b"bad"],
            [b"SETNAME"],
            chance=0.12,
        )
    return [args]


@CONNECTION.command(weight=2)
def client(draw: Draw) -> list[Args]:
    kind = draw.randrange(5)
    if kind == 0:
        return [[b"CLIENT", draw.cased(b"ID")]]
    if kind == 1:
        return [[b"CLIENT", draw.cased(b"GETNAME")]]
    if kind == 2:
        return [[b"CLIENT", b"SETNAME", draw.choice(NAMES)], [b"CLIENT", b"GETNAME"]]
    if kind == 3:
        word = draw.choice([b"LIB-NAME", b"LIB-VER", b"lib-name", b"other"])
        return [[b"CLIENT", b"SETINFO", word, draw.choice(NAMES)]]
    return [[b"CLIENT", draw.choice([b"nosuch", b"", b"id\r\n"])]]


@CONNECTION.command(weight=0.7)
def client_options(draw: Draw) -> list[Args]:
    """Subcommands about other clients, with arguments that fit nobody, or that are wrong."""
    subcommand = draw.choice([b"KILL", b"LIST", b"PAUSE", b"UNBLOCK", b"UNPAUSE", b"REPLY"])
    numbers = [b"999999999", b"0", b"-1", b"x", b"", b"9223372036854775808"]
    if subcommand == b"PAUSE":
        rest = [draw.choice([b"0", *numbers[2:]]), *optional(draw, [b"write"], [b"x"], chance=0.3)]
    elif subcommand == b"UNBLOCK":
        rest = [draw.choice(numbers), *optional(draw, [b"error"], [b"TIMEOUT"], [b"x"], chance=0.3)]
    elif subcommand == b"UNPAUSE":
        rest = optional(draw, [b"x"], chance=0.2)
    elif subcommand == b"REPLY":
        rest = [draw.choice([b"on", b"ON", b"x", b""])]
    else:
        filters = [[b"ID", draw.choice(numbers)], [b"TYPE", draw.choice([b"master", b"x"])]]
        if subcommand == b"KILL":
            filters += [[b"ADDR", b"1.2.3.4:5"], [b"USER", b"nobody"], [b"SKIPME", b"x"]]
        rest = [word for words in filters if draw.chance(0.4) for word in words] or [b"x", b"y"]
    return [[b"CLIENT", draw.cased(subcommand), *rest]]


@CONNECTION.command(weight=0.4)
def client_switches(draw: Draw) -> list[Args]:
    word = draw.choice([b"GETREDIR", b"TRACKINGINFO"])
    if draw.chance(0.5):
        return [[b"CLIENT", word]]
    return [[b"CLIENT", b"NO-EVICT", draw.choice([b"on", b"OFF", b"x"])]]


@CONNECTION.command(weight=0.7)
def unknown(draw: Draw) -> list[Args]:
    name = draw.choice([b"NOSUCH", b"", b"foo\r\nbar", b"x" * 200, b"GET|", b"config|get", b"'"])
    return [[name, *(draw.value() for _ in range(draw.randrange(4)))]]
