"""Every difference that replies of ours may have from the oracle's, each with its reason.

This is the one file in which a difference is allowed. A normaliser is looked at only when the
raw replies differ. It is given the exchange and returns both replies reduced to what must be
equal, or None when it doesn't concern this exchange. What it returns is compared again, by the
remaining normalisers too.

`since_72` marks what Redis 7.2 changed: it is off when SHARDIS_ORACLE names a 7.2 server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.resp_client import MalformedReplyError, Node, parse

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command, and what both servers answered."""

    args: tuple[bytes, ...]
    ours: bytes
    oracle: bytes

    @property
    def name(self) -> bytes:
        return self.args[0].upper()

    @property
    def subcommand(self) -> bytes:
        return self.args[1].upper() if len(self.args) > 1 else b""


@dataclass(frozen=True, slots=True)
class Normaliser:
    name: str
    reason: str
    apply: Callable[[Exchange], Pair | None]
    since_72: bool


NORMALISERS: list[Normaliser] = []


def normaliser(
    reason: str, *, since_72: bool = False
) -> Callable[[Callable[[Exchange], Pair | None]], Callable[[Exchange], Pair | None]]:
    """Declare the decorated function as the normaliser of its name."""

    def declare(function: Callable[[Exchange], Pair | None]) -> Callable[[Exchange], Pair | None]:
        NORMALISERS.append(Normaliser(function.__name__, reason, function, since_72))
        return function

    return declare


def equal(exchange: Exchange, *, oracle_is_72: bool) -> bool:
    """Whether the replies are the same, apart from allowed differences."""
    ours, oracle = exchange.ours, exchange.oracle
    for one in NORMALISERS:
        if ours == oracle:
            return True
        if one.since_72 and oracle_is_72:
            continue
        try:
            result = one.apply(Exchange(exchange.args, ours, oracle))
        except (MalformedReplyError, ValueError, IndexError):
            continue  # not of the shape it is about, which is a difference
        if result is not None:
            ours, oracle = result
    return ours == oracle


def both(exchange: Exchange, reduce: Callable[[bytes], bytes]) -> Pair:
    return reduce(exchange.ours), reduce(exchange.oracle)


def is_integer(raw: bytes) -> bool:
    return raw[:1] == b":"


# --- Chance -------------------------------------------------------------------------------------


@normaliser("which key is drawn is up to chance; that there is none is compared")
def random_key(exchange: Exchange) -> Pair | None:
    if exchange.name != b"RANDOMKEY":
        return None
    return both(exchange, lambda raw: b"key" if raw[:1] == b"$" and raw[:3] != b"$-1" else raw)


@normaliser("the order of keys is that of the hash tables")
def keys_order(exchange: Exchange) -> Pair | None:
    if exchange.name != b"KEYS":
        return None
    return both(exchange, sorted_array)


def sorted_array(raw: bytes) -> bytes:
    node = parse(raw)
    if node.kind not in "*~":
        return raw
    return Node(node.kind, sorted(node.value)).dump()


@normaliser("cursors and what one call finds depend on the tables; full iterations are compared")
def scan_step(exchange: Exchange) -> Pair | None:
    if exchange.name != b"SCAN":
        return None
    return both(exchange, scan_shape)


def scan_shape(raw: bytes) -> bytes:
    node = parse(raw)
    if node.kind != "*" or len(node.value) != 2:
        return raw
    cursor, found = node.value
    well_formed = (
        cursor.kind == "$"
        and cursor.value.isdigit()
        and int(cursor.value) < 2**64
        and found.kind == "*"
        and all(child.kind == "$" for child in found.value)
    )
    return b"a step of a scan" if well_formed else raw


@normaliser("the order of fields is that of the hash tables")
def hash_order(exchange: Exchange) -> Pair | None:
    if exchange.name not in (b"HGETALL", b"HKEYS", b"HVALS"):
        return None

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind not in "*%":
            return raw
        if exchange.name != b"HGETALL":
            return sorted_array(raw)
        return node.kind.encode() + b"".join(sorted_pairs(node.value))

    return both(exchange, reduce)


