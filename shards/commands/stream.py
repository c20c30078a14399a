"""The stream family: logs of entries under rising ids, and groups of consumers that share them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import NO_SUCH_KEY, SYNTAX, CommandError
from protocol.help import help_reply
from protocol.numbers import parse_int64
from protocol.reply import Reply
from shards.arguments.options import INT64_MAX, INT64_MIN, int64, quoted, word
from shards.commands.generic import unknown_subcommand
from shards.lane.effects import GROUP_STATE
from shards.views.stream import HIGHEST, LOWEST, StreamView, fits, node_entries_max

if TYPE_CHECKING:
    from shards.lane.context import Context
    from shards.views.stream import StreamId

UINT64_MAX = (1 << 64) - 1
ID_TEXT_BYTES_MAX = 127
READ_UNKNOWN = -1  # a group's entries_read when it can't be known
ROUNDS_WITHOUT_CLAIM = 10  # how many pending entries XAUTOCLAIM looks at for each that it may claim
CLAIM_COUNT = 100
CLAIM_COUNT_MAX = INT64_MAX // 16
TRIM_NODES = 100  # how many nodes' worth of entries an approximate trim may take at once
TRIM_ENTRIES = 10_000  # the same without a limit of entries in a node
TRIM_ENTRIES_MAX = 1_000_000
INFO_ENTRIES = 10

# What Redis counts as a change, but tells nobody of.

BAD_ID = b"ERR Invalid stream ID specified as stream command argument"
BAD_START = b"ERR invalid start ID for the interval"
BAD_END = b"ERR invalid end ID for the interval"
ZERO_ID = b"ERR The ID specified in XADD must be greater than 0-0"
LOW_ID = b"ERR The ID specified in XADD is equal or smaller than the target stream top item"
EXHAUSTED = b"ERR The stream has exhausted the last possible ID, unable to add more items"
TOO_LARGE = b"ERR Elements are too large to be stored"
TWO_STRATEGIES = b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
LIMIT_ALONE = b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
LIMIT_EXACT = b"ERR syntax error, LIMIT cannot be used without the special ~ option"
NO_STRATEGY = b"ERR syntax error, XTRIM must be called with a trimming strategy"
NO_KEY_FOR_GROUP = (
    b"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to "
    b"use the MKSTREAM option to create an empty stream automatically."
)
DOLLAR_IN_GROUP = (
    b"ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of "
    b"this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID "
    b"would just return an empty result set."
)
NEW_WITHOUT_GROUP = (
    b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> "
    b"<consumer> option."
)
ONLY_IN_GROUP = b"ERR The %s option is only supported by XREADGROUP. You called XREAD instead."
BUSY_GROUP = b"BUSYGROUP Consumer Group name already exists"

READ = Keys(1, flags="RO access")
UPDATE = Keys(1, flags="RW update")
DELETE = Keys(1, flags="RW delete")


# --- Ids ----------------------------------------------------------------------------------------

LOOSE_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?)([0-9]+)\Z")


def uint64(text: bytes) -> int | None:
    """An unsigned number as Redis reads it: strictly as an int64, and then as strtoull does."""
    if text.isdigit():
        value = int(text)
        return value if value <= UINT64_MAX else None
    if parse_int64(text) is not None:  # a negative one
        return None
    match = LOOSE_NUMBER.match(text)
    if match is None or int(match[2]) > UINT64_MAX:
        return None
    return -int(match[2]) & UINT64_MAX if match[1] == b"-" else int(match[2])


def read_id(argument: bytes, missing: int = 0) -> StreamId | None:
    """`ms-sequence`, or `ms` alone with a sequence of `missing`; None if it is neither."""
    if len(argument) > ID_TEXT_BYTES_MAX:
        return None
    first, dash, second = argument.partition(b"\0")[0].partition(b"-")
    ms = uint64(first)
    sequence = uint64(second) if dash else missing
    return None if ms is None or sequence is None else (ms, sequence)


def strict_id(argument: bytes, missing: int = 0) -> StreamId:
    """An id that is written out. Raises CommandError."""
    id = read_id(argument, missing)
    if id is None:
        raise CommandError(BAD_ID)
    return id


def any_id(argument: bytes, missing: int = 0) -> StreamId:
    """An id, or - and + for the lowest and the highest. Raises CommandError."""
    if argument[:1] in (b"-", b"+") and len(text(argument)) == 1 and len(argument) <= 127:
        return LOWEST if argument[:1] == b"-" else HIGHEST
    return strict_id(argument, missing)


def text(argument: bytes) -> bytes:
    """An argument as C sees it."""
    return argument.partition(b"\0")[0]


def interval_start(argument: bytes) -> StreamId:
    """The first id of an interval; after a parenthesis, the one that is left out."""
    if len(argument) < 2 or argument[:1] != b"(":
        return any_id(argument)
    ms, sequence = strict_id(argument[1:])
    if (ms, sequence) == HIGHEST:
        raise CommandError(BAD_START)
    return (ms, sequence + 1) if sequence < UINT64_MAX else (ms + 1, 0)


def interval_end(argument: bytes) -> StreamId:
    """The last id of an interval, as interval_start."""
    if len(argument) < 2 or argument[:1] != b"(":
        return any_id(argument, UINT64_MAX)
    ms, sequence = strict_id(argument[1:], UINT64_MAX)
    if (ms, sequence) == LOWEST:
        raise CommandError(BAD_END)
    return (ms, sequence - 1) if sequence else (ms - 1, UINT64_MAX)


def following(id: StreamId) -> StreamId:
    """The next id; of the highest one, the lowest."""
    ms, sequence = id
    if sequence < UINT64_MAX:
        return ms, sequence + 1
    return (ms + 1, 0) if ms < UINT64_MAX else LOWEST


def shown(id: StreamId) -> bytes:
    return b"%d-%d" % id


# --- Adding and trimming ------------------------------------------------------------------------


@dataclass(slots=True)
class Trimming:
    """What XADD and XTRIM say about how much of a stream is to stay."""

    length: int | None = None  # MAXLEN
    id: StreamId | None = None  # MINID
    whole_nodes: bool = False  # ~
    limit: int = 0
    create: bool = True  # XADD without NOMKSTREAM
    threshold_at: int = 0  # the index of how many or which id are to stay
    id_at: int = 0  # XADD: the index of the id

    @property
    def given(self) -> bool:
        return self.length is not None or self.id is not None

    def apply(self, view: StreamView) -> int:
        """How many entries went."""
        if self.length is not None:
            return view.trim_length(self.length, whole_nodes=self.whole_nodes, limit=self.limit)
        if self.id is not None:
            return view.trim_id(self.id, whole_nodes=self.whole_nodes, limit=self.limit)
        return 0

    def logged(self, view: StreamView, args: list[bytes]) -> list[bytes]:
        """The call with an exact trim: how much an approximate one takes is a matter of nodes."""
        words = list(args)
        if self.whole_nodes:
            words[self.threshold_at - 1] = b"="
            if self.length is not None:
                words[self.threshold_at] = b"%d" % view.length
            else:
                words[self.threshold_at] = shown(view.edge_id)
        return words


def parse_trimming(ctx: Context, args: list[bytes], adding: bool) -> Trimming:
    """Read the options of XADD, up to its id, or of XTRIM. Raises CommandError."""
    found = Trimming()
    limit_given = False
    index = 2
    while index < len(args):
        option, more = word(args[index]), len(args) - 1 - index
        if adding and option == b"*":
            break
        if option in (b"MAXLEN", b"MINID") and more:
            if found.given:
                raise CommandError(TWO_STRATEGIES)
            found.whole_nodes = False
            if more >= 2 and text(args[index + 1]) in (b"~", b"="):
                found.whole_nodes = text(args[index + 1]) == b"~"
                index += 1
            index += 1
            found.threshold_at = index
            if option == b"MINID":
                found.id = strict_id(args[index])
            else:
                found.length = int64(args[index])
                if found.length < 0:
                    raise CommandError(b"ERR The MAXLEN argument must be >= 0.")
        elif option == b"LIMIT" and more:
            index += 1
            found.limit = int64(args[index])
            if found.limit < 0:
                raise CommandError(b"ERR The LIMIT argument must be >= 0.")
            limit_given = True
        elif adding and option == b"NOMKSTREAM":
            found.create = False
        elif adding:
            given_id(args[index])  # a word that is no option must be the id
            break
        else:
            raise CommandError(SYNTAX)
        index += 1
    found.id_at = index
    if found.limit and not found.given:
        raise CommandError(LIMIT_ALONE)
    if not adding and not found.given:
        raise CommandError(NO_STRATEGY)
    if limit_given and not found.whole_nodes:
        raise CommandError(LIMIT_EXACT)
    if found.whole_nodes and not limit_given:
        entries = TRIM_NODES * node_entries_max(ctx)
        found.limit = min(entries, TRIM_ENTRIES_MAX) if entries > 0 else TRIM_ENTRIES
    return found


def given_id(argument: bytes) -> tuple[int | None, int | None]:
    """The id of an XADD; None for what the server is to choose. Raises CommandError."""
    if text(argument) == b"*":
        return None, None
    if len(argument) <= ID_TEXT_BYTES_MAX:
        first, _, second = text(argument).partition(b"-")
        if second == b"*":
            ms = uint64(first)
            if ms is None:
                raise CommandError(BAD_ID)
            return ms, None
    return strict_id(argument)


def new_id(ctx: Context, given: tuple[int | None, int | None], last: StreamId) -> StreamId:
    """The id of a new entry after `last`. Raises CommandError."""
    ms, sequence = given
    if ms is None:
        id = (ctx.now_ms, 0) if ctx.now_ms > last[0] else following(last)
    elif sequence is None:
        # The highest sequence has no next one: that is refused below.
        id = (ms, min(last[1] + 1, UINT64_MAX) if ms == last[0] else 0)
    else:
        id = (ms, sequence)
    if id <= last:
        raise CommandError(LOW_ID)
    return id


@command(
    "XADD",
    arity=-5,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    keys=replace(UPDATE, notes="UPDATE instead of INSERT because of the optional trimming feature"),
    tips=("nondeterministic_output",),
)
def xadd(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Append an entry to a stream. O(1), and O(N) for N entries that are trimmed."""
    trimming = parse_trimming(ctx, args, adding=True)
    items = args[trimming.id_at + 1 :]
    if len(items) < 2 or len(items) % 2:
        raise CommandError(b"ERR wrong number of arguments for 'xadd' command")
    given = given_id(args[trimming.id_at])
    if given == LOWEST:
        raise CommandError(ZERO_ID)

    key = args[1]
    view = StreamView.open(ctx, key, write=True)
    if view is None and not trimming.create:
        reply.null()
        return
    last = LOWEST if view is None else view.last_id
    if last == HIGHEST:
        raise CommandError(EXHAUSTED)
    id = new_id(ctx, given, last)
    if not fits(items):
        raise CommandError(TOO_LARGE)
    if view is None:
        view = StreamView.open(ctx, key, create=True)
        assert view is not None

    view.append(id, items)
    trimmed = trimming.apply(view)
    if trimming.whole_nodes or None in given:
        logged = trimming.logged(view, args)
        if None in given:
            logged[trimming.id_at] = shown(id)
        ctx.propagate(logged)
    else:
        ctx.propagate_raw()
    ctx.changed(key, b"xadd")
    if trimmed:
        ctx.notify(key, b"xtrim")
    reply.bulk(shown(id))


