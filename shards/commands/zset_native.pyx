"""The sorted set family's hot commands in the native lane; errors are DECLINED, as for strings.

They do what their Python handlers in zset.py do.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from protocol.buffer cimport Buffer, buffer_append, buffer_reserve
from protocol.native cimport likely, unlikely
from protocol.numbers cimport format_double, parse_double, parse_int64
from protocol.reply cimport (
    reply_bulk, reply_header, reply_integer, reply_null, reply_null_array,
)
from shards.commands.common_native cimport (
    NEVER_WAITS, draws_too_much, first_of, is_word, numbered_keys, read_timeout, reply_wrong_type,
    wait_for,
)
from shards.lane.events cimport (
    EVENT_DEL, EVENT_ZADD, EVENT_ZINCR, EVENT_ZPOPMAX, EVENT_ZPOPMIN, EVENT_ZREM,
)
from shards.lane.handler cimport (
    NATIVE_DECLINED, NATIVE_DONE, WANTS_ZSET, Arg, Argv, NativeLane, Shard, key_at, shard_changed,
    shard_notify, shard_log, shard_log_arg, shard_log_number, shard_logs,
)
from shards.keyspace.keyspace cimport (
    TYPE_ZSET, Entry, Key, entry_type, store_find, store_is_expired, store_random, store_read,
    store_value_length,
)
from shards.arguments.ranges cimport lex_end, score_end
from shards.types.scoretree cimport BY_LEX, BY_SCORE, ZsetRange
from shards.types.zset cimport (
    ADD_GT, ADD_INCREMENT, ADD_INSERTED, ADD_LT, ADD_NAN, ADD_NX, ADD_REFUSED, ADD_UPDATED, ADD_XX,
    Added, SortedCursor, SortedItem, SortedSet, sorted_add, sorted_count_range, sorted_expect,
    sorted_find, sorted_goes_on, sorted_item, sorted_length, sorted_random, sorted_remove,
    sorted_remove_at,
    sorted_seek_range, sorted_seek_rank, sorted_step,
)
from shards.views.zset cimport sorted_fresh, sorted_keep, sorted_keep_rest, sorted_of, sorted_open

cdef enum:
    DOUBLE_BYTES_MAX = 128
    DRAWN_MAX = 1000                # with repetition; more is Python's, which has limits
    SAMPLED_MAX = 512               # members of a set that is walked for a sample
    SOURCES_MAX = 16
    SCORES_KEPT = 32                # of a ZADD, read once; more are read twice


cdef enum RangeBy:
    RANGE_ANY = 0                   # as the options say
    RANGE_RANK = 1
    RANGE_SCORE = 2
    RANGE_LEX = 3


cdef void reply_double(Buffer *out, int resp, double value) noexcept nogil:
    """A score: a bulk string in RESP2, a double in RESP3."""
    cdef char *start = buffer_reserve(out, DOUBLE_BYTES_MAX + 16)
    cdef char text[DOUBLE_BYTES_MAX]
    cdef char *at
    cdef size_t n
    if resp == 2:
        n = <size_t>format_double(text, value)
        reply_bulk(out, text, n)
        return
    start[0] = c","
    at = start + 1
    at += format_double(at, value)
    at[0] = c"\r"
    at[1] = c"\n"
    out.used += <size_t>(at + 2 - start)


cdef inline void reply_empty(Buffer *out) noexcept nogil:
    buffer_append(out, b"*0\r\n", 4)


cdef inline bint score_of(const Arg *arg, double *score) noexcept nogil:
    return parse_double(arg.data, arg.length, score)


cdef int add_members(Shard *shard, const Argv *argv, Buffer *out, uint32_t at, int flags,
                     bint show_changed) noexcept:
    """ZADD without INCR, its options read."""
    cdef double scores[SCORES_KEPT]
    cdef double score = 0, result
    cdef uint32_t count = (argv.argc - at) // 2
    cdef uint32_t i
    cdef uint64_t inserted = 0, updated = 0
    cdef const Arg *member
    cdef SortedSet set
    cdef Entry *entry
    cdef Added outcome
    cdef bint right
    for i in range(count):
        if not score_of(&argv.args[at + 2 * i], &score):
            return NATIVE_DECLINED
        if i < SCORES_KEPT:
            scores[i] = score
    entry = sorted_open(shard.store, &argv.key, True, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL:
        if flags & ADD_XX:
            reply_integer(out, 0)
            return NATIVE_DONE
        sorted_fresh(shard.store, argv.key.database, &set, count, argv.args[at + 1].length)
    else:
        sorted_expect(&set, count)
    for i in range(count):
        if i < SCORES_KEPT:
            score = scores[i]
        else:
            score_of(&argv.args[at + 2 * i], &score)
        member = &argv.args[at + 2 * i + 1]
        outcome = sorted_add(&set, flags, score, member.data, member.length, &result)
        inserted += outcome == ADD_INSERTED
        updated += outcome == ADD_UPDATED
    sorted_keep(shard.store, &argv.key, entry, &set)
    if inserted + updated:
        shard_changed(shard, &argv.key, EVENT_ZADD, inserted + updated)
    reply_integer(out, <int64_t>(inserted + updated if show_changed else inserted))
    return NATIVE_DONE


cdef int increment(Shard *shard, const Argv *argv, Buffer *out, uint32_t at, int flags) noexcept:
    """ZINCRBY, and ZADD with INCR."""
    cdef double score = 0, result = 0, current
    cdef const Arg *member = &argv.args[at + 1]
    cdef SortedSet set
    cdef Entry *entry
    cdef Added outcome
    cdef bint right
    if not score_of(&argv.args[at], &score):
        return NATIVE_DECLINED
    if unlikely(score - score != 0):
        # Only infinities can make a sum that is no number, which is an error.
        entry = store_find(shard.store, &argv.key)
        if entry != NULL and entry_type(entry) == TYPE_ZSET:
            sorted_of(shard.store, argv.key.database, entry, &set)
            if (sorted_find(&set, member.data, member.length, &current, NULL)
                    and current - current != 0):
                return NATIVE_DECLINED
    entry = sorted_open(shard.store, &argv.key, True, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL:
        if flags & ADD_XX:
            reply_null(out, shard.resp)
            return NATIVE_DONE
        sorted_fresh(shard.store, argv.key.database, &set, 1, member.length)
    else:
        sorted_expect(&set, 1)
    outcome = sorted_add(&set, flags | ADD_INCREMENT, score, member.data, member.length, &result)
    sorted_keep(shard.store, &argv.key, entry, &set)
    if outcome == ADD_INSERTED or outcome == ADD_UPDATED:
        shard_changed(shard, &argv.key, EVENT_ZINCR, 1)
    if outcome == ADD_REFUSED or outcome == ADD_NAN:
        reply_null(out, shard.resp)
    else:
        reply_double(out, shard.resp, result)
    return NATIVE_DONE


cdef int add(Shard *shard, const Argv *argv, Buffer *out, bint increments) noexcept:
    cdef int flags = 0
    cdef bint show_changed = False
    cdef uint32_t at = 2
    cdef const Arg *option
    while at < argv.argc:
        option = &argv.args[at]
        # An option begins with a letter, and scores hardly ever do.
        if likely(option.length == 0 or option.data[0] <= c"9"):
            break
        if is_word(option, b"nx", 2):
            flags |= ADD_NX
        elif is_word(option, b"xx", 2):
            flags |= ADD_XX
        elif is_word(option, b"gt", 2):
            flags |= ADD_GT
        elif is_word(option, b"lt", 2):
            flags |= ADD_LT
        elif is_word(option, b"ch", 2):
            show_changed = True
        elif is_word(option, b"incr", 4):
            increments = True
        else:
            # Infinity, or what C takes for an option: a word with a NUL after it.
            if option.data[0] != c"i" and option.data[0] != c"I":
                return NATIVE_DECLINED
            if option.length > 5 and option.data[4] == 0:
                return NATIVE_DECLINED
            break
        at += 1
    if at == argv.argc or (argv.argc - at) % 2:
        return NATIVE_DECLINED
    if flags & ADD_NX and flags & (ADD_XX | ADD_GT | ADD_LT) or (flags & ADD_GT and flags & ADD_LT):
        return NATIVE_DECLINED
    if increments:
        if argv.argc - at > 2:
            return NATIVE_DECLINED
        return increment(shard, argv, out, at, flags)
    return add_members(shard, argv, out, at, flags, show_changed)


cdef int zadd(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return add(shard, argv, out, False)


cdef int zincrby(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return add(shard, argv, out, True)


cdef int zcard(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef SortedSet set
    cdef bint right
    cdef Entry *entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    reply_integer(out, <int64_t>sorted_length(&set) if entry != NULL else 0)
    return NATIVE_DONE


cdef int zscore(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef SortedSet set
    cdef bint right
    cdef double score
    cdef const Arg *member = &argv.args[2]
    cdef Entry *entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry != NULL and sorted_find(&set, member.data, member.length, &score, NULL):
        reply_double(out, shard.resp, score)
    else:
        reply_null(out, shard.resp)
    return NATIVE_DONE


cdef int rank_of(Shard *shard, const Argv *argv, Buffer *out, bint backwards) noexcept:
    cdef SortedSet set
    cdef bint right
    cdef double score
    cdef uint64_t rank
    cdef const Arg *member = &argv.args[2]
    cdef Entry *entry
    if argv.argc != 3:
        return NATIVE_DECLINED
    entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL or not sorted_find(&set, member.data, member.length, &score, &rank):
        reply_null(out, shard.resp)
        return NATIVE_DONE
    if backwards:
        rank = sorted_length(&set) - 1 - rank
    reply_integer(out, <int64_t>rank)
    return NATIVE_DONE


cdef int zrank(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return rank_of(shard, argv, out, False)


cdef int zrevrank(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return rank_of(shard, argv, out, True)


cdef int zrem(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef SortedSet set
    cdef bint right
    cdef uint32_t i
    cdef uint64_t removed = 0
    cdef Entry *entry = sorted_open(shard.store, &argv.key, True, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry != NULL:
        for i in range(2, argv.argc):
            removed += sorted_remove(&set, argv.args[i].data, argv.args[i].length)
            if sorted_length(&set) == 0:
                break
        right = sorted_keep_rest(shard.store, &argv.key, entry, &set)
        if removed:
            shard_changed(shard, &argv.key, EVENT_ZREM, removed)
            if right:
                shard_notify(shard, &argv.key, EVENT_DEL)
    reply_integer(out, <int64_t>removed)
    return NATIVE_DONE


cdef void reply_members(Buffer *out, int resp, SortedCursor *cursor, uint64_t count,
                        bint backwards, bint with_scores) noexcept nogil:
    """So many members from a cursor on, which there are, with the array around them."""
    cdef SortedItem item
    reply_header(out, c"*",
                 <int64_t>(count * 2 if with_scores and resp == 2 else count))
    while count:
        sorted_item(cursor, &item)
        if with_scores and resp > 2:
            buffer_append(out, b"*2\r\n", 4)
        reply_bulk(out, item.member, item.length)
        if with_scores:
            reply_double(out, resp, item.score)
        count -= 1
        if count:
            sorted_step(cursor, backwards)


cdef void take(Shard *shard, const Key *key, Entry *entry, SortedSet *set, Buffer *out,
               uint64_t count, bint last, bint nested) noexcept:
    """Remove so many members, which there are, from an end, and write them and their scores."""
    cdef SortedCursor cursor
    cdef SortedItem item
    cdef uint64_t left = count
    while left:
        sorted_seek_rank(set, sorted_length(set) - 1 if last else 0, &cursor)
        sorted_item(&cursor, &item)
        if nested:
            buffer_append(out, b"*2\r\n", 4)
        reply_bulk(out, item.member, item.length)
        reply_double(out, shard.resp, item.score)
        sorted_remove_at(set, &cursor)
        left -= 1
    nested = sorted_keep_rest(shard.store, key, entry, set)
    shard_changed(shard, key, EVENT_ZPOPMAX if last else EVENT_ZPOPMIN, count)
    if nested:
        shard_notify(shard, key, EVENT_DEL)


cdef int pop(Shard *shard, const Argv *argv, Buffer *out, bint last) noexcept:
    cdef SortedSet set
    cdef bint right
    cdef int64_t count = 1
    cdef uint64_t left
    cdef bint nested = argv.argc == 3 and shard.resp > 2
    cdef Entry *entry
    if argv.argc > 3:
        return NATIVE_DECLINED
    if argv.argc == 3 and (not parse_int64(argv.args[2].data, argv.args[2].length, &count)
                           or count < 0):
        return NATIVE_DECLINED
    entry = sorted_open(shard.store, &argv.key, True, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL or count == 0:
        reply_empty(out)
        return NATIVE_DONE
    left = min(<uint64_t>count, sorted_length(&set))
    reply_header(out, c"*", <int64_t>(left if nested else left * 2))
    take(shard, &argv.key, entry, &set, out, left, last, nested)
    return NATIVE_DONE


cdef int zpopmin(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop(shard, argv, out, False)


cdef int zpopmax(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop(shard, argv, out, True)


cdef int pop_first(Shard *shard, const Argv *argv, Buffer *out, uint32_t at, uint32_t end,
                   bint last, int64_t count, int64_t deadline) noexcept:
    """Pop from the first of the keys at..end - 1 that exists. A count of 0: one, and flat."""
    cdef uint32_t first = at
    cdef SortedSet set
    cdef Entry *entry
    cdef Key key
    cdef uint64_t taken
    entry = first_of(shard, argv, &at, end, &key)
    if entry == NULL:
        if deadline != NEVER_WAITS and shard.may_block:
            return wait_for(shard, first, end, WANTS_ZSET, deadline)
        reply_null_array(out, shard.resp)
        return NATIVE_DONE
    if unlikely(entry_type(entry) != TYPE_ZSET):
        return reply_wrong_type(out)
    sorted_of(shard.store, key.database, entry, &set)
    taken = min(<uint64_t>max(count, <int64_t>1), sorted_length(&set))
    reply_header(out, c"*", 2 if count else 3)
    reply_bulk(out, argv.args[at].data, argv.args[at].length)
    if count:
        reply_header(out, c"*", <int64_t>taken)
    take(shard, &key, entry, &set, out, taken, last, count != 0)
    if shard_logs(shard):
        shard_log(shard, 3 if count else 2, b"ZPOPMAX" if last else b"ZPOPMIN", 7)
        shard_log_arg(shard, &argv.args[at])
        if count:
            shard_log_number(shard, <int64_t>taken)
    return NATIVE_DONE


cdef int pop_many(Shard *shard, const Argv *argv, Buffer *out, uint32_t at,
                  int64_t deadline) noexcept:
    """A number of keys at `at`, the keys, MIN or MAX, and maybe COUNT."""
    cdef int64_t count
    cdef uint32_t end
    cdef bint last
    if not numbered_keys(argv, at, &end, &count):
        return NATIVE_DECLINED
    last = is_word(&argv.args[end], b"max", 3)
    if not last and not is_word(&argv.args[end], b"min", 3):
        return NATIVE_DECLINED
    return pop_first(shard, argv, out, at + 1, end, last, count, deadline)


cdef int zmpop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop_many(shard, argv, out, 1, NEVER_WAITS)


cdef int bzmpop(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef int64_t deadline
    if not read_timeout(shard, &argv.args[1], &deadline):
        return NATIVE_DECLINED
    return pop_many(shard, argv, out, 2, deadline)


cdef int pop_waiting(Shard *shard, const Argv *argv, Buffer *out, bint last) noexcept:
    cdef int64_t deadline
    if not read_timeout(shard, &argv.args[argv.argc - 1], &deadline):
        return NATIVE_DECLINED
    return pop_first(shard, argv, out, 1, argv.argc - 1, last, 0, deadline)


cdef int bzpopmin(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop_waiting(shard, argv, out, False)


cdef int bzpopmax(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return pop_waiting(shard, argv, out, True)


cdef int range_by_rank(Shard *shard, const Argv *argv, Buffer *out, bint backwards,
                       bint with_scores) noexcept:
    cdef SortedSet set
    cdef SortedCursor cursor
    cdef bint right
    cdef int64_t first, last, length
    cdef Entry *entry
    if not parse_int64(argv.args[2].data, argv.args[2].length, &first):
        return NATIVE_DECLINED
    if not parse_int64(argv.args[3].data, argv.args[3].length, &last):
        return NATIVE_DECLINED
    entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL:
        reply_empty(out)
        return NATIVE_DONE
    length = <int64_t>sorted_length(&set)
    if first < 0:
        first = max(first + length, <int64_t>0)
    if last < 0:
        last += length
    if last >= length:
        last = length - 1
    if first > last:
        reply_empty(out)
        return NATIVE_DONE
    sorted_seek_rank(&set, <uint64_t>(length - 1 - first if backwards else first), &cursor)
    reply_members(out, shard.resp, &cursor, <uint64_t>(last - first + 1), backwards, with_scores)
    return NATIVE_DONE


cdef bint read_range(const Arg *minimum, const Arg *maximum, RangeBy by,
                     ZsetRange *range) noexcept nogil:
    """Two ends, by score or by member; False: one is none."""
    memset(range, 0, sizeof(ZsetRange))
    if by == RANGE_SCORE:
        range.by = BY_SCORE
        return (score_end(minimum.data, minimum.length, &range.min_score, &range.min_exclusive)
                and score_end(maximum.data, maximum.length, &range.max_score,
                              &range.max_exclusive))
    range.by = BY_LEX
    return (lex_end(minimum.data, minimum.length, &range.min_member, &range.min_length,
                    &range.min_infinite, &range.min_exclusive)
            and lex_end(maximum.data, maximum.length, &range.max_member, &range.max_length,
                        &range.max_infinite, &range.max_exclusive))


cdef int range_between(Shard *shard, const Argv *argv, Buffer *out, RangeBy by, bint backwards,
                       bint with_scores, int64_t offset, int64_t limit) noexcept:
    cdef SortedSet set
    cdef SortedCursor cursor, ahead
    cdef ZsetRange range
    cdef bint right, more
    cdef uint64_t count = 0
    cdef const Arg *minimum = &argv.args[3 if backwards else 2]
    cdef const Arg *maximum = &argv.args[2 if backwards else 3]
    cdef Entry *entry
    if not read_range(minimum, maximum, by, &range):
        return NATIVE_DECLINED
    entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if entry == NULL or offset < 0 or limit == 0 or not sorted_seek_range(
            &set, &range, backwards, <uint64_t>offset, &cursor):
        reply_empty(out)
        return NATIVE_DONE
    # The array's length comes first, so that the range is walked twice.
    ahead = cursor
    more = True
    while more and limit != 0 and sorted_goes_on(&range, &ahead, backwards):
        count += 1
        limit -= 1
        more = sorted_step(&ahead, backwards)
    reply_members(out, shard.resp, &cursor, count, backwards, with_scores)
    return NATIVE_DONE


cdef int show_range(Shard *shard, const Argv *argv, Buffer *out, RangeBy by, bint may_reverse,
                    bint backwards) noexcept:
    cdef bint with_scores = False
    cdef int64_t offset = 0, limit = -1
    cdef uint32_t i = 4
    cdef bint any_kind = by == RANGE_ANY
    cdef const Arg *option
    while unlikely(i < argv.argc):
        option = &argv.args[i]
        if is_word(option, b"withscores", 10):
            with_scores = True
        elif is_word(option, b"limit", 5) and i + 2 < argv.argc:
            if not parse_int64(argv.args[i + 1].data, argv.args[i + 1].length, &offset):
                return NATIVE_DECLINED
            if not parse_int64(argv.args[i + 2].data, argv.args[i + 2].length, &limit):
                return NATIVE_DECLINED
            i += 2
        elif may_reverse and is_word(option, b"rev", 3) and not backwards:
            backwards = True
        elif any_kind and by == RANGE_ANY and is_word(option, b"byscore", 7):
            by = RANGE_SCORE
        elif any_kind and by == RANGE_ANY and is_word(option, b"bylex", 5):
            by = RANGE_LEX
        else:
            return NATIVE_DECLINED
        i += 1
    if by == RANGE_SCORE or by == RANGE_LEX:
        if with_scores and by == RANGE_LEX:
            return NATIVE_DECLINED
        return range_between(shard, argv, out, by, backwards, with_scores, offset, limit)
    if limit != -1:
        return NATIVE_DECLINED
    return range_by_rank(shard, argv, out, backwards, with_scores)


cdef int zrange(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return show_range(shard, argv, out, RANGE_ANY, True, False)


cdef int zrevrange(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return show_range(shard, argv, out, RANGE_RANK, False, True)


cdef int zrangebyscore(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return show_range(shard, argv, out, RANGE_SCORE, False, False)


cdef int zrevrangebyscore(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return show_range(shard, argv, out, RANGE_SCORE, False, True)


cdef int zrangebylex(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return show_range(shard, argv, out, RANGE_LEX, False, False)


cdef int zrevrangebylex(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return show_range(shard, argv, out, RANGE_LEX, False, True)


cdef int count_between(Shard *shard, const Argv *argv, Buffer *out, RangeBy by) noexcept:
    cdef SortedSet set
    cdef ZsetRange range
    cdef bint right
    cdef Entry *entry
    if not read_range(&argv.args[2], &argv.args[3], by, &range):
        return NATIVE_DECLINED
    entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    reply_integer(out, <int64_t>sorted_count_range(&set, &range) if entry != NULL else 0)
    return NATIVE_DONE


cdef int zcount(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return count_between(shard, argv, out, RANGE_SCORE)


cdef int zlexcount(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    return count_between(shard, argv, out, RANGE_LEX)


# Chance

cdef void reply_drawn(Buffer *out, int resp, const SortedCursor *cursor,
                      bint with_scores) noexcept nogil:
    cdef SortedItem item
    sorted_item(cursor, &item)
    if with_scores and resp > 2:
        buffer_append(out, b"*2\r\n", 4)
    reply_bulk(out, item.member, item.length)
    if with_scores:
        reply_double(out, resp, item.score)


cdef void reply_sample(Shard *shard, Buffer *out, const SortedSet *set, uint64_t count,
                       bint with_scores) noexcept nogil:
    """`count` different members, in their order. O(n)"""
    cdef SortedCursor cursor
    cdef uint64_t left = sorted_length(set)
    sorted_seek_rank(set, 0, &cursor)
    while count:
        # Each choice of so many of those that are left is as likely as any other.
        if (store_random(shard.store) >> 16) % left < count:
            reply_drawn(out, shard.resp, &cursor, with_scores)
            count -= 1
        left -= 1
        if count:
            sorted_step(&cursor, False)


cdef int zrandmember(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef SortedSet set
    cdef SortedCursor cursor
    cdef bint right, with_scores = argv.argc == 4
    cdef int64_t count = 1
    cdef uint64_t length
    cdef Entry *entry
    if argv.argc > 4 or (with_scores and not is_word(&argv.args[3], b"withscores", 10)):
        return NATIVE_DECLINED
    if argv.argc > 2:
        if not parse_int64(argv.args[2].data, argv.args[2].length, &count):
            return NATIVE_DECLINED
        if count < -DRAWN_MAX or count > INT64_MAX // 2:
            return NATIVE_DECLINED
        if count < 0 and draws_too_much(shard, argv, -count):
            return NATIVE_DECLINED
        entry = store_find(shard.store, &argv.key)
        if (count > 0 and entry != NULL and entry_type(entry) == TYPE_ZSET
                and store_value_length(shard.store, entry) > SAMPLED_MAX):
            return NATIVE_DECLINED
    entry = sorted_open(shard.store, &argv.key, False, &set, &right)
    if unlikely(not right):
        return reply_wrong_type(out)
    if argv.argc == 2:
        if entry == NULL:
            reply_null(out, shard.resp)
        else:
            sorted_random(&set, store_random(shard.store), &cursor)
            reply_drawn(out, shard.resp, &cursor, False)
        return NATIVE_DONE
    if entry == NULL or count == 0:
        reply_empty(out)
        return NATIVE_DONE
    length = sorted_length(&set)
    if count > 0 and <uint64_t>count >= length:
        sorted_seek_rank(&set, length - 1, &cursor)
        reply_members(out, shard.resp, &cursor, length, True, with_scores)
    elif count > 0:
        reply_header(out, c"*", count * 2 if with_scores and shard.resp == 2 else count)
        reply_sample(shard, out, &set, <uint64_t>count, with_scores)
    else:
        count = -count
        reply_header(out, c"*", count * 2 if with_scores and shard.resp == 2 else count)
        while count:
            sorted_random(&set, store_random(shard.store), &cursor)
            reply_drawn(out, shard.resp, &cursor, with_scores)
            count -= 1
    return NATIVE_DONE


# Several sorted sets

cdef uint64_t count_common(const SortedSet *sets, uint32_t count, uint64_t limit) noexcept nogil:
    """The members of all sets, at most `limit` unless that is 0. O(smallest set * sets)"""
    cdef SortedCursor cursor
    cdef SortedItem item
    cdef uint32_t smallest = 0, i
    cdef uint64_t found = 0
    cdef double score
    cdef bint more
    for i in range(1, count):
        if sorted_length(&sets[i]) < sorted_length(&sets[smallest]):
            smallest = i
    more = sorted_seek_rank(&sets[smallest], 0, &cursor)
    while more:
        sorted_item(&cursor, &item)
        for i in range(count):
            if i != smallest and not sorted_find(&sets[i], item.member, item.length, &score, NULL):
                break
        else:
            found += 1
            if found == limit:
                break
        more = sorted_step(&cursor, False)
    return found


cdef int zintercard(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef SortedSet sets[SOURCES_MAX]
    cdef Key keys[SOURCES_MAX]
    cdef Entry *entry
    cdef int64_t count, limit = 0
    cdef uint32_t i
    if not parse_int64(argv.args[1].data, argv.args[1].length, &count):
        return NATIVE_DECLINED
    if count < 1 or count > SOURCES_MAX or count + 2 > <int64_t>argv.argc:
        return NATIVE_DECLINED
    if <int64_t>argv.argc != count + 2:
        i = <uint32_t>count + 2
        if argv.argc != i + 2 or not is_word(&argv.args[i], b"limit", 5):
            return NATIVE_DECLINED
        if not parse_int64(argv.args[i + 1].data, argv.args[i + 1].length, &limit) or limit < 0:
            return NATIVE_DECLINED
    for i in range(<uint32_t>count):
        key_at(shard, &argv.args[2 + i], &keys[i])
        entry = store_find(shard.store, &keys[i])
        # Sets, errors and what is not there are for Python.
        if (entry == NULL or entry_type(entry) != TYPE_ZSET
                or store_is_expired(shard.store, entry)):
            return NATIVE_DECLINED
        sorted_of(shard.store, keys[i].database, entry, &sets[i])
    for i in range(<uint32_t>count):
        store_read(shard.store, &keys[i], True)
    reply_integer(out, <int64_t>count_common(sets, <uint32_t>count, <uint64_t>limit))
    return NATIVE_DONE


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("ZADD", zadd)
    lane.add("ZINCRBY", zincrby)
    lane.add("ZCARD", zcard)
    lane.add("ZSCORE", zscore)
    lane.add("ZRANK", zrank)
    lane.add("ZREVRANK", zrevrank)
    lane.add("ZREM", zrem)
    lane.add("ZPOPMIN", zpopmin)
    lane.add("ZPOPMAX", zpopmax)
    lane.add("ZRANGE", zrange)
    lane.add("ZREVRANGE", zrevrange)
    lane.add("ZRANGEBYSCORE", zrangebyscore)
    lane.add("ZREVRANGEBYSCORE", zrevrangebyscore)
    lane.add("ZMPOP", zmpop)
    lane.add("BZMPOP", bzmpop)
    lane.add("BZPOPMIN", bzpopmin)
    lane.add("BZPOPMAX", bzpopmax)
    lane.add("ZRANGEBYLEX", zrangebylex)
    lane.add("ZREVRANGEBYLEX", zrevrangebylex)
    lane.add("ZCOUNT", zcount)
    lane.add("ZLEXCOUNT", zlexcount)
    lane.add("ZRANDMEMBER", zrandmember)
    lane.add("ZINTERCARD", zintercard)
