"""The geo family: positions as sorted sets, the score of a member being its geohash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.commands import F, Keys, command
from protocol.errors import SYNTAX, CommandError
from shards.arguments.options import int64, quoted, word
from shards.arguments.ranges import Range
from shards.commands.zset import add as add_scores
from shards.commands.zset import in_order, score_of, store
from shards.kernels.geohash import Shape, coordinate, decode, distance, encode, text
from shards.views.zset import ZsetView

if TYPE_CHECKING:
    from protocol.reply import Reply
    from shards.lane.context import Context

Position = tuple[float, float]  # longitude, latitude

UNITS = {b"M": 1.0, b"KM": 1000.0, b"FT": 0.3048, b"MI": 1609.34}  # in metres
LONGITUDE_MAX = 180.0
LATITUDE_MAX = 85.05112878
DISTANCE_SCALE = 10_000  # distances have four decimals

UNIT = b"ERR unsupported unit provided. please use M, KM, FT, MI"
RADIUS = b"ERR need numeric radius"
RADIUS_NEGATIVE = b"ERR radius cannot be negative"
WIDTH = b"ERR need numeric width"
HEIGHT = b"ERR need numeric height"
BOX_NEGATIVE = b"ERR height or width cannot be negative"
NO_MEMBER = b"ERR could not decode requested zset member"
COUNT = b"ERR COUNT must be > 0"
ANY = b"ERR the ANY argument requires COUNT argument"
STORE_SHOWS = b"ERR %s is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
ONE_CENTRE = b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %s"
ONE_SHAPE = b"ERR exactly one of BYRADIUS and BYBOX can be specified for %s"

READ = Keys(1, flags="RO access")


def position_of(longitude: bytes, latitude: bytes) -> Position:
    """A position that can be stored. Raises CommandError."""
    x, y = score_of(longitude), score_of(latitude)
    if abs(x) > LONGITUDE_MAX or abs(y) > LATITUDE_MAX:
        raise CommandError(b"ERR invalid longitude,latitude pair %f,%f" % (x, y))
    return x, y


def unit_of(argument: bytes) -> float:
    unit = UNITS.get(word(argument))
    if unit is None:
        raise CommandError(UNIT)
    return unit


def position_in(view: ZsetView, member: bytes) -> Position | None:
    score = view.score(member)
    return None if score is None else decode(score)


def reply_distance(reply: Reply, value: float) -> None:
    whole, part = divmod(round(value * DISTANCE_SCALE), DISTANCE_SCALE)
    reply.bulk(b"%d.%04d" % (whole, part))


def reply_position(reply: Reply, position: Position) -> None:
    reply.array(2)
    for value in position:
        if reply.resp == 2:
            reply.bulk(coordinate(value))
        else:
            reply.raw(b",%s\r\n" % coordinate(value))


@command(
    "GEOADD",
    arity=-5,
    flags=F.WRITE | F.DENYOOM,
    keys=Keys(1, flags="RW update"),
)
def geoadd(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Add members at positions, or move them. O(log n) for each."""
    at = 2
    options = set()
    while at < len(args) and word(args[at]) in (b"NX", b"XX", b"CH"):
        options.add(word(args[at]))
        at += 1
    if (len(args) - at) % 3 or at == len(args) or options >= {b"NX", b"XX"}:
        raise CommandError(SYNTAX)
    rewritten = [b"zadd", *args[1:at]]
    for index in range(at, len(args), 3):
        position = position_of(args[index], args[index + 1])
        rewritten += [b"%d" % encode(*position), args[index + 2]]
    add_scores(ctx, rewritten, reply, increment=False, rewritten=True)