@normaliser("the order of a big sorted set's scan is that of its table, and a step is up to it")
def scan_of_scores(exchange: Exchange) -> Pair | None:
    if exchange.name != b"ZSCAN":
        return None
    if exchange.args[2].lstrip(b"+-0") or not scans_all(exchange.args):
        return both(exchange, scan_shape)

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind != "*" or len(node.value) != 2:
            return raw
        cursor, found = node.value
        pairs = sorted(zip(found.value[::2], found.value[1::2], strict=True))
        return Node("*", [cursor, *(word for pair in pairs for word in pair)]).dump()

    return both(exchange, reduce)


def sorted_pairs(nodes: list[Node]) -> list[bytes]:
    """Fields and values by turns, as raw pairs in an order of their own."""
    return sorted(a.dump() + b.dump() for a, b in zip(nodes[::2], nodes[1::2], strict=True))


@normaliser("which fields are drawn is up to chance; how many, and in which shape, is compared")
def random_fields(exchange: Exchange) -> Pair | None:
    if exchange.name != b"HRANDFIELD":
        return None

    def shape(node: Node) -> str:
        if node.kind == "*" and node.value is not None:
            return f"({' '.join(shape(child) for child in node.value)})"
        return node.kind if node.value is not None else "null"

    return both(exchange, lambda raw: shape(parse(raw)).encode() if raw[:1] in b"*$" else raw)


@normaliser("a step over a hash table depends on it; one that finds all at once is compared")
def hash_scan_step(exchange: Exchange) -> Pair | None:
    if exchange.name != b"HSCAN":
        return None
    replies = [parse(raw) for raw in (exchange.ours, exchange.oracle)]
    if any(node.kind != "*" or len(node.value[1].value) % 2 for node in replies):
        return None
    whole = all(node.value[0].value == b"0" for node in replies)
    if whole and exchange.args[2] == b"0":
        return both(exchange, lambda raw: b"".join(sorted_pairs(parse(raw).value[1].value)))
    return both(exchange, scan_shape)


@normaliser("the order of members is that of the hash tables")
def set_order(exchange: Exchange) -> Pair | None:
    if exchange.name not in (b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"SPOP"):
        return None
    return both(exchange, sorted_array)


@normaliser("which members are drawn is up to chance; how many, and in which shape, is compared")
def random_members(exchange: Exchange) -> Pair | None:
    if exchange.name == b"SPOP":
        if not exchange.args[1].startswith(b"pop:"):
            return None
    elif exchange.name != b"SRANDMEMBER":
        return None

    def shape(raw: bytes) -> bytes:
        node = parse(raw)
        if node.value is None or node.kind not in "*~$":
            return raw
        if node.kind == "$":
            return b"a member"
        return f"{node.kind}{[child.kind for child in node.value]}".encode()

    return both(exchange, shape)


@normaliser("a step over a hash table depends on it; one that finds all at once is compared")
def set_scan_step(exchange: Exchange) -> Pair | None:
    if exchange.name != b"SSCAN":
        return None
    replies = [parse(raw) for raw in (exchange.ours, exchange.oracle)]
    if any(node.kind != "*" for node in replies):
        return None
    whole = all(node.value[0].value == b"0" for node in replies)
    if whole and exchange.args[2] == b"0":
        return both(exchange, lambda raw: sorted_array(parse(raw).value[1].dump()))
    return both(exchange, scan_shape)


def scans_all(args: tuple[bytes, ...]) -> bool:
    """Whether the last COUNT is larger than any collection here."""
    counts = [args[at + 1] for at, arg in enumerate(args[:-1]) if arg.upper() == b"COUNT"]
    return bool(counts) and len(counts[-1]) > 4


@normaliser("which members are drawn is up to chance; how many, and in what form, is compared")
def random_sorted_members(exchange: Exchange) -> Pair | None:
    if exchange.name != b"ZRANDMEMBER":
        return None

    def shape(node: Node) -> bytes:
        if node.kind == "*" and node.value is not None:
            return b"[%s]" % b" ".join(shape(child) for child in node.value)
        return b"nothing" if node.value is None else node.kind.encode()

    return both(exchange, lambda raw: raw if raw[:1] == b"-" else shape(parse(raw)))


# --- Time ---------------------------------------------------------------------------------------

