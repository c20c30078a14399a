"""SORT and SORT_RO of short lists in the native lane: as texts, or as integers.

They do what sort.py does for lists of one listpack, with no more options than LIMIT, ASC, DESC and
ALPHA. All else is DECLINED before anything is touched.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcpy

from protocol.buffer cimport Buffer
from protocol.native cimport compare_bytes
from protocol.numbers cimport parse_int64
from protocol.reply cimport reply_bulk, reply_header
from shards.commands.common_native cimport is_word
from shards.lane.handler cimport NATIVE_DECLINED, NATIVE_DONE, Argv, NativeLane, Shard
from shards.keyspace.keyspace cimport (
    TYPE_LIST, Entry, entry_encoding, entry_pointer, entry_type, store_find, store_is_expired,
    store_read,
)
from shards.types.kinds cimport ENCODING_LISTPACK
from shards.types.listpack cimport (
    Element, Listpack, element_text, listpack_first, listpack_get, listpack_length, listpack_next,
)

cdef enum:
    ELEMENTS_MAX = 256              # they lie on the stack
    EXACT_MAX = 1000000000000000    # integers below are the same as doubles


cdef struct Item:
    const char *data                # maybe `scratch`: it dies with the item
    size_t length
    size_t compared                 # bytes up to a NUL
    int64_t number
    char scratch[24]


cdef inline int order_of(const Item *item, const Item *other, bint as_texts) noexcept nogil:
    if not as_texts:
        return (item.number > other.number) - (item.number < other.number)
    return compare_bytes(item.data, item.compared, other.data, other.compared)


cdef void sort_items(const Item *items, uint32_t *places, uint32_t count, bint as_texts,
                     bint descending) noexcept nogil:
    """Put the places of items in order; equals stay as they are. O(n log n)"""
    cdef uint32_t spare[ELEMENTS_MAX]
    cdef uint32_t half = count // 2
    cdef uint32_t left = 0, right = half, at = 0
    cdef int order
    if count < 2:
        return
    sort_items(items, places, half, as_texts, descending)
    sort_items(items, places + half, count - half, as_texts, descending)
    memcpy(spare, places, half * sizeof(uint32_t))
    while left < half:
        if right < count:
            order = order_of(&items[spare[left]], &items[places[right]], as_texts)
            if (order < 0) if descending else (order > 0):
                places[at] = places[right]
                right += 1
                at += 1
                continue
        places[at] = spare[left]
        left += 1
        at += 1


cdef bint load_items(Listpack *pack, bint as_texts, Item *items) noexcept nogil:
    """The elements; False: they are to be compared as numbers, and one is no plain integer."""
    cdef uint8_t *p = listpack_first(pack)
    cdef Item *item = items
    cdef Element element
    cdef const char *end
    cdef int64_t exact = EXACT_MAX  # the enum's constants count as unsigned
    while p != NULL:
        listpack_get(p, &element)
        if not as_texts and (element.data != NULL or not -exact < element.number < exact):
            return False
        item.data = element_text(&element, item.scratch, &item.length)
        item.number = 0 if element.data != NULL else element.number
        end = NULL
        if as_texts and item.length:
            end = <const char *>memchr(item.data, 0, item.length)
        item.compared = item.length if end == NULL else <size_t>(end - item.data)
        item += 1
        p = listpack_next(p)
    return True


cdef int sort(Shard *shard, const Argv *argv, Buffer *out) noexcept:
    cdef Item items[ELEMENTS_MAX]
    cdef uint32_t places[ELEMENTS_MAX]
    cdef bint as_texts = False, descending = False
    cdef int64_t start = 0, limit = -1, count, i
    cdef uint32_t at = 2
    cdef Entry *entry
    cdef Listpack *pack
    while at < argv.argc:
        if is_word(&argv.args[at], b"alpha", 5):
            as_texts = True
        elif is_word(&argv.args[at], b"desc", 4):
            descending = True
        elif is_word(&argv.args[at], b"asc", 3):
            descending = False
        elif is_word(&argv.args[at], b"limit", 5) and at + 2 < argv.argc:
            if not parse_int64(argv.args[at + 1].data, argv.args[at + 1].length, &start):
                return NATIVE_DECLINED
            if not parse_int64(argv.args[at + 2].data, argv.args[at + 2].length, &limit):
                return NATIVE_DECLINED
            at += 2
        else:
            return NATIVE_DECLINED
        at += 1
    entry = store_find(shard.store, &argv.key)
    if (entry == NULL or entry_type(entry) != TYPE_LIST
            or entry_encoding(entry) != ENCODING_LISTPACK
            or store_is_expired(shard.store, entry)):
        return NATIVE_DECLINED
    pack = <Listpack *>entry_pointer(entry)
    count = <int64_t>listpack_length(pack)
    if count > ELEMENTS_MAX or not load_items(pack, as_texts, items):
        return NATIVE_DECLINED
    store_read(shard.store, &argv.key, True)

    for i in range(count):
        places[i] = <uint32_t>i
    sort_items(items, places, <uint32_t>count, as_texts, descending)
    start = min(max(start, <int64_t>0), count)
    if 0 <= limit < count - start:
        count = start + limit
    reply_header(out, c"*", count - start)
    for i in range(start, count):
        reply_bulk(out, items[places[i]].data, items[places[i]].length)
    return NATIVE_DONE


def register(NativeLane lane):
    """Add this family's native handlers to a shard's lane."""
    lane.add("SORT", sort)
    lane.add("SORT_RO", sort)