@command(
    "GEOPOS",
    arity=-2,
    flags=F.READONLY,
    keys=READ,
)
def geopos(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the positions of members. O(1) for each."""
    view = ZsetView.open(ctx, args[1])
    reply.array(len(args) - 2)
    for member in args[2:]:
        position = position_in(view, member)
        if position is None:
            reply.null_array()
        else:
            reply_position(reply, position)


@command(
    "GEOHASH",
    arity=-2,
    flags=F.READONLY,
    keys=READ,
)
def geohash(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the positions of members as geohashes of the usual kind. O(1) for each."""
    view = ZsetView.open(ctx, args[1])
    reply.array(len(args) - 2)
    for member in args[2:]:
        position = position_in(view, member)
        reply.bulk_or_null(None if position is None else text(*position))


@command(
    "GEODIST",
    arity=-4,
    flags=F.READONLY,
    keys=READ,
)
def geodist(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return how far apart two members are. O(1)."""
    unit = unit_of(args[4]) if len(args) == 5 else 1.0
    if len(args) > 5:
        raise CommandError(SYNTAX)
    view = ZsetView.open(ctx, args[1])
    first, second = position_in(view, args[2]), position_in(view, args[3])
    if first is None or second is None:
        reply.null()
    else:
        reply_distance(reply, distance(*first, *second) / unit)


# Searches


class Search:
    """The arguments of GEOSEARCH and GEORADIUS, in all their forms.

    The key is opened first, and options are read from left to right: each mistake has its turn.
    """

    __slots__ = (
        "any",
        "center",
        "count",
        "height",
        "is_box",
        "shape_given",
        "shows",
        "sort",
        "store_distance",
        "target",
        "unit",
        "view",
        "width",
    )

    def __init__(self, ctx: Context, args: list[bytes], at: int) -> None:
        """`at` is where the key stands."""
        self.view = ZsetView.open(ctx, args[at])
        self.center: Position | None = None
        self.shape_given = False
        self.width = self.height = 0.0
        self.unit = 1.0
        self.is_box = False
        self.shows: set[bytes] = set()
        self.sort = b""
        self.any = False
        self.count = 0
        self.target: bytes | None = None
        self.store_distance = False

    def circle(self, radius: bytes, unit: bytes) -> None:
        self.width = score_of(radius, RADIUS)
        if self.width < 0:
            raise CommandError(RADIUS_NEGATIVE)
        self.unit = unit_of(unit)
        self.is_box = False
        self.shape_given = True

    def box(self, width: bytes, height: bytes, unit: bytes) -> None:
        self.width, self.height = score_of(width, WIDTH), score_of(height, HEIGHT)
        if self.width < 0 or self.height < 0:
            raise CommandError(BOX_NEGATIVE)
        self.unit = unit_of(unit)
        self.is_box = True
        self.shape_given = True

    def around(self, member: bytes) -> None:
        """Search around a member. Without the key, anywhere: nothing will be found."""
        self.center = position_in(self.view, member)
        if self.center is None:
            if len(self.view):
                raise CommandError(NO_MEMBER)
            self.center = 0.0, 0.0

    def options(self, args: list[bytes], at: int, searches: bool, stores: bool) -> None:
        """args[at:]. searches: of GEOSEARCH, else of GEORADIUS; stores: the command may store."""
        from_member = from_position = False
        end = len(args)
        while at < end:
            option, left = word(args[at]), end - at - 1
            if option in (b"WITHDIST", b"WITHHASH", b"WITHCOORD"):
                self.shows.add(option)
            elif option == b"ANY":
                self.any = True
            elif option in (b"ASC", b"DESC"):
                self.sort = option
            elif option == b"COUNT" and left:
                at += 1
                self.count = int64(args[at])
                if self.count <= 0:
                    raise CommandError(COUNT)
            elif option in (b"STORE", b"STOREDIST") and left and stores and not searches:
                at += 1
                self.target = args[at]
                self.store_distance = option == b"STOREDIST"
            elif option == b"STOREDIST" and stores and searches:
                self.store_distance = True
            elif option == b"FROMMEMBER" and left and searches and not from_position:
                at += 1
                self.around(args[at])
                from_member = True
            elif option == b"FROMLONLAT" and left > 1 and searches and not from_member:
                self.center = position_of(args[at + 1], args[at + 2])
                from_position = True
                at += 2
            elif option == b"BYRADIUS" and left > 1 and searches and not self.is_box:
                self.circle(args[at + 1], args[at + 2])
                at += 2
            elif (
                option == b"BYBOX"
                and left > 2
                and searches
                and (self.is_box or not self.shape_given)
            ):
                self.box(args[at + 1], args[at + 2], args[at + 3])
                at += 3
            else:
                raise CommandError(SYNTAX)
            at += 1
        if self.target is not None and self.shows:
            name = b"GEOSEARCHSTORE" if searches else b"STORE option in GEORADIUS"
            raise CommandError(STORE_SHOWS % name)
        if searches and self.center is None:
            raise CommandError(ONE_CENTRE % quoted(args[0]))
        if searches and not self.shape_given:
            raise CommandError(ONE_SHAPE % quoted(args[0]))
        if self.any and not self.count:
            raise CommandError(ANY)

    def found(self) -> list[tuple[bytes, float, tuple[float, float, float]]]:
        """Members, scores, and how far and where they are: sorted and cut as the options say.

        O(n log n) for n members around.
        """
        assert self.center is not None
        shape = Shape(*self.center, self.width, self.height, self.unit, self.is_box)
        enough = self.count if self.any else 0
        found = []
        for first, last in shape.areas():
            for member, score in self.view.between(Range.between(first, last, max_exclusive=True)):
                where = shape.within(score)
                if where is not None:
                    found.append((member, score, where))
                    if len(found) == enough:
                        break
            if found and len(found) == enough:
                break
        # To show the nearest of them, they must be sorted.
        if self.sort or (self.count and not self.any):
            found.sort(key=lambda one: one[2][0], reverse=self.sort == b"DESC")
        return found[: self.count] if self.count else found

    def answer(self, ctx: Context, reply: Reply, event: bytes) -> None:
        found = self.found() if len(self.view) else []
        if self.target is not None:
            items = [
                (member, where[0] / self.unit if self.store_distance else score)
                for member, score, where in found
            ]
            store(ctx, self.target, in_order(items), event, reply, len(items))
            return
        reply.array(len(found))
        for member, score, (apart, longitude, latitude) in found:
            if self.shows:
                reply.array(1 + len(self.shows))
            reply.bulk(member)
            if b"WITHDIST" in self.shows:
                reply_distance(reply, apart / self.unit)
            if b"WITHHASH" in self.shows:
                reply.integer(int(score))
            if b"WITHCOORD" in self.shows:
                reply_position(reply, (longitude, latitude))


def search_radius(ctx: Context, args: list[bytes], reply: Reply, stores: bool) -> None:
    search = Search(ctx, args, 1)
    search.center = position_of(args[2], args[3])
    search.circle(args[4], args[5])
    search.options(args, 6, searches=False, stores=stores)
    search.answer(ctx, reply, b"georadiusstore")


def search_around(ctx: Context, args: list[bytes], reply: Reply, stores: bool) -> None:
    search = Search(ctx, args, 1)
    if len(search.view):
        search.around(args[2])
        search.circle(args[3], args[4])
    search.options(args, 5, searches=False, stores=stores)
    search.answer(ctx, reply, b"georadiusstore")


@command(
    "GEOSEARCH",
    arity=-7,
    flags=F.READONLY,
    keys=READ,
)
def geosearch(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members within a circle or a box. O(n + log m), n being those around it."""
    search = Search(ctx, args, 1)
    search.options(args, 2, searches=True, stores=False)
    search.answer(ctx, reply, b"")


@command(
    "GEOSEARCHSTORE",
    arity=-8,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=(Keys(1, flags="OW update"), Keys(2, flags="RO access")),
)
def geosearchstore(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Store the members within a circle or a box. O(n log n + log m)."""
    search = Search(ctx, args, 2)
    search.target = args[1]
    search.options(args, 3, searches=True, stores=True)
    search.answer(ctx, reply, b"geosearchstore")


def stored_at(index: int) -> tuple[Keys, ...]:
    """The keys of a GEORADIUS whose options begin at an index."""
    return (
        READ,
        Keys(index, keyword="STORE", flags="OW update"),
        Keys(index, keyword="STOREDIST", flags="OW update"),
    )


@command(
    "GEORADIUS",
    arity=-6,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=stored_at(6),
)
def georadius(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return or store the members around a position. O(n + log m)."""
    search_radius(ctx, args, reply, stores=True)


@command(
    "GEORADIUS_RO",
    arity=-6,
    flags=F.READONLY,
    keys=READ,
)
def georadius_ro(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members around a position. O(n + log m)."""
    search_radius(ctx, args, reply, stores=False)


@command(
    "GEORADIUSBYMEMBER",
    arity=-5,
    flags=F.WRITE | F.DENYOOM,
    verbatim=True,
    keys=stored_at(5),
)
def georadiusbymember(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return or store the members around a member. O(n + log m)."""
    search_around(ctx, args, reply, stores=True)


@command(
    "GEORADIUSBYMEMBER_RO",
    arity=-5,
    flags=F.READONLY,
    keys=READ,
)
def georadiusbymember_ro(ctx: Context, args: list[bytes], reply: Reply) -> None:
    """Return the members around a member. O(n + log m)."""
    search_around(ctx, args, reply, stores=False)