CLOCK_TOLERANCE_MS = {b"TTL": 2, b"EXPIRETIME": 2, b"PTTL": 2000, b"PEXPIRETIME": 2000}


@normaliser("the servers run the same command at slightly different times")
def relative_time(exchange: Exchange) -> Pair | None:
    tolerance = CLOCK_TOLERANCE_MS.get(exchange.name)
    if tolerance is None or not (is_integer(exchange.ours) and is_integer(exchange.oracle)):
        return None
    ours, oracle = int(exchange.ours[1:]), int(exchange.oracle[1:])
    # -1 and -2 (no expiry, no key) are answers of their own.
    if min(ours, oracle) < 0 or abs(ours - oracle) > tolerance:
        return None
    return b"near", b"near"


@normaliser("the wall clock")
def time_of_day(exchange: Exchange) -> Pair | None:
    if exchange.name != b"TIME":
        return None
    return both(exchange, lambda raw: re.sub(rb"\d{6,}|\$\d+\r\n\d+", b"N", raw))


@normaliser("idle time is by the clock, and of a shared small integer that of all its keys")
def idle_time(exchange: Exchange) -> Pair | None:
    if exchange.name != b"OBJECT" or exchange.subcommand != b"IDLETIME":
        return None
    return both(exchange, lambda raw: b"seconds" if is_integer(raw) and int(raw[1:]) >= 0 else raw)


# --- Identity and inner figures ------------------------------------------------------------------


@normaliser("client ids are given in the order in which a server sees connections")
def client_id(exchange: Exchange) -> Pair | None:
    if exchange.name != b"CLIENT" or exchange.subcommand != b"ID":
        return None
    return both(exchange, lambda raw: b"id" if is_integer(raw) and int(raw[1:]) > 0 else raw)


@normaliser("HELLO names the version of the server and the id of the client")
def hello_facts(exchange: Exchange) -> Pair | None:
    if exchange.name != b"HELLO":
        return None

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind not in "*%":
            return raw
        shown = list(node.value)
        for at in range(0, len(shown) - 1, 2):
            if shown[at].value in (b"version", b"id"):
                shown[at + 1] = Node(shown[at + 1].kind, b"0")
        return Node(node.kind, shown).dump()

    return both(exchange, reduce)


@normaliser("how much memory an entry takes is a matter of the implementation")
def memory_usage(exchange: Exchange) -> Pair | None:
    if exchange.name != b"MEMORY" or exchange.subcommand != b"USAGE":
        return None
    return both(exchange, lambda raw: b"bytes" if is_integer(raw) and int(raw[1:]) > 0 else raw)


@normaliser("DEBUG OBJECT shows an address, the LRU clock and the size of a dump")
def debug_object(exchange: Exchange) -> Pair | None:
    if exchange.name != b"DEBUG" or exchange.subcommand != b"OBJECT":
        return None
    pattern = rb"(at:)\w+|(serializedlength:)\d+|(lru:)\d+|(lru_seconds_idle:)\d+"
    return both(exchange, lambda raw: re.sub(pattern, _keep_label, raw))


def _keep_label(match: re.Match[bytes]) -> bytes:
    label: bytes = next(filter(None, match.groups()))
    return label + b"N"


@normaliser("a small integer that COPY has made is a value of its own in Redis, and shared in ours")
def copied_number(exchange: Exchange) -> Pair | None:
    if exchange.name == b"OBJECT" and exchange.subcommand == b"REFCOUNT":
        if (exchange.ours, exchange.oracle) == (b":2147483647\r\n", b":1\r\n"):
            return b"a number", b"a number"
    elif exchange.name == b"DEBUG" and b"refcount:2147483647 encoding:int" in exchange.ours:
        return both(exchange, lambda raw: re.sub(rb"refcount:(1|2147483647) ", b"", raw))
    return None


# Sections that every server of this compatibility shows; ours has some more, others it lacks yet.
INFO_SECTIONS = {b"Server", b"Clients", b"Memory", b"Stats", b"Replication", b"CPU", b"Keyspace"}


