"""The geo family in the native lane, but for STORE; as string_native.pyx, errors are DECLINED.

They do what their Python handlers in geo.py do. A search makes no object of the members that it
looks at: those inside are noted with a pointer to where they lie in the sorted set, which nothing
changes before the reply is written, or the set to be stored is whole.
"""

from libc.math cimport fabs
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memset

from protocol.buffer cimport Buffer, buffer_append, buffer_reserve
from protocol.native cimport compare_bytes, likely, out_of_memory, unlikely
from protocol.numbers cimport format_int64, parse_double, parse_int64
from protocol.reply cimport (
    reply_bulk, reply_error, reply_header, reply_integer, reply_null, reply_null_array,
)
from shards.commands.common_native cimport is_word, reply_wrong_type
from shards.lane.events cimport EVENT_DEL, EVENT_GEOSEARCHSTORE, EVENT_ZADD
from shards.lane.handler cimport (
    NATIVE_DECLINED, NATIVE_DONE, Arg, Argv, NativeLane, Shard, key_at, shard_changed,
    shard_log, shard_log_arg, shard_log_number, shard_logs,
)
from shards.kernels.geohash cimport (
    COORDINATE_BYTES_MAX, GEOHASH_BYTES, RANGES_MAX, Area, ScoreRange, Spot, area_holds,
    area_ranges, format_coordinate, metres, position, position_score, write_geohash,
)
from shards.keyspace.keyspace cimport Entry, Key, store_clear
from shards.types.scoretree cimport BY_SCORE, ZsetRange
from shards.types.zset cimport (
    ADD_INSERTED, ADD_NX, ADD_UPDATED, ADD_XX, Added, SortedCursor, SortedItem, SortedSet,
    sorted_add, sorted_append, sorted_expect, sorted_find, sorted_goes_on, sorted_item,
    sorted_seek_range, sorted_step,
)
from shards.views.zset cimport sorted_fresh, sorted_keep, sorted_open

from shards.commands.geo import NO_MEMBER

cdef extern from "<math.h>" nogil:
    long long llrint(double)

cdef enum:
    SCORES_KEPT = 16                # of a GEOADD, read once; more are read twice
    FOUND_KEPT = 32                 # on the stack
    DISTANCE_SCALE = 10000          # distances have four decimals
    DISTANCE_DECIMALS = 4

cdef double LONGITUDE_MAX = 180.0
cdef double LATITUDE_MAX = 85.05112878
cdef bytes _no_member = NO_MEMBER
cdef const char *no_member = _no_member
cdef size_t no_member_length = len(_no_member)

cdef enum Sort:
    SORT_NONE = 0
    SORT_ASC = 1
    SORT_DESC = 2

cdef struct Search:
    Area area
    const Arg *member           # the centre is its position; NULL: `area` has one
    bint has_centre
    bint has_shape
    bint with_distance
    bint with_hash
    bint with_position
    bint store_distance
    bint any_                   # as soon as there are enough of them
    int64_t count               # 0: all
    Sort sort

cdef struct Place:              # one that was found
    const char *member          # NULL: a short one, in `text`
    size_t length
    char text[24]
    double score
    Spot spot
    uint64_t number             # in which order they were found

cdef struct Places:
    Place *items                # `kept`, or owned
    uint64_t count
    uint64_t size
    Place kept[FOUND_KEPT]


# Arguments

cdef inline bint number_from(const Arg *arg, double *number) noexcept nogil:
    return parse_double(arg.data, arg.length, number)


cdef bint position_from(const Arg *args, double *longitude, double *latitude) noexcept nogil:
    return (number_from(&args[0], longitude) and number_from(&args[1], latitude)
            and fabs(longitude[0]) <= LONGITUDE_MAX and fabs(latitude[0]) <= LATITUDE_MAX)


cdef bint unit_from(const Arg *arg, double *unit) noexcept nogil:
    if is_word(arg, b"km", 2):
        unit[0] = 1000.0
    elif is_word(arg, b"m", 1):
        unit[0] = 1.0
    elif is_word(arg, b"mi", 2):
        unit[0] = 1609.34
    elif is_word(arg, b"ft", 2):
        unit[0] = 0.3048
    else:
        return False
    return True


# Replies