@command(
    "XTRIM",
    arity=-4,
    flags=F.WRITE,
    keys=DELETE,
    tips=("nondeterministic_output",),
)
def xtrim(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Drop the oldest entries of a stream. O(N) for N entries that go."""
    trimming = parse_trimming(ctx, args, adding=False)
    view = StreamView.open(ctx, args[1], write=True)
    trimmed = 0 if view is None else trimming.apply(view)
    if trimmed:
        assert view is not None
        if trimming.whole_nodes:
            ctx.propagate(trimming.logged(view, args))
        else:
            ctx.propagate_raw()
        ctx.changed(args[1], b"xtrim", trimmed)
    reply.integer(trimmed)


@command(
    "XDEL",
    arity=-3,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=DELETE,
)
def xdel(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Delete entries of a stream by their ids. O(1) for each."""
    view = StreamView.open(ctx, args[1], write=True)
    deleted = 0 if view is None else view.delete([strict_id(arg) for arg in args[2:]])
    ctx.changed(args[1], b"xdel", deleted)
    reply.integer(deleted)


@command(
    "XSETID",
    arity=-3,
    flags=F.WRITE | F.DENYOOM | F.FAST,
    verbatim=True,
    keys=UPDATE,
)
def xsetid(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set the last id of a stream, and what it counts. O(1)."""
    id = strict_id(args[2])
    added: int | None = None
    max_deleted = LOWEST
    index = 3
    while index < len(args):
        option = word(args[index])
        if index + 1 == len(args):
            raise CommandError(SYNTAX)
        if option == b"ENTRIESADDED":
            added = int64(args[index + 1])
            if added < 0:
                raise CommandError(b"ERR entries_added must be positive")
        elif option == b"MAXDELETEDID":
            max_deleted = strict_id(args[index + 1])
            if id < max_deleted:
                raise CommandError(
                    b"ERR The ID specified in XSETID is smaller than the provided "
                    b"max_deleted_entry_id"
                )
        else:
            raise CommandError(SYNTAX)
        index += 2

    view = StreamView.open(ctx, args[1], write=True)
    if view is None:
        raise CommandError(NO_SUCH_KEY)
    if id < view.max_deleted_id:
        raise CommandError(
            b"ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
        )
    if view.length:
        top = view.top()
        if top is not None and id < top:
            raise CommandError(
                b"ERR The ID specified in XSETID is smaller than the target stream top item"
            )
        if added is not None and view.length > added:
            raise CommandError(
                b"ERR The entries_added specified in XSETID is smaller than the target stream "
                b"length"
            )
    view.set_ids(id, added, None if max_deleted == LOWEST else max_deleted)
    ctx.changed(args[1], b"xsetid")
    reply.ok()


# --- Reading ------------------------------------------------------------------------------------


@command(
    "XLEN",
    arity=2,
    flags=F.READONLY | F.FAST,
    keys=Keys(1, flags="RO"),
)
def xlen(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how many entries a stream has, 0 for a missing key. O(1)."""
    view = StreamView.open(ctx, args[1])
    reply.integer(0 if view is None else view.length)


def range_count(args: list[bytes]) -> int | None:
    """The COUNT of an XRANGE, 0 if it is negative; None without it. Raises CommandError."""
    count: int | None = None
    index = 4
    while index < len(args):
        if word(args[index]) != b"COUNT" or index + 1 == len(args):
            raise CommandError(SYNTAX)
        count = int64(args[index + 1])
        # Redis takes -1 for no count at all, but only where it is the default.
        count = max(count, 0)
        index += 2
    return count


def reply_interval(
    ctx: Context, args: list[bytes], reply: Reply, first: bytes, last: bytes, reverse: bool
) -> None:
    low, high = interval_start(first), interval_end(last)
    count = range_count(args)
    view = StreamView.open(ctx, args[1])
    if view is None:
        reply.array(0)
    elif count == 0:
        reply.null_array()
    else:
        view.reply_range(reply, low, high, count or 0, reverse=reverse)


@command(
    "XRANGE",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def xrange(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the entries of a stream between two ids. O(log(S) + N) for N entries out of S."""
    reply_interval(ctx, args, reply, args[2], args[3], reverse=False)


@command(
    "XREVRANGE",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def xrevrange(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the entries between two ids, the last one first. O(log(S) + N) for N out of S."""
    reply_interval(ctx, args, reply, args[3], args[2], reverse=True)


@dataclass(slots=True)
class Reading:
    """The arguments of XREAD and XREADGROUP."""

    keys: list[bytes]
    ids: list[bytes]
    count: int = 0  # 0: all
    group: bytes | None = None
    consumer: bytes = b""
    acknowledged: bool = False  # NOACK
    keys_at: int = 0  # the place of the first key
    deadline_ms: int | None = None  # BLOCK; 0: none


def timeout_ms(ctx: Context, argument: bytes) -> int:
    """What BLOCK is given. Raises CommandError."""
    timeout = int64(argument, b"ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise CommandError(b"ERR timeout is negative")
    if timeout > INT64_MAX - ctx.now_ms:
        raise CommandError(b"ERR timeout is out of range")
    return timeout + ctx.now_ms if timeout else 0


def wait(ctx: Context, args: list[bytes], reading: Reading, reply: Reply) -> None:
    """Nothing is there: wait for it if that is wanted, or tell.

    While it waits, `$` stands for the last entry that there was at the beginning.
    """
    end = reading.keys_at + len(reading.keys)
    if reading.deadline_ms is not None and ctx.block(
        b"stream",
        reading.keys_at,
        end,
        reading.deadline_ms,
        on_removal=reading.group is not None,
        args=[*args[:end], *reading.ids] if reading.ids != args[end:] else None,
    ):
        return
    reply.null_array()


def parse_reading(ctx: Context, args: list[bytes], grouped: bool) -> Reading:
    found = Reading([], [])
    index = 1
    while index < len(args):
        option, more = word(args[index]), len(args) - 1 - index
        if option == b"BLOCK" and more:
            index += 1
            found.deadline_ms = timeout_ms(ctx, args[index])
        elif option == b"COUNT" and more:
            index += 1
            found.count = max(int64(args[index]), 0)
        elif option == b"STREAMS" and more:
            if more % 2:
                raise CommandError(
                    b"ERR Unbalanced '%s' list of streams: for each stream key an ID or '%s' "
                    b"must be specified." % ((b"xreadgroup", b">") if grouped else (b"xread", b"$"))
                )
            middle = index + 1 + more // 2
            found.keys_at = index + 1
            found.keys, found.ids = args[index + 1 : middle], args[middle:]
            break
        elif option == b"GROUP" and more >= 2:
            if not grouped:
                raise CommandError(ONLY_IN_GROUP % b"GROUP")
            found.group, found.consumer = args[index + 1], args[index + 2]
            index += 2
        elif option == b"NOACK":
            if not grouped:
                raise CommandError(ONLY_IN_GROUP % b"NOACK")
            found.acknowledged = True
        else:
            raise CommandError(SYNTAX)
        index += 1
    if not found.keys:
        raise CommandError(SYNTAX)
    if grouped and found.group is None:
        raise CommandError(b"ERR Missing GROUP option for XREADGROUP")
    return found


def reply_streams(reply: Reply, count: int) -> None:
    """The header of a reply of so many streams; each is a key and entries."""
    if reply.resp == 2:
        reply.array(count)
    else:
        reply.map(count)


def reply_key(reply: Reply, key: bytes) -> None:
    if reply.resp == 2:
        reply.array(2)
    reply.bulk(key)


def look_again(ctx: Context, reading: Reading) -> None:
    """Redis checks all keys before it looks at each once more, and counts both looks."""
    for key in reading.keys:
        ctx.exists(key, touch=True)


@command(
    "XREAD",
    arity=-4,
    flags=F.READONLY | F.BLOCKING,
    keys=Keys(1, -1, keyword="STREAMS", limit=2, flags="RO access"),
)
def xread(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the entries of streams after given ids. O(log(S) + N) for N entries out of S."""
    reading = parse_reading(ctx, args, grouped=False)
    found: list[tuple[bytes, StreamView, StreamId]] = []
    for at, (key, argument) in enumerate(zip(reading.keys, tuple(reading.ids), strict=True)):
        view = StreamView.open(ctx, key)
        if text(argument) == b"$":
            reading.ids[at] = shown(LOWEST if view is None else view.last_id)
            continue  # nothing is after it
        if text(argument) == b">":
            raise CommandError(NEW_WITHOUT_GROUP)
        id = strict_id(argument)
        if view is not None:
            top = view.top()
            if top is not None and top > id:
                found.append((key, view, following(id)))

    look_again(ctx, reading)
    if not found:
        wait(ctx, args, reading, reply)
        return
    reply_streams(reply, len(found))
    for key, view, low in found:
        reply_key(reply, key)
        view.reply_range(reply, low, HIGHEST, reading.count)


# --- Groups -------------------------------------------------------------------------------------


def no_group(key: bytes, group: bytes, where: bytes = b"") -> CommandError:
    return CommandError(
        b"NOGROUP No such key '%s' or consumer group '%s'%s" % (quoted(key), quoted(group), where)
    )


def open_group(
    ctx: Context, key: bytes, group: bytes, where: bytes = b"", *, write: bool = False
) -> StreamView:
    """The stream of a group that exists. Raises CommandError."""
    view = StreamView.open(ctx, key, write=write)
    if view is None or not view.has_group(group):
        raise no_group(key, group, where)
    return view


def see_consumer(ctx: Context, view: StreamView, key: bytes, group: bytes, name: bytes) -> bool:
    """Let a consumer be seen, and created if need be, which is a change of its own.

    As in Redis, its creation isn't logged: whoever replays a claim makes the consumer as well.
    """
    if not view.see_consumer(group, name, ctx.now_ms):
        return False
    ctx.propagate_nothing()
    ctx.changed(key, b"xgroup-createconsumer")
    return True


def log_claim(
    ctx: Context,
    view: StreamView,
    key: bytes,
    group: bytes,
    consumer: bytes,
    id: StreamId,
    delivered_ms: int,
    deliveries: int,
    last: StreamId | None = None,
) -> None:
    """Log who has an entry now as something that may be done twice."""
    if not ctx.logs:
        return  # there is more to write down than was done
    last = view.group_position(group)[0] if last is None else last
    ctx.propagate(
        [
            *(b"XCLAIM", key, group, consumer, b"0", shown(id), b"TIME", b"%d" % delivered_ms),
            *(b"RETRYCOUNT", b"%d" % deliveries, b"FORCE", b"JUSTID", b"LASTID", shown(last)),
        ]
    )


def log_position(ctx: Context, view: StreamView, key: bytes, group: bytes) -> None:
    last, read = view.group_position(group)
    ctx.propagate([b"XGROUP", b"SETID", key, group, shown(last), b"ENTRIESREAD", b"%d" % read])


@command(
    "XREADGROUP",
    arity=-7,
    flags=F.WRITE | F.BLOCKING,
    keys=Keys(4, -1, keyword="STREAMS", limit=2, flags="RO access"),
)
def xreadgroup(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return what a group has not read yet, or what is pending for a consumer of it.

    O(N log(P)) for N entries while P are pending.
    """
    reading = parse_reading(ctx, args, grouped=True)
    group, consumer = reading.group, reading.consumer
    assert group is not None
    asked: list[tuple[bytes, StreamView, StreamId]] = []
    for key, argument in zip(reading.keys, reading.ids, strict=True):
        view = open_group(ctx, key, group, b" in XREADGROUP with GROUP option")
        if text(argument) == b"$":
            raise CommandError(DOLLAR_IN_GROUP)
        id = HIGHEST if text(argument) == b">" else strict_id(argument)
        asked.append((key, view, id))

    look_again(ctx, reading)
    # Of several streams, how many will be in the reply is known only after them.
    body = Reply(reply.resp) if len(asked) > 1 else reply
    served = 0
    for key, view, id in asked:
        history = id != HIGHEST
        top = None if history else view.top()
        serve = history or (top is not None and top > view.group_position(group)[0])
        made = see_consumer(ctx, view, key, group, consumer)
        if made and reading.acknowledged:
            ctx.propagate([b"XGROUP", b"CREATECONSUMER", key, group, consumer])
        if not serve:
            continue
        served += 1
        if body is reply:
            reply_streams(reply, 1)
        reply_key(body, key)
        if history:
            read_history(ctx, view, body, key, reading, following(id))
        else:
            read_new(ctx, view, body, key, reading)
    if not served:
        wait(ctx, args, reading, reply)
    elif body is not reply:
        reply_streams(reply, served)
        reply.raw(body.take())


def read_new(ctx: Context, view: StreamView, reply: Reply, key: bytes, reading: Reading) -> None:
    group, consumer = reading.group, reading.consumer
    assert group is not None
    ids = view.read_new(reply, group, consumer, reading.count, reading.acknowledged, ctx.now_ms)
    if reading.acknowledged:
        log_position(ctx, view, key, group)
    else:
        for id in ids:
            log_claim(ctx, view, key, group, consumer, id, ctx.now_ms, 1, last=id)
    ctx.changed(key, GROUP_STATE)


def read_history(
    ctx: Context, view: StreamView, reply: Reply, key: bytes, reading: Reading, low: StreamId
) -> None:
    group, consumer = reading.group, reading.consumer
    assert group is not None
    view.read_history(reply, group, consumer, low, reading.count, ctx.now_ms)
    ctx.propagate_nothing()  # a replica does not count how often an entry was asked for
    ctx.changed(key, GROUP_STATE)  # as in Redis, even if nothing is pending


@command(
    "XACK",
    arity=-4,
    flags=F.WRITE | F.FAST,
    verbatim=True,
    keys=UPDATE,
)
def xack(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Acknowledge entries: they are pending no longer. O(log(P)) for each while P are pending."""
    view = StreamView.open(ctx, args[1])
    count = 0
    if view is not None and view.has_group(args[2]):
        count = view.acknowledge(args[2], [strict_id(arg) for arg in args[3:]])
        ctx.changed(args[1], GROUP_STATE, count)
    reply.integer(count)


@command(
    "XPENDING",
    arity=-3,
    flags=F.READONLY,
    keys=READ,
    tips=("nondeterministic_output",),
)
def xpending(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return which entries of a group are pending, or a summary. O(log(P) + N) for N out of P."""
    if len(args) != 3 and not 6 <= len(args) <= 9:
        raise CommandError(SYNTAX)
    if len(args) == 3:
        reply_pending_summary(open_group(ctx, args[1], args[2]), args[2], reply)
        return

    idle_ms = 0
    at = 3
    if word(args[3]) == b"IDLE":
        idle_ms = int64(args[4])
        if len(args) < 8:
            raise CommandError(SYNTAX)
        at = 5
    count = max(int64(args[at + 2]), 0)
    low, high = interval_start(args[at]), interval_end(args[at + 1])
    consumer = args[at + 3] if at + 3 < len(args) else None

    group = args[2]
    view = open_group(ctx, args[1], group)
    if count == 0 or (consumer is not None and not view.has_consumer(group, consumer)):
        reply.array(0)
        return
    since = INT64_MAX if idle_ms == 0 else max(min(ctx.now_ms - idle_ms, INT64_MAX), INT64_MIN)
    found = view.pending_range(group, consumer, low, high, count, since)
    reply.array(len(found))
    for id, owner, delivered_ms, deliveries in found:
        reply.array(4)
        reply.bulk(shown(id))
        reply.bulk(owner)
        reply.integer(max(ctx.now_ms - delivered_ms, 0))
        reply.integer(deliveries)


def reply_pending_summary(view: StreamView, group: bytes, reply: Reply) -> None:
    reply.array(4)
    ends = view.pending_ends(group)
    if ends is None:
        reply.integer(0)
        reply.null()
        reply.null()
        reply.null_array()
        return
    count, first, last = ends
    reply.integer(count)
    reply.bulk(shown(first))
    reply.bulk(shown(last))
    owners = [(name, pending) for name, pending, _, _ in view.consumers(group) if pending]
    reply.array(len(owners))
    for name, pending in owners:
        reply.bulks([name, b"%d" % pending])


@dataclass(slots=True)
class Claim:
    """How XCLAIM is to take over entries."""

    delivered_ms: int | None = None  # IDLE and TIME; None: now
    deliveries: int = -1  # RETRYCOUNT; -1: one more than before
    force: bool = False
    only_ids: bool = False  # JUSTID
    last_id: StreamId = LOWEST


def parse_claim(ctx: Context, args: list[bytes], index: int) -> Claim:
    found = Claim()
    while index < len(args):
        option, more = word(args[index]), len(args) - 1 - index
        if option == b"FORCE":
            found.force = True
        elif option == b"JUSTID":
            found.only_ids = True
        elif option in (b"IDLE", b"TIME", b"RETRYCOUNT") and more:
            index += 1
            value = int64(args[index], b"ERR Invalid %s option argument for XCLAIM" % option)
            if option == b"RETRYCOUNT":
                found.deliveries = value
            else:
                found.delivered_ms = ctx.now_ms - value if option == b"IDLE" else value
        elif option == b"LASTID" and more:
            index += 1
            found.last_id = strict_id(args[index])
        else:
            raise CommandError(b"ERR Unrecognized XCLAIM option '%s'" % quoted(args[index]))
        index += 1
    if found.delivered_ms is not None and not 0 <= found.delivered_ms <= ctx.now_ms:
        found.delivered_ms = None
    return found


@command(
    "XCLAIM",
    arity=-6,
    flags=F.WRITE | F.FAST,
    keys=UPDATE,
    tips=("nondeterministic_output",),
)
def xclaim(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take pending entries over from other consumers. O(log(P)) for each while P are pending."""
    key, group, consumer = args[1:4]
    view = open_group(ctx, key, group)
    idle_ms = int64(args[4], b"ERR Invalid min-idle-time argument for XCLAIM")
    ids: list[StreamId] = []
    for arg in args[5:]:
        id = read_id(arg)
        if id is None:
            break
        ids.append(id)
    claim = parse_claim(ctx, args, 5 + len(ids))

    last, read = view.group_position(group)
    moved = claim.last_id > last
    if moved:
        view.set_group(group, claim.last_id, read)
    see_consumer(ctx, view, key, group, consumer)
    body = Reply(reply.resp)
    claimed = changed = 0
    for id in ids:
        pending = view.pending_at(group, id)
        if not view.has(id):
            if pending is not None:
                log_claim(ctx, view, key, group, pending[0], id, pending[1], pending[2])
                view.acknowledge(group, [id])
                moved = False  # the log has it from the claim
                changed += 1
            continue
        if pending is None and not claim.force:
            continue
        if pending is not None and ctx.now_ms - pending[1] < idle_ms and idle_ms > 0:
            continue
        deliveries = claim.deliveries
        if deliveries < 0:
            # An entry that nobody had counts as delivered once.
            deliveries = (1 if pending is None else pending[2]) + (not claim.only_ids)
        take(ctx, view, body, key, group, consumer, id, claim, deliveries)
        claimed += 1
        moved = False  # the log has it from the claim
    if moved:
        log_position(ctx, view, key, group)
        changed += 1
    ctx.changed(key, GROUP_STATE, claimed + changed)
    reply.array(claimed)
    reply.raw(body.take())


def take(
    ctx: Context,
    view: StreamView,
    reply: Reply,
    key: bytes,
    group: bytes,
    consumer: bytes,
    id: StreamId,
    claim: Claim,
    deliveries: int,
) -> None:
    """Give an entry that exists to a consumer, log and reply it."""
    delivered_ms = ctx.now_ms if claim.delivered_ms is None else claim.delivered_ms
    view.claim(group, consumer, id, delivered_ms, deliveries, ctx.now_ms)
    if claim.only_ids:
        reply.bulk(shown(id))
    else:
        view.reply_one(reply, id, id)
    log_claim(ctx, view, key, group, consumer, id, delivered_ms, deliveries)


def autoclaim_options(args: list[bytes]) -> tuple[int, StreamId, int, Claim]:
    """How long an entry must be idle, where to begin, how many to take, what is done to them."""
    idle_ms = int64(args[4], b"ERR Invalid min-idle-time argument for XAUTOCLAIM")
    start = interval_start(args[5])
    count = CLAIM_COUNT
    claim = Claim()
    index = 6
    while index < len(args):
        option = word(args[index])
        if option == b"COUNT" and index + 1 < len(args):
            index += 1
            count = int64(args[index], b"ERR COUNT must be > 0")
            if not 1 <= count <= CLAIM_COUNT_MAX:
                raise CommandError(b"ERR COUNT must be > 0")
        elif option == b"JUSTID":
            claim.only_ids = True
        else:
            raise CommandError(SYNTAX)
        index += 1
    return idle_ms, start, count, claim


@command(
    "XAUTOCLAIM",
    arity=-6,
    flags=F.WRITE | F.FAST,
    keys=DELETE,
    tips=("nondeterministic_output",),
)
def xautoclaim(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Take over what is pending too long, from an id on. O(C log(P)) for a COUNT of C."""
    key, group, consumer = args[1:4]
    try:
        idle_ms, start, count, claim = autoclaim_options(args)
    except CommandError:
        ctx.exists(key, touch=True)  # Redis looks at the key first, and counts that
        raise
    view = open_group(ctx, key, group)

    see_consumer(ctx, view, key, group, consumer)
    body = Reply(reply.resp)
    deleted: list[bytes] = []
    claimed = 0
    rounds = count * ROUNDS_WITHOUT_CLAIM
    id = view.next_pending(group, start)
    while id is not None and rounds and claimed + len(deleted) < count:
        rounds -= 1
        pending = view.pending_at(group, id)
        assert pending is not None
        if not view.has(id):
            log_claim(ctx, view, key, group, pending[0], id, pending[1], pending[2])
            view.acknowledge(group, [id])
            deleted.append(shown(id))
        elif idle_ms <= 0 or ctx.now_ms - pending[1] >= idle_ms:
            deliveries = pending[2] + (not claim.only_ids)
            take(ctx, view, body, key, group, consumer, id, claim, deliveries)
            claimed += 1
        id = None if id == HIGHEST else view.next_pending(group, following(id))
    ctx.changed(key, GROUP_STATE, claimed + len(deleted))
    reply.array(3)
    reply.bulk(shown(LOWEST if id is None else id))
    reply.array(claimed)
    reply.raw(body.take())
    reply.bulks(deleted)


# --- XGROUP -------------------------------------------------------------------------------------

GROUP_HELP = (
    b"CREATE <key> <groupname> <id|$> [option]",
    b"    Make a group that reads a stream from behind an id on. Options are:",
    b"    * MKSTREAM",
    b"      Make an empty stream if there is no such key.",
    b"    * ENTRIESREAD entries_read",
    b"      How many entries the group counts as read (for internal use).",
    b"CREATECONSUMER <key> <groupname> <consumer>",
    b"    Make a consumer of a group.",
    b"DELCONSUMER <key> <groupname> <consumer>",
    b"    Remove a consumer with all that is pending for it.",
    b"DESTROY <key> <groupname>",
    b"    Remove a group.",
    b"SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    b"    Set the last id that a group has read, and its count of entries read.",
)


def subcommand_syntax(args: list[bytes]) -> CommandError:
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%s'. Try %s HELP."
        % (quoted(args[1], 128), text(args[0]).upper())
    )


def group_options(args: list[bytes], creating: bool) -> tuple[bool, int]:
    """MKSTREAM and ENTRIESREAD of CREATE and SETID. Raises CommandError."""
    make, read = False, READ_UNKNOWN
    index = 5
    while index < len(args):
        option = word(args[index])
        if creating and option == b"MKSTREAM":
            make = True
        elif option == b"ENTRIESREAD" and index + 1 < len(args):
            index += 1
            read = int64(args[index])
            if read < 0 and read != READ_UNKNOWN:
                raise CommandError(b"ERR value for ENTRIESREAD must be positive or -1")
        else:
            raise subcommand_syntax(args)
        index += 1
    return make, read


def stream_of_group(ctx: Context, args: list[bytes], *, must_exist: bool = True) -> StreamView:
    """The stream that an XGROUP subcommand is about, with its group. Raises CommandError."""
    view = StreamView.open(ctx, args[2], write=True)
    if view is None:
        raise CommandError(NO_KEY_FOR_GROUP)
    if must_exist and not view.has_group(args[3]):
        raise CommandError(
            b"NOGROUP No such consumer group '%s' for key name '%s'"
            % (quoted(args[3]), quoted(args[2]))
        )
    return view


@command("XGROUP", arity=-2)
def xgroup(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Manage the groups of a stream."""
    raise unknown_subcommand(args)


@command(
    "XGROUP|HELP",
    arity=2,
    flags=F.LOADING | F.STALE,
)
def xgroup_help(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Describe the subcommands of XGROUP. O(1)."""
    help_reply(reply, b"XGROUP", GROUP_HELP)


@command(
    "XGROUP|CREATE",
    arity=-5,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=Keys(2, flags="RW insert"),
)
def xgroup_create(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Create a consumer group. O(1)."""
    make, read = group_options(args, creating=True)
    key, name = args[2], args[3]
    view = StreamView.open(ctx, key, write=True)
    if view is None and not make:
        raise CommandError(NO_KEY_FOR_GROUP)
    if len(args) > 8:
        raise subcommand_syntax(args)
    last = LOWEST if view is None else view.last_id
    id = last if text(args[4]) == b"$" else strict_id(args[4])
    if view is None:
        view = StreamView.open(ctx, key, create=True)
        assert view is not None
    elif view.has_group(name):
        raise CommandError(BUSY_GROUP)
    view.add_group(name, id, read)
    ctx.changed(key, b"xgroup-create")
    reply.ok()


@command(
    "XGROUP|SETID",
    arity=-5,
    flags=F.WRITE,
    verbatim=True,
    keys=Keys(2, flags="RW update"),
)
def xgroup_setid(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Set the last id that a group has read. O(1)."""
    _, read = group_options(args, creating=False)
    view = stream_of_group(ctx, args)
    if len(args) not in (5, 7):
        raise subcommand_syntax(args)
    id = view.last_id if text(args[4]) == b"$" else any_id(args[4])
    view.set_group(args[3], id, read)
    ctx.changed(args[2], b"xgroup-setid")
    reply.ok()


@command(
    "XGROUP|DESTROY",
    arity=4,
    flags=F.WRITE,
    verbatim=True,
    keys=Keys(2, flags="RW delete"),
)
def xgroup_destroy(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove a group. O(N) for its N pending entries."""
    removed = stream_of_group(ctx, args, must_exist=False).remove_group(args[3])
    ctx.changed(args[2], b"xgroup-destroy", int(removed))
    reply.integer(int(removed))


@command(
    "XGROUP|CREATECONSUMER",
    arity=5,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=Keys(2, flags="RW insert"),
)
def xgroup_createconsumer(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Create a consumer of a group. O(1)."""
    created = stream_of_group(ctx, args).add_consumer(args[3], args[4], ctx.now_ms)
    ctx.changed(args[2], b"xgroup-createconsumer", int(created))
    reply.integer(int(created))


@command(
    "XGROUP|DELCONSUMER",
    arity=5,
    flags=F.WRITE,
    verbatim=True,
    keys=Keys(2, flags="RW delete"),
)
def xgroup_delconsumer(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Remove a consumer with all that is pending for it. O(N) for N pending entries."""
    pending = stream_of_group(ctx, args).remove_consumer(args[3], args[4])
    if pending is not None:
        ctx.changed(args[2], b"xgroup-delconsumer")
    reply.integer(pending or 0)


# --- XINFO --------------------------------------------------------------------------------------

INFO_HELP = (
    b"CONSUMERS <key> <groupname>",
    b"    List the consumers of a group.",
    b"GROUPS <key>",
    b"    List the groups of a stream.",
    b"STREAM <key> [FULL [COUNT <count>]",
    b"    Describe a stream.",
)


@command("XINFO", arity=-2)
def xinfo(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Look into a stream and its groups."""
    raise unknown_subcommand(args)


@command(
    "XINFO|HELP",
    arity=2,
    flags=F.LOADING | F.STALE,
)
def xinfo_help(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Describe the subcommands of XINFO. O(1)."""
    help_reply(reply, b"XINFO", INFO_HELP)


def existing(ctx: Context, key: bytes) -> StreamView:
    view = StreamView.open(ctx, key)
    if view is None:
        raise CommandError(NO_SUCH_KEY)
    return view


def integer_or_null(reply: Reply, value: int | None) -> None:
    if value is None:
        reply.null()
    else:
        reply.integer(value)


@command(
    "XINFO|CONSUMERS",
    arity=4,
    flags=F.READONLY,
    keys=Keys(2, flags="RO access"),
    tips=("nondeterministic_output",),
)
def xinfo_consumers(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """List the consumers of a group. O(N) for N consumers."""
    view = existing(ctx, args[2])
    if not view.has_group(args[3]):
        raise CommandError(
            b"NOGROUP No such consumer group '%s' for key name '%s'"
            % (quoted(args[3]), quoted(args[2]))
        )
    consumers = view.consumers(args[3])
    reply.array(len(consumers))
    for name, pending, seen_ms, active_ms in consumers:
        reply.map(4)
        reply.bulk(b"name")
        reply.bulk(name)
        reply.bulk(b"pending")
        reply.integer(pending)
        reply.bulk(b"idle")
        reply.integer(max(ctx.now_ms - seen_ms, 0))
        reply.bulk(b"inactive")
        reply.integer(-1 if active_ms == -1 else ctx.now_ms - active_ms)


@command(
    "XINFO|GROUPS",
    arity=3,
    flags=F.READONLY,
    keys=Keys(2, flags="RO access"),
)
def xinfo_groups(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """List the groups of a stream. O(N) for N groups."""
    groups = existing(ctx, args[2]).groups()
    reply.array(len(groups))
    for name, consumers, pending, last, read, lag in groups:
        reply.map(6)
        reply.bulk(b"name")
        reply.bulk(name)
        reply.bulk(b"consumers")
        reply.integer(consumers)
        reply.bulk(b"pending")
        reply.integer(pending)
        reply.bulk(b"last-delivered-id")
        reply.bulk(shown(last))
        reply.bulk(b"entries-read")
        integer_or_null(reply, read)
        reply.bulk(b"lag")
        integer_or_null(reply, lag)


@command(
    "XINFO|STREAM",
    arity=-3,
    flags=F.READONLY,
    keys=Keys(2, flags="RO access"),
)
def xinfo_stream(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Describe a stream. O(1), and in full O(N) for what is returned."""
    view = existing(ctx, args[2])
    full = len(args) > 3
    count = INFO_ENTRIES
    if full:
        if len(args) not in (4, 6) or word(args[3]) != b"FULL":
            raise subcommand_syntax(args)
        if len(args) == 6:
            if word(args[4]) != b"COUNT":
                raise subcommand_syntax(args)
            count = int64(args[5])
            if count < 0:
                count = INFO_ENTRIES

    reply.map(9 if full else 10)
    reply.bulk(b"length")
    reply.integer(view.length)
    reply.bulk(b"radix-tree-keys")
    reply.integer(view.nodes)
    reply.bulk(b"radix-tree-nodes")
    reply.integer(view.tree_nodes)
    reply.bulk(b"last-generated-id")
    reply.bulk(shown(view.last_id))
    reply.bulk(b"max-deleted-entry-id")
    reply.bulk(shown(view.max_deleted_id))
    reply.bulk(b"entries-added")
    reply.integer(signed(view.entries_added))
    reply.bulk(b"recorded-first-entry-id")
    reply.bulk(shown(view.first_id))
    if full:
        reply.bulk(b"entries")
        view.reply_range(reply, LOWEST, HIGHEST, count)
        reply.bulk(b"groups")
        groups = view.groups()
        reply.array(len(groups))
        for group in groups:
            reply_full_group(view, reply, group, count)
        return
    reply.bulk(b"groups")
    reply.integer(view.group_count)
    for title, reverse in ((b"first-entry", False), (b"last-entry", True)):
        reply.bulk(title)
        if not view.reply_one(reply, reverse=reverse):
            reply.null()


def signed(value: int) -> int:
    """A counter of 64 bits as an integer reply shows it."""
    return value - (1 << 64) if value > INT64_MAX else value


def reply_full_group(
    view: StreamView,
    reply: Reply,
    group: tuple[bytes, int, int, StreamId, int | None, int | None],
    count: int,
) -> None:
    name, _, pending, last, read, lag = group
    reply.map(7)
    reply.bulk(b"name")
    reply.bulk(name)
    reply.bulk(b"last-delivered-id")
    reply.bulk(shown(last))
    reply.bulk(b"entries-read")
    integer_or_null(reply, read)
    reply.bulk(b"lag")
    integer_or_null(reply, lag)
    reply.bulk(b"pel-count")
    reply.integer(pending)
    reply.bulk(b"pending")
    found = view.pending_range(name, count=count)
    reply.array(len(found))
    for id, owner, delivered_ms, deliveries in found:
        reply.array(4)
        reply.bulk(shown(id))
        reply.bulk(owner)
        reply.integer(delivered_ms)
        reply.integer(signed(deliveries))
    reply.bulk(b"consumers")
    consumers = view.consumers(name)
    reply.array(len(consumers))
    for consumer, pending, seen_ms, active_ms in consumers:
        reply.map(5)
        reply.bulk(b"name")
        reply.bulk(consumer)
        reply.bulk(b"seen-time")
        reply.integer(seen_ms)
        reply.bulk(b"active-time")
        reply.integer(active_ms)
        reply.bulk(b"pel-count")
        reply.integer(pending)
        reply.bulk(b"pending")
        found = view.pending_range(name, consumer, count=count)
        reply.array(len(found))
        for id, _, delivered_ms, deliveries in found:
            reply.array(3)
            reply.bulk(shown(id))
            reply.integer(delivered_ms)
            reply.integer(signed(deliveries))