@normaliser("INFO is about the server itself; its type, its sections and the key counts are equal")
def info_text(exchange: Exchange) -> Pair | None:
    if exchange.name != b"INFO":
        return None

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind not in "$=" or node.value is None:
            return raw
        lines: list[bytes] = node.value.split(b"\r\n")
        sections = [line[2:] for line in lines if line.startswith(b"# ")]
        shown = sorted(INFO_SECTIONS.intersection(sections))
        # avg_ttl is sampled.
        counts = [
            re.sub(rb",avg_ttl=.*", b"", line) for line in lines if re.match(rb"db\d+:keys=", line)
        ]
        return b"\n".join([node.kind.encode(), *shown, *counts])

    return both(exchange, reduce)


@normaliser("CONFIG GET answers in the order of a hash table")
def config_order(exchange: Exchange) -> Pair | None:
    if exchange.name != b"CONFIG" or exchange.subcommand != b"GET":
        return None

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind not in "*%":
            return raw
        pairs = sorted(zip(node.value[::2], node.value[1::2], strict=True))
        return Node(node.kind, [word for pair in pairs for word in pair]).dump()

    return both(exchange, reduce)


@normaliser("the number of commands grows from version to version, and ours has fewer still")
def command_count(exchange: Exchange) -> Pair | None:
    if exchange.name != b"COMMAND" or exchange.subcommand != b"COUNT":
        return None
    return both(exchange, lambda raw: b"count" if is_integer(raw) and int(raw[1:]) > 0 else raw)


@normaliser("ours has fewer commands still; single ones are compared by COMMAND INFO name")
def whole_command_table(exchange: Exchange) -> Pair | None:
    words = (exchange.name, *(arg.upper() for arg in exchange.args[1:]))
    if words not in ((b"COMMAND",), (b"COMMAND", b"INFO")):
        return None

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind != "*" or not node.value:
            return raw
        return b"table" if all(len(child.value) == 10 for child in node.value) else raw

    return both(exchange, reduce)


# --- What Redis 7.2 changed ----------------------------------------------------------------------


@normaliser("CLIENT SETINFO is new in 7.2", since_72=True)
def client_setinfo_is_new(exchange: Exchange) -> Pair | None:
    if exchange.name != b"CLIENT" or exchange.subcommand != b"SETINFO":
        return None
    if not exchange.oracle.startswith(b"-ERR unknown subcommand 'SETINFO'"):
        return None
    well_formed = exchange.ours == b"+OK\r\n" or exchange.ours.startswith(b"-ERR ")
    return (b"new", b"new") if well_formed else None


@normaliser("COMMAND GETKEYS takes a command without arguments since 7.2", since_72=True)
def getkeys_arity(exchange: Exchange) -> Pair | None:
    if exchange.name != b"COMMAND" or exchange.subcommand != b"GETKEYS" or len(exchange.args) != 3:
        return None
    refused = b"-ERR wrong number of arguments for 'command|getkeys' command\r\n"
    if exchange.oracle != refused or exchange.ours[:1] != b"-":
        return None
    return b"refused", b"refused"


@normaliser("small lists are one listpack since 7.2, no quicklist of one", since_72=True)
def small_list_encoding(exchange: Exchange) -> Pair | None:
    if exchange.name == b"OBJECT" and exchange.subcommand == b"ENCODING":
        if (exchange.ours, exchange.oracle) == (b"$8\r\nlistpack\r\n", b"$9\r\nquicklist\r\n"):
            return b"a list", b"a list"
    elif exchange.name == b"DEBUG" and b"encoding:listpack " in exchange.ours:
        if re.search(rb"encoding:quicklist .* ql_nodes:\d+ ", exchange.oracle):
            return b"a list", b"a list"
    elif exchange.name == b"DEBUG" and exchange.subcommand in (b"LISTPACK", b"QUICKLIST"):
        return both(exchange, lambda raw: raw if b"no such key" in raw else b"a list or not")
    return None


@normaliser(
    "nodes are filled up to other bytes since 7.2, which has listpacks to begin with", since_72=True
)
def list_nodes(exchange: Exchange) -> Pair | None:
    if exchange.name != b"DEBUG" or exchange.subcommand != b"OBJECT":
        return None
    return both(exchange, lambda raw: re.sub(rb"( ql_\w+:)-?[\d.]+", rb"\1N", raw))