cdef void reply_distance(Buffer *out, double value) noexcept nogil:
    cdef char text[32]
    cdef int64_t scaled = llrint(value * DISTANCE_SCALE)
    cdef uint64_t magnitude = 0 - <uint64_t>scaled if scaled < 0 else <uint64_t>scaled
    cdef uint64_t part = magnitude % DISTANCE_SCALE
    cdef int n = scaled < 0
    cdef int i
    text[0] = c"-"
    n += format_int64(text + n, <int64_t>(magnitude // DISTANCE_SCALE))
    text[n] = c"."
    for i in range(DISTANCE_DECIMALS, 0, -1):
        text[n + i] = <char>(c"0" + part % 10)
        part //= 10
    reply_bulk(out, text, <size_t>(n + 1 + DISTANCE_DECIMALS))


cdef void reply_coordinate(Buffer *out, int resp, double value) noexcept nogil:
    cdef char text[COORDINATE_BYTES_MAX]
    cdef int n = format_coordinate(text, value)
    cdef char *at
    if resp == 2:
        reply_bulk(out, text, <size_t>n)
        return
    at = buffer_reserve(out, COORDINATE_BYTES_MAX + 3)
    at[0] = c","
    memcpy(at + 1, text, n)
    at[n + 1] = c"\r"
    at[n + 2] = c"\n"
    out.used += <size_t>n + 3


cdef void reply_position(Buffer *out, int resp, double longitude, double latitude) noexcept nogil:
    buffer_append(out, b"*2\r\n", 4)
    reply_coordinate(out, resp, longitude)
    reply_coordinate(out, resp, latitude)


# Members

cdef void log_positions(Shard *shard, const Argv *argv, uint32_t at) noexcept nogil:
    """Log a GEOADD, whose positions begin at `at`, as the ZADD that it is."""
    cdef double longitude, latitude
    cdef uint32_t i
    shard_log(shard, at + (argv.argc - at) // 3 * 2, b"zadd", 4)
    for i in range(1, at):
        shard_log_arg(shard, &argv.args[i])
    for i in range(at, argv.argc, 3):
        position_from(&argv.args[i], &longitude, &latitude)
        shard_log_number(shard, <int64_t>position_score(longitude, latitude))
        shard_log_arg(shard, &argv.args[i + 2])


cdef int geoadd(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef double scores[SCORES_KEPT]
    cdef double longitude, latitude, result
    cdef double score = 0
    cdef int flags = 0
    cdef bint show_changed = False
    cdef bint right
    cdef uint32_t at = 2
    cdef uint32_t count, i
    cdef uint64_t inserted = 0, updated = 0
    cdef const Arg *option
    cdef const Arg *args
    cdef SortedSet set
    cdef Entry *entry
    cdef Added outcome
    while at < argv.argc:
        option = &argv.args[at]
        # An option begins with a letter, and numbers hardly ever do.
        if likely(option.length == 0 or option.data[0] <= c"9"):
            break
        if is_word(option, b"nx", 2):
            flags |= ADD_NX
        elif is_word(option, b"xx", 2):
            flags |= ADD_XX
        elif is_word(option, b"ch", 2):
            show_changed = True
        else:
            return NATIVE_DECLINED
        at += 1
    if at == argv.argc or (argv.argc - at) % 3 or flags == (ADD_NX | ADD_XX):
        return NATIVE_DECLINED
    args = argv.args + at
    count = (argv.argc - at) // 3
    for i in range(count):
        if not position_from(&args[3 * i], &longitude, &latitude):
            return NATIVE_DECLINED
        if i < SCORES_KEPT:
            scores[i] = <double>position_score(longitude, latitude)
    entry = sorted_open(shard.store, &argv.key, True, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL:
        if flags & ADD_XX:
            reply_integer(out, 0)
            return NATIVE_DONE
        sorted_fresh(shard.store, argv.key.database, &set, count, args[2].length)
    else:
        sorted_expect(&set, count)
    for i in range(count):
        if i < SCORES_KEPT:
            score = scores[i]
        else:
            position_from(&args[3 * i], &longitude, &latitude)
            score = <double>position_score(longitude, latitude)
        outcome = sorted_add(&set, flags, score, args[3 * i + 2].data, args[3 * i + 2].length,
                             &result)
        inserted += outcome == ADD_INSERTED
        updated += outcome == ADD_UPDATED
    sorted_keep(shard.store, &argv.key, entry, &set)
    if inserted + updated:
        shard_changed(shard, &argv.key, EVENT_ZADD, inserted + updated)
        if shard_logs(shard):
            log_positions(shard, argv, at)
    reply_integer(out, <int64_t>(inserted + updated if show_changed else inserted))
    return NATIVE_DONE


cdef int geopos(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef SortedSet set
    cdef bint right
    cdef uint32_t i
    cdef double score, longitude, latitude
    cdef Entry *entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    reply_header(out, c"*", argv.argc - 2)
    for i in range(2, argv.argc):
        if entry != NULL and sorted_find(&set, argv.args[i].data, argv.args[i].length, &score,
                                         NULL):
            position(score, &longitude, &latitude)
            reply_position(out, shard.resp, longitude, latitude)
        else:
            reply_null_array(out, shard.resp)
    return NATIVE_DONE


cdef int geohash(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef SortedSet set
    cdef bint right
    cdef uint32_t i
    cdef double score, longitude, latitude
    cdef char letters[GEOHASH_BYTES]
    cdef Entry *entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    reply_header(out, c"*", argv.argc - 2)
    for i in range(2, argv.argc):
        if entry != NULL and sorted_find(&set, argv.args[i].data, argv.args[i].length, &score,
                                         NULL):
            position(score, &longitude, &latitude)
            write_geohash(longitude, latitude, letters)
            reply_bulk(out, letters, GEOHASH_BYTES)
        else:
            reply_null(out, shard.resp)
    return NATIVE_DONE


cdef int geodist(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef SortedSet set
    cdef bint right
    cdef double unit = 1
    cdef double score, other_score, longitude, latitude, other_longitude, other_latitude
    cdef const Arg *member = &argv.args[2]
    cdef const Arg *other = &argv.args[3]
    cdef Entry *entry
    if argv.argc > 5 or (argv.argc == 5 and not unit_from(&argv.args[4], &unit)):
        return NATIVE_DECLINED
    entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL or not sorted_find(
            &set, member.data, member.length, &score, NULL) or not sorted_find(
            &set, other.data, other.length, &other_score, NULL):
        reply_null(out, shard.resp)
        return NATIVE_DONE
    position(score, &longitude, &latitude)
    position(other_score, &other_longitude, &other_latitude)
    reply_distance(out, metres(longitude, latitude, other_longitude, other_latitude) / unit)
    return NATIVE_DONE


# Searches

cdef Place *next_place(Places *places) noexcept nogil:
    """Room for one more."""
    cdef Place *items
    cdef size_t size
    if unlikely(places.count == places.size):
        size = places.size * 2 * sizeof(Place)
        if places.items == places.kept:
            items = <Place *>malloc(size)
        else:
            items = <Place *>realloc(places.items, size)
        if items == NULL:
            out_of_memory(size)
        if places.items == places.kept:
            memcpy(items, places.kept, sizeof(places.kept))
        places.items = items
        places.size *= 2
    return &places.items[places.count]


cdef inline void places_free(Places *places) noexcept nogil:
    if places.items != places.kept:
        free(places.items)


cdef inline const char *member_of(const Place *place) noexcept nogil:
    return place.member if place.member != NULL else place.text


cdef int by_distance(const void *a, const void *b) noexcept nogil:
    cdef const Place *first = <const Place *>a
    cdef const Place *second = <const Place *>b
    if first.spot.metres != second.spot.metres:
        return 1 if first.spot.metres > second.spot.metres else -1
    return 1 if first.number > second.number else -1


cdef int by_distance_down(const void *a, const void *b) noexcept nogil:
    cdef const Place *first = <const Place *>a
    cdef const Place *second = <const Place *>b
    if first.spot.metres != second.spot.metres:
        return -1 if first.spot.metres > second.spot.metres else 1
    return 1 if first.number > second.number else -1


cdef int by_score_and_member(const void *a, const void *b) noexcept nogil:
    cdef const Place *first = <const Place *>a
    cdef const Place *second = <const Place *>b
    if first.score != second.score:
        return 1 if first.score > second.score else -1
    return compare_bytes(member_of(first), first.length, member_of(second), second.length)


cdef void look_around(const Search *search, const SortedSet *set, Places *places) noexcept nogil:
    """Note what lies in the area: sorted and cut as the options say."""
    cdef ScoreRange ranges[RANGES_MAX]
    cdef ZsetRange range
    cdef SortedCursor cursor
    cdef SortedItem item
    cdef Place *place
    cdef uint64_t enough = <uint64_t>search.count if search.any_ else 0
    cdef int count = area_ranges(&search.area, ranges)
    cdef int i = 0
    cdef bint more
    memset(&range, 0, sizeof(range))
    range.by = BY_SCORE
    range.max_exclusive = True
    while i < count and (enough == 0 or places.count < enough):
        range.min_score = <double>ranges[i].first
        range.max_score = <double>ranges[i].end
        i += 1
        more = sorted_seek_range(set, &range, False, 0, &cursor)
        while more and sorted_goes_on(&range, &cursor, False):
            sorted_item(&cursor, &item)
            place = next_place(places)
            if area_holds(&search.area, item.score, &place.spot):
                place.score = item.score
                place.length = item.length
                place.number = places.count
                if unlikely(item.member == item.scratch):
                    memcpy(place.text, item.scratch, sizeof(item.scratch))
                    place.member = NULL
                else:
                    place.member = item.member
                places.count += 1
                if places.count == enough:
                    break
            more = sorted_step(&cursor, False)
    # To show the nearest of them, they must be sorted.
    if search.sort == SORT_DESC:
        qsort(places.items, places.count, sizeof(Place), by_distance_down)
    elif search.sort == SORT_ASC or (search.count and not search.any_):
        qsort(places.items, places.count, sizeof(Place), by_distance)
    if search.count:
        places.count = min(places.count, <uint64_t>search.count)


cdef bint circle_from(const Arg *args, Search *search) noexcept nogil:
    search.area.box = False
    search.has_shape = True
    return (number_from(&args[0], &search.area.width) and search.area.width >= 0
            and unit_from(&args[1], &search.area.unit))


cdef bint box_from(const Arg *args, Search *search) noexcept nogil:
    search.area.box = True
    search.has_shape = True
    return (number_from(&args[0], &search.area.width) and search.area.width >= 0
            and number_from(&args[1], &search.area.height) and search.area.height >= 0
            and unit_from(&args[2], &search.area.unit))


cdef bint options_from(const Argv *argv, uint32_t at, bint searches, bint stores,
                       Search *search) noexcept nogil:
    """The options from args[at] on. searches: those of GEOSEARCH too. False: decline."""
    cdef const Arg *option
    cdef uint32_t left
    while at < argv.argc:
        option = &argv.args[at]
        left = argv.argc - at - 1
        at += 1
        if searches and left > 1 and not search.has_centre and is_word(option, b"fromlonlat", 10):
            if not position_from(&argv.args[at], &search.area.longitude, &search.area.latitude):
                return False
            search.has_centre = True
            at += 2
        elif searches and left and not search.has_centre and is_word(option, b"frommember", 10):
            search.member = &argv.args[at]
            search.has_centre = True
            at += 1
        elif searches and left > 1 and not search.has_shape and is_word(option, b"byradius", 8):
            if not circle_from(&argv.args[at], search):
                return False
            at += 2
        elif searches and left > 2 and not search.has_shape and is_word(option, b"bybox", 5):
            if not box_from(&argv.args[at], search):
                return False
            at += 3
        elif is_word(option, b"asc", 3):
            search.sort = SORT_ASC
        elif is_word(option, b"desc", 4):
            search.sort = SORT_DESC
        elif left and is_word(option, b"count", 5):
            if not parse_int64(argv.args[at].data, argv.args[at].length, &search.count):
                return False
            if search.count <= 0:
                return False
            at += 1
        elif is_word(option, b"any", 3):
            search.any_ = True
        elif stores and is_word(option, b"storedist", 9):
            search.store_distance = True
        elif stores:
            return False
        elif is_word(option, b"withdist", 8):
            search.with_distance = True
        elif is_word(option, b"withhash", 8):
            search.with_hash = True
        elif is_word(option, b"withcoord", 9):
            search.with_position = True
        else:
            return False
    return search.has_centre and search.has_shape and (not search.any_ or search.count != 0)


cdef bint centre_from_member(const SortedSet *set, Search *search) noexcept nogil:
    """Set the centre to that of the member. False: there is no such one."""
    cdef double score
    if search.member == NULL:
        return True
    if not sorted_find(set, search.member.data, search.member.length, &score, NULL):
        return False
    position(score, &search.area.longitude, &search.area.latitude)
    return True


cdef int reply_no_member(Buffer *out) noexcept nogil:
    reply_error(out, no_member, no_member_length)
    return NATIVE_DONE


cdef int show(Shard *shard, const Argv *argv, Buffer *out, Search *search) noexcept:
    """Reply with what a search finds."""
    cdef SortedSet set
    cdef Places places
    cdef Place *place
    cdef bint right
    cdef uint64_t i
    cdef int shown = 1 + search.with_distance + search.with_hash + search.with_position
    cdef Entry *entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL:
        buffer_append(out, b"*0\r\n", 4)
        return NATIVE_DONE
    if unlikely(not centre_from_member(&set, search)):
        return reply_no_member(out)
    places.items = places.kept
    places.count = 0
    places.size = FOUND_KEPT
    look_around(search, &set, &places)
    reply_header(out, c"*", <int64_t>places.count)
    for i in range(places.count):
        place = &places.items[i]
        if shown > 1:
            reply_header(out, c"*", shown)
        reply_bulk(out, member_of(place), place.length)
        if search.with_distance:
            reply_distance(out, place.spot.metres / search.area.unit)
        if search.with_hash:
            reply_integer(out, <int64_t>place.score)
        if search.with_position:
            reply_position(out, shard.resp, place.spot.longitude, place.spot.latitude)
    places_free(&places)
    return NATIVE_DONE


cdef void keep(Shard *shard, const Key *target, Places *places) noexcept:
    """Make a key the sorted set of what was found, in place of whatever it was. It is not empty."""
    cdef SortedSet fresh
    cdef Place *place
    cdef uint64_t i
    cdef size_t longest = 0
    for i in range(places.count):
        longest = max(longest, places.items[i].length)
    qsort(places.items, places.count, sizeof(Place), by_score_and_member)
    # The members lie in the source, which may be the target: it goes when they are copied.
    sorted_fresh(shard.store, target.database, &fresh, places.count, longest)
    for i in range(places.count):
        place = &places.items[i]
        sorted_append(&fresh, place.score, member_of(place), place.length)
    sorted_keep(shard.store, target, NULL, &fresh)


cdef int geosearchstore(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Search search
    cdef SortedSet set
    cdef Places places
    cdef Key source
    cdef Entry *entry
    cdef bint right
    cdef uint64_t i
    memset(&search, 0, sizeof(search))
    if not options_from(argv, 3, True, True, &search):
        return NATIVE_DECLINED
    key_at(shard, &argv.args[2], &source)
    entry = sorted_open(shard.store, &source, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    places.items = places.kept
    places.count = 0
    places.size = FOUND_KEPT
    if entry != NULL:
        if unlikely(not centre_from_member(&set, &search)):
            return reply_no_member(out)
        look_around(&search, &set, &places)
    if places.count:
        if search.store_distance:
            for i in range(places.count):
                places.items[i].score = places.items[i].spot.metres / search.area.unit
        keep(shard, &argv.key, &places)
        shard_changed(shard, &argv.key, EVENT_GEOSEARCHSTORE, places.count)
    elif store_clear(shard.store, &argv.key):
        shard_changed(shard, &argv.key, EVENT_DEL, 1)
    reply_integer(out, <int64_t>places.count)
    places_free(&places)
    return NATIVE_DONE


cdef int geosearch(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Search search
    memset(&search, 0, sizeof(search))
    if not options_from(argv, 2, True, False, &search):
        return NATIVE_DECLINED
    return show(shard, argv, out, &search)


cdef int georadius(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    """GEORADIUS and GEORADIUS_RO: STORE is no option here, so that it is declined."""
    cdef Search search
    memset(&search, 0, sizeof(search))
    search.has_centre = True
    if not position_from(&argv.args[2], &search.area.longitude, &search.area.latitude):
        return NATIVE_DECLINED
    if not circle_from(&argv.args[4], &search):
        return NATIVE_DECLINED
    if not options_from(argv, 6, False, False, &search):
        return NATIVE_DECLINED
    return show(shard, argv, out, &search)


cdef int georadiusbymember(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Search search
    memset(&search, 0, sizeof(search))
    search.has_centre = True
    search.member = &argv.args[2]
    if not circle_from(&argv.args[3], &search):
        return NATIVE_DECLINED
    if not options_from(argv, 5, False, False, &search):
        return NATIVE_DECLINED
    return show(shard, argv, out, &search)


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("GEOADD", geoadd)
    lane.add("GEOPOS", geopos)
    lane.add("GEOHASH", geohash)
    lane.add("GEODIST", geodist)
    lane.add("GEOSEARCH", geosearch)
    lane.add("GEOSEARCHSTORE", geosearchstore)
    lane.add("GEORADIUS", georadius)
    lane.add("GEORADIUS_RO", georadius)
    lane.add("GEORADIUSBYMEMBER", georadiusbymember)
    lane.add("GEORADIUSBYMEMBER_RO", georadiusbymember)