@normaliser("the least of all ranks has no opposite, which 7.2 says", since_72=True)
def least_rank(exchange: Exchange) -> Pair | None:
    if exchange.name != b"LPOS" or b"-9223372036854775808" not in exchange.args:
        return None
    refused = exchange.ours.startswith(b"-ERR value is out of range, value must between -9223")
    return (b"refused", b"refused") if refused else None


@normaliser("a timeout beyond all numbers is out of range since 7.2, not negative", since_72=True)
def endless_timeout(exchange: Exchange) -> Pair | None:
    texts = (b"-ERR timeout is out of range\r\n", b"-ERR timeout is negative\r\n")
    return (b"refused", b"refused") if (exchange.ours, exchange.oracle) == texts else None


@normaliser("members that are equally far come in the order of a sort that ends early")
def equally_far(exchange: Exchange) -> Pair | None:
    searches = exchange.name.startswith((b"GEOSEARCH", b"GEORADIUS"))
    if not searches or b"COUNT" not in (arg.upper() for arg in exchange.args):
        return None
    return both(exchange, sorted_array)


@normaliser("7.2 writes doubles in their shortest form, 7.0 with 17 digits", since_72=True)
def shortest_doubles(exchange: Exchange) -> Pair | None:
    """Also what only 7.2 does to them: -0 becomes 0 in a listpack, distances are rounded."""
    if not exchange.name.startswith((b"Z", b"BZ", b"GEO")):
        return None

    def reduce(node: Node) -> Node:
        if node.kind in "*~" and node.value is not None:
            return Node(node.kind, [reduce(child) for child in node.value])
        if node.kind in "$," and re.fullmatch(rb"-?[\d.]+(e[+-]\d+)?|-0", node.value or b""):
            return Node(node.kind, b"%.13g" % (float(node.value) + 0.0))
        return node

    return both(exchange, lambda raw: raw if raw[:1] == b"-" else reduce(parse(raw)).dump())


@normaliser("a wait beyond all numbers is out of range since 7.2, not negative", since_72=True)
def endless_pop(exchange: Exchange) -> Pair | None:
    if exchange.name not in (b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"):
        return None
    texts = (b"-ERR timeout is out of range\r\n", b"-ERR timeout is negative\r\n")
    return (b"refused", b"refused") if (exchange.ours, exchange.oracle) == texts else None


@normaliser("WITHSCORE of ZRANK and ZREVRANK is new in 7.2", since_72=True)
def rank_with_score(exchange: Exchange) -> Pair | None:
    if exchange.name not in (b"ZRANK", b"ZREVRANK") or len(exchange.args) < 4:
        return None
    refused = exchange.oracle.startswith(b"-ERR wrong number of arguments for 'z")
    return (b"new", b"new") if refused else None


@normaliser(
    "7.2 looks at how many members ZADD is given before it chooses an encoding", since_72=True
)
def encoding_by_arguments(exchange: Exchange) -> Pair | None:
    if exchange.name != b"OBJECT" or exchange.subcommand != b"ENCODING":
        return None
    either = (b"$8\r\nskiplist\r\n", b"$8\r\nlistpack\r\n")
    if exchange.ours not in either or exchange.oracle not in either:
        return None
    return b"a sorted set", b"a sorted set"


@normaliser("what OBJECT ENCODING may tell in other words, DEBUG OBJECT may", since_72=True)
def debug_encoding(exchange: Exchange) -> Pair | None:
    if exchange.name != b"DEBUG" or exchange.subcommand != b"OBJECT":
        return None
    found = [re.search(rb" encoding:(\w+) ", raw) for raw in (exchange.ours, exchange.oracle)]
    ours, oracle = (match[1] if match else b"" for match in found)
    kinds = (SET_ENCODINGS, (b"skiplist", b"listpack"))
    if not any(ours in kind and oracle in kind for kind in kinds):
        return None
    return both(exchange, lambda raw: re.sub(rb" encoding:\w+ ", b" encoding:E ", raw))


TIPS_CHANGED_IN_72 = {b"msetnx", b"randomkey", b"scan"}


@normaliser("7.2 gave some commands other tips", since_72=True)
def command_tips(exchange: Exchange) -> Pair | None:
    if exchange.name != b"COMMAND" or exchange.subcommand != b"INFO":
        return None

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind != "*":
            return raw
        entries = []
        for entry in node.value:
            if entry.value and entry.value[0].value in TIPS_CHANGED_IN_72:
                parts = list(entry.value)
                parts[7] = Node(parts[7].kind, [])
                entry = Node(entry.kind, parts)
            entries.append(entry)
        return Node(node.kind, entries).dump()

    return both(exchange, reduce)


@normaliser("7.2 looks at all options of HELLO before it authenticates", since_72=True)
def hello_options_first(exchange: Exchange) -> Pair | None:
    if exchange.name != b"HELLO" or not exchange.oracle.startswith(b"-WRONGPASS "):
        return None
    options = (b"-ERR Syntax error in HELLO option", b"-ERR Client names cannot contain ")
    if not exchange.ours.startswith(options):
        return None
    return b"refused", b"refused"


@normaliser(
    "7.2 counts the pairs of a call, repeated fields too, before it makes a hash", since_72=True
)
def hash_of_repeated_fields(exchange: Exchange) -> Pair | None:
    if exchange.name != b"OBJECT" or exchange.subcommand != b"ENCODING":
        return None
    if (exchange.ours, exchange.oracle) != (b"$9\r\nhashtable\r\n", b"$8\r\nlistpack\r\n"):
        return None
    return b"hash", b"hash"


SET_ENCODINGS = (b"intset", b"listpack", b"hashtable")


@normaliser("sets may be listpacks since 7.2, and change their encoding otherwise", since_72=True)
def set_encodings(exchange: Exchange) -> Pair | None:
    if exchange.name != b"OBJECT" or exchange.subcommand != b"ENCODING":
        return None

    def reduce(raw: bytes) -> bytes:
        return b"of a set" if parse(raw).value in SET_ENCODINGS else raw

    return both(exchange, reduce)


# --- Streams ------------------------------------------------------------------------------------


def mapped(node: Node) -> dict[bytes, Node]:
    """A map of RESP3, or the array that is one in RESP2."""
    return {key.value: value for key, value in zip(node.value[::2], node.value[1::2], strict=True)}


def with_values(node: Node, **changes: Node) -> Node:
    """A map with some of its values replaced; names have underscores for dashes."""
    shown = list(node.value)
    for at in range(0, len(shown) - 1, 2):
        name = shown[at].value.decode().replace("-", "_")
        if name in changes:
            shown[at + 1] = changes[name]
    return Node(node.kind, shown)


@normaliser("the tree of a stream's nodes is another one than Redis's")
def stream_tree(exchange: Exchange) -> Pair | None:
    if exchange.name != b"XINFO" or exchange.subcommand != b"STREAM":
        return None

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        return with_values(node, radix_tree_nodes=NEAR).dump() if node.kind in "*%" else raw

    return both(exchange, reduce)


@normaliser("sets may be listpacks since 7.2, which has directives for them", since_72=True)
def set_listpack_directives(exchange: Exchange) -> Pair | None:
    if exchange.name != b"CONFIG" or exchange.subcommand != b"SET":
        return None
    if not exchange.oracle.startswith(b"-ERR Unknown option or number of arguments"):
        return None
    if not any(arg.lower().startswith(b"set-max-listpack-") for arg in exchange.args[2:]):
        return None
    return both(exchange, lambda raw: b"known or not" if raw[:1] in b"+-" else raw)


@normaliser("7.2 orders members by listpacks where 7.0 has hash tables", since_72=True)
def set_scan_of_listpack(exchange: Exchange) -> Pair | None:
    if exchange.name != b"SSCAN":
        return None
    return both(exchange, scan_shape)


NEAR = Node(":", b"0")
STREAM_CLOCK_MS = 20_000  # a case takes less


@normaliser("consumers of groups exist since any call in 7.2, and keep two times", since_72=True)
def consumers_without_entries(exchange: Exchange) -> Pair | None:
    """In 7.0 a claim of nothing leaves no consumer, and `idle` is what `inactive` is now."""
    if exchange.name == b"XGROUP" and exchange.subcommand == b"CREATECONSUMER":
        return both(exchange, lambda raw: b"created or not" if is_integer(raw) else raw)
    if exchange.name != b"XINFO":
        return None

    def reduce_consumers(node: Node) -> Node:
        kept = []
        for child in node.value:
            facts = mapped(child)
            count = facts.get(b"pending", NEAR) if b"idle" in facts else facts[b"pel-count"]
            if count.value != b"0":
                names = [name for name in (b"name", b"pending", b"pel-count") if name in facts]
                words = [word for name in names for word in (Node("$", name), facts[name])]
                kept.append(Node(child.kind, words))
        return Node(node.kind, kept)

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind not in "*%":
            return raw
        if exchange.subcommand == b"CONSUMERS":
            return reduce_consumers(node).dump()
        if exchange.subcommand == b"GROUPS":
            groups = [with_values(group, consumers=NEAR) for group in node.value]
            return Node(node.kind, groups).dump()
        facts = mapped(node)
        if exchange.subcommand != b"STREAM" or b"entries" not in facts:
            return raw
        groups = [
            with_values(group, consumers=reduce_consumers(mapped(group)[b"consumers"]))
            for group in facts[b"groups"].value
        ]
        return with_values(node, groups=Node("*", groups)).dump()

    return both(exchange, reduce)


@normaliser("deliveries and consumers have times, which are near each other")
def stream_times(exchange: Exchange) -> Pair | None:
    times: list[int] = []

    def taken(node: Node) -> Node:
        times.append(int(node.value))
        return NEAR

    def of_items(node: Node, at: int) -> Node:
        """An array of arrays that have a time at one place."""
        return Node(
            "*",
            [
                Node("*", [taken(part) if i == at else part for i, part in enumerate(item.value)])
                for item in node.value
            ],
        )

    def of_consumer(node: Node) -> Node:
        changes = {
            name: taken(part)
            for name, part in ((key.decode(), value) for key, value in mapped(node).items())
            if name in ("idle", "inactive")
        }
        for name in (b"seen-time", b"active-time"):
            if name in mapped(node):
                changes[name.decode().replace("-", "_")] = taken(mapped(node)[name])
        if mapped(node)[b"pending"].kind == "*":
            changes["pending"] = of_items(mapped(node)[b"pending"], 1)
        return with_values(node, **changes)

    def of_group(node: Node) -> Node:
        facts = mapped(node)
        consumers = Node("*", [of_consumer(child) for child in facts[b"consumers"].value])
        return with_values(node, pending=of_items(facts[b"pending"], 2), consumers=consumers)

    def reduce(raw: bytes) -> bytes:
        node = parse(raw)
        if node.kind not in "*%":
            return raw
        if exchange.name == b"XPENDING" and len(exchange.args) > 3:
            return of_items(node, 2).dump()
        if exchange.name != b"XINFO":
            return raw
        if exchange.subcommand == b"CONSUMERS":
            return Node(node.kind, [of_consumer(child) for child in node.value]).dump()
        if exchange.subcommand == b"STREAM" and b"entries" in mapped(node):
            groups = [of_group(child) for child in mapped(node)[b"groups"].value]
            return with_values(node, groups=Node("*", groups)).dump()
        return raw

    if exchange.name not in (b"XPENDING", b"XINFO"):
        return None
    ours = reduce(exchange.ours)
    ours_times = list(times)
    times.clear()
    oracle = reduce(exchange.oracle)
    near = len(ours_times) == len(times) and all(
        first == second or (min(first, second) >= 0 and abs(first - second) < STREAM_CLOCK_MS)
        for first, second in zip(ours_times, times, strict=True)
    )
    return (ours, oracle) if near else None


@normaliser("7.2 words the error of an unbalanced list of streams anew", since_72=True)
def unbalanced_streams(exchange: Exchange) -> Pair | None:
    if exchange.name not in (b"XREAD", b"XREADGROUP"):
        return None
    return both(exchange, lambda raw: b"-unbalanced" if raw.startswith(b"-ERR Unbalanced") else raw)


@normaliser("7.2 refuses an XSETID below a deleted id, whatever MAXDELETEDID says", since_72=True)
def set_id_below_deleted(exchange: Exchange) -> Pair | None:
    if exchange.name != b"XSETID":
        return None
    refused = b"-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id\r\n"
    if exchange.ours != refused or not exchange.oracle.startswith((b"+OK", b"-ERR The ")):
        return None
    return b"refused", b"refused"
