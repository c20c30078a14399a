"""The hash table of big collections; contract and layout are in dict.pxd.

Linear hashing: with 2^n <= buckets < 2^(n+1), the buckets below buckets - 2^n are split, and a
member of those is told by n + 1 bits of its hash, any other by n bits. A split takes the next
bucket in turn, full or not; hashes are good, so that no bucket is long for long.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from protocol.native cimport DEBUG, fatal, likely, load64, prefetch, store64, unlikely
from shards.memory.allocation cimport (
    Pool,
    before_node,
    c_free,
    c_malloc,
    malloc_usable_size,
    out_of_memory,
    pool_alloc,
    pool_free,
    pool_resize,
    pool_zeroed,
)

cdef enum:
    FAR = 255
    FAR_RECORD_BYTES = 10
    NODE_RECORD_BYTES = 8
    FIRST_SIZE_MIN = 4
    SCRATCH_BYTES = 4096
    COUNT_MAX = 65535


cdef void dict_rules_default(DictRules *rules, const uint64_t *seed) noexcept nogil:
    """What is right outside of tests; the thresholds come from bench/micro/bench_collections.py."""
    rules.seed[0] = seed[0]
    rules.seed[1] = seed[1]
    rules.grow_at = 10
    rules.shrink_at = 4
    rules.inline_max = 128
    rules.node_member = NULL


# Records

cdef inline uint8_t *block_records(const Block *block) noexcept nogil:
    return <uint8_t *>block + sizeof(Block)


cdef inline uint8_t hash_tag(uint64_t hash) noexcept nogil:
    return <uint8_t>(hash >> 56)


cdef inline size_t record_bytes(uint8_t kind, const uint8_t *record) noexcept nogil:
    if kind == DICT_NODES:
        return NODE_RECORD_BYTES
    if unlikely(record[1] == FAR):
        return FAR_RECORD_BYTES
    if kind == DICT_SET:
        return 2 + <size_t>record[1]
    return 3 + <size_t>record[1] + record[2]


cdef inline Far *record_far(const uint8_t *record) noexcept nogil:
    return <Far *><size_t>load64(record + 2)


cdef inline void *record_node(const uint8_t *record) noexcept nogil:
    return <void *><size_t>(load64(record) >> 16)


cdef inline uint64_t node_record(const void *node, uint64_t hash) noexcept nogil:
    if DEBUG and <size_t>node >> 48:
        fatal("a node's address has more than 48 bits")
    return <uint64_t><size_t>node << 16 | hash >> 48


cdef inline void record_read(const Dict *dict, const uint8_t *record,
                             DictItem *item) noexcept nogil:
    cdef Far *far
    item.value = NULL
    item.value_length = 0
    item.node = NULL
    if dict.kind == DICT_NODES:
        item.node = record_node(record)
        item.data = dict.rules.node_member(item.node, &item.length)
    elif unlikely(record[1] == FAR):
        far = record_far(record)
        item.data = <const char *>(far + 1)
        item.length = far.length
        item.value = <char *>(far + 1) + far.length
        item.value_length = far.value_length
    elif dict.kind == DICT_SET:
        item.data = <const char *>record + 2
        item.length = record[1]
    else:
        item.data = <const char *>record + 3
        item.length = record[1]
        item.value = <char *>record + 3 + item.length
        item.value_length = record[2]


cdef inline uint64_t record_hash(const Dict *dict, const uint8_t *record) noexcept nogil:
    cdef DictItem item
    record_read(dict, record, &item)
    return dict_hash(dict, item.data, item.length)


cdef inline bint record_is_far(const Dict *dict, const uint8_t *record) noexcept nogil:
    return dict.kind != DICT_NODES and record[1] == FAR


cdef inline bint fits_inline(const Dict *dict, size_t n, size_t value_n) noexcept nogil:
    # Each is compared first: their sum could overflow.
    return (n <= dict.rules.inline_max and value_n <= dict.rules.inline_max
            and n + value_n <= dict.rules.inline_max)


cdef inline void record_write(const Dict *dict, uint8_t *record, uint8_t tag, const char *data,
                              size_t n, const char *value, size_t value_n) noexcept nogil:
    """A record that fits inline."""
    record[0] = tag
    record[1] = <uint8_t>n
    if dict.kind == DICT_SET:
        memcpy(record + 2, data, n)
        return
    record[2] = <uint8_t>value_n
    memcpy(record + 3, data, n)
    memcpy(record + 3 + n, value, value_n)


cdef Far *far_new(Pool *pool, const char *data, size_t n, const char *value,
                  size_t value_n) noexcept nogil:
    cdef Far *far = <Far *>pool_alloc(pool, sizeof(Far) + n + value_n)
    far.length = n
    far.value_length = value_n
    memcpy(far + 1, data, n)
    memcpy(<char *>(far + 1) + n, value, value_n)
    return far


# Blocks

cdef inline Block *block_reserve(Pool *pool, Block **place, size_t more) noexcept nogil:
    """Room for `more` bytes of records; the block may move, or come into being."""
    cdef Block *block = place[0]
    cdef size_t size
    if block == NULL:
        block = place[0] = <Block *>pool_alloc(pool, sizeof(Block) + more)
        block.used = 0
        block.count = 0
        return block
    size = sizeof(Block) + block.used + more
    if size > malloc_usable_size(block):
        block = place[0] = <Block *>pool_resize(pool, block, size + size // 8)
    return block


cdef inline void block_trim(Pool *pool, Block **place, bint closely) noexcept nogil:
    """Give memory back when much of it is not in use any more.

    After a removal that is less than half: each cut leaves malloc a free piece, and when it has
    thousands of them, some later allocation must sort them all.
    """
    cdef Block *block = place[0]
    cdef size_t size, wanted
    if block.count == 0:
        pool_free(pool, block)
        place[0] = NULL
        return
    size = sizeof(Block) + block.used
    wanted = size + size // 8
    if (wanted + 16 if closely else size * 2 + 64) < malloc_usable_size(block):
        place[0] = <Block *>pool_resize(pool, block, wanted)


cdef inline void block_cut(Block *block, uint8_t *record, size_t size) noexcept nogil:
    cdef uint8_t *end = block_records(block) + block.used
    memmove(record, record + size, end - (record + size))
    block.used -= <uint32_t>size
    block.count -= 1


cdef inline void block_added(Dict *dict, Block *block) noexcept nogil:
    if unlikely(block.count > dict.largest):
        dict.largest = block.count


# The directory

cdef inline uint32_t mask_for(uint32_t buckets) noexcept nogil:
    cdef uint32_t mask = 0
    while mask < buckets - 1:
        mask = mask << 1 | 1
    return mask


cdef void directory_push(Pool *pool, Dict *dict) noexcept nogil:
    """One more bucket, empty."""
    cdef uint32_t bucket = dict.buckets
    cdef uint32_t segment
    if unlikely(bucket == <uint32_t>-1):
        fatal("a dict has too many buckets")
    if bucket < SEGMENT_BUCKETS:
        if bucket == dict.first_size:
            dict.first_size *= 2
            dict.first = <Block **>pool_resize(
                pool, dict.first, dict.first_size * sizeof(Block *))
    elif bucket & (SEGMENT_BUCKETS - 1) == 0:
        segment = (bucket >> SEGMENT_BITS) - 1
        if segment == dict.rest_size:
            dict.rest_size = dict.rest_size * 2 if dict.rest_size else 4
            if dict.rest == NULL:
                dict.rest = <Block ***>pool_alloc(pool, dict.rest_size * sizeof(Block **))
            else:
                dict.rest = <Block ***>pool_resize(
                    pool, dict.rest, dict.rest_size * sizeof(Block **))
        dict.rest[segment] = <Block **>pool_alloc(pool, SEGMENT_BUCKETS * sizeof(Block *))
    dict.buckets += 1
    if bucket > dict.mask:
        dict.mask = dict.mask << 1 | 1
    dict_place(dict, bucket)[0] = NULL


cdef void directory_pop(Pool *pool, Dict *dict) noexcept nogil:
    """One bucket less: the last one, whose members are elsewhere now."""
    cdef uint32_t bucket = dict.buckets - 1
    cdef uint32_t segment
    dict.buckets = bucket
    if bucket - 1 <= dict.mask >> 1:
        dict.mask >>= 1
    if bucket >= SEGMENT_BUCKETS:
        if bucket & (SEGMENT_BUCKETS - 1) == 0:
            segment = (bucket >> SEGMENT_BITS) - 1
            pool_free(pool, dict.rest[segment])
            if segment == 0:
                pool_free(pool, dict.rest)
                dict.rest = NULL
                dict.rest_size = 0
            elif segment * 4 == dict.rest_size:
                dict.rest_size //= 2
                dict.rest = <Block ***>pool_resize(
                    pool, dict.rest, dict.rest_size * sizeof(Block **))
    elif bucket * 4 == dict.first_size and dict.first_size > FIRST_SIZE_MIN:
        dict.first_size //= 2
        dict.first = <Block **>pool_resize(pool, dict.first, dict.first_size * sizeof(Block *))


cdef inline void prefetch_nodes(const Block *block) noexcept nogil:
    cdef size_t i
    for i in range(block.count):
        prefetch(record_node(block_records(block) + i * NODE_RECORD_BYTES))


cdef void split(Pool *pool, Dict *dict) noexcept nogil:
    """Grow by one bucket, to which the bucket that it is the upper half of gives its members."""
    cdef uint8_t scratch[SCRATCH_BYTES]
    cdef uint8_t *moved = scratch
    cdef uint32_t target = dict.buckets
    cdef uint32_t source
    cdef Block **place
    cdef Block *block
    cdef Block *other
    cdef uint8_t *record
    cdef uint8_t *kept
    cdef uint8_t *end
    cdef size_t size, moved_bytes = 0
    cdef uint16_t moved_count = 0
    directory_push(pool, dict)
    source = target & (dict.mask >> 1)
    place = dict_place(dict, source)
    before_node(pool, dict, place)
    block = place[0]
    if block == NULL:
        return
    if unlikely(block.used > SCRATCH_BYTES):
        moved = <uint8_t *>c_malloc(block.used)
        if moved == NULL:
            out_of_memory(block.used)
    if dict.kind == DICT_NODES:
        prefetch_nodes(block)
    record = kept = block_records(block)
    end = record + block.used
    while record < end:
        size = record_bytes(dict.kind, record)
        if <uint32_t>record_hash(dict, record) & dict.mask == target:
            memcpy(moved + moved_bytes, record, size)
            moved_bytes += size
            moved_count += 1
        else:
            memmove(kept, record, size)
            kept += size
        record += size
    if moved_count:
        block.used -= <uint32_t>moved_bytes
        block.count -= moved_count
        block_trim(pool, place, True)
        other = block_reserve(pool, dict_place(dict, target), moved_bytes)
        memcpy(block_records(other), moved, moved_bytes)
        other.used = <uint32_t>moved_bytes
        other.count = moved_count
    if unlikely(moved != scratch):
        c_free(moved)


cdef void join(Pool *pool, Dict *dict) noexcept nogil:
    """Shrink by one bucket, whose members go back to the one it was split from."""
    cdef uint32_t source = dict.buckets - 1
    cdef Block *block = dict_place(dict, source)[0]
    cdef Block *other
    if block != NULL:
        before_node(pool, dict, dict_place(dict, source))
        before_node(pool, dict, dict_place(dict, source & (dict.mask >> 1)))
        other = block_reserve(pool, dict_place(dict, source & (dict.mask >> 1)), block.used)
        memcpy(block_records(other) + other.used, block_records(block), block.used)
        other.used += block.used
        if unlikely(<uint32_t>other.count + block.count > COUNT_MAX):
            fatal("a bucket has too many members")
        other.count += block.count
        block_added(dict, other)
        pool_free(pool, block)
    directory_pop(pool, dict)


cdef inline void inserted(Pool *pool, Dict *dict, Block *block, size_t size) noexcept nogil:
    block.used += <uint32_t>size
    if unlikely(block.count == COUNT_MAX):
        fatal("a bucket has too many members")
    block.count += 1
    block_added(dict, block)
    dict.count += 1
    if dict.count > <uint64_t>dict.buckets * dict.rules.grow_at:
        split(pool, dict)


cdef inline void removed(Pool *pool, Dict *dict) noexcept nogil:
    dict.count -= 1
    if dict.count < <uint64_t>dict.buckets * dict.rules.shrink_at and dict.buckets > 1:
        join(pool, dict)


# Finding

cdef inline uint8_t *block_find(const Dict *dict, Block *block, uint64_t hash, const char *data,
                                size_t n) noexcept nogil:
    """The record of a member or field, or NULL."""
    cdef uint8_t tag = hash_tag(hash)
    cdef uint8_t *record
    cdef uint8_t *end
    cdef Far *far
    cdef size_t header = 2 + (dict.kind == DICT_HASH)
    if block == NULL:
        return NULL
    record = block_records(block)
    end = record + block.used
    while record < end:
        if unlikely(record[0] == tag):
            if unlikely(record[1] == FAR):
                far = record_far(record)
                if far.length == n and memcmp(far + 1, data, n) == 0:
                    return record
            elif record[1] == n and memcmp(record + header, data, n) == 0:
                return record
        record += record_bytes(dict.kind, record)
    return NULL


cdef bint dict_find(const Dict *dict, uint64_t hash, const char *data, size_t n,
                    DictItem *item) noexcept nogil:
    cdef uint8_t *record = block_find(
        dict, dict_place(dict, dict_bucket(dict, hash))[0], hash, data, n)
    if record == NULL:
        return False
    if item != NULL:
        record_read(dict, record, item)
    return True


cdef inline uint8_t *node_find(const Dict *dict, Block *block, uint64_t hash, const char *data,
                               size_t n) noexcept nogil:
    cdef uint64_t tag = hash >> 48
    cdef uint8_t *record
    cdef uint8_t *end
    cdef const char *member
    cdef size_t length
    if block == NULL:
        return NULL
    record = block_records(block)
    end = record + block.used
    while record < end:
        if load64(record) & 0xFFFF == tag:
            member = dict.rules.node_member(record_node(record), &length)
            if length == n and memcmp(member, data, n) == 0:
                return record
        record += NODE_RECORD_BYTES
    return NULL


cdef void *dict_find_node(const Dict *dict, uint64_t hash, const char *data,
                          size_t n) noexcept nogil:
    cdef uint8_t *record = node_find(
        dict, dict_place(dict, dict_bucket(dict, hash))[0], hash, data, n)
    return record_node(record) if record != NULL else NULL


# Changing

cdef Dict *dict_new(Pool *pool, const DictRules *rules, DictKind kind) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Dict *dict = <Dict *>pool_zeroed(pool, sizeof(Dict))
    dict.rules = rules
    dict.kind = <uint8_t>kind
    dict.buckets = 1
    dict.first_size = FIRST_SIZE_MIN
    dict.first = <Block **>pool_zeroed(pool, FIRST_SIZE_MIN * sizeof(Block *))
    dict.bytes = pool.bytes - before
    return dict


cdef void dict_free(Pool *pool, Dict *dict) noexcept nogil:
    cdef uint32_t bucket, segment
    cdef Block *block
    cdef Block *ahead
    cdef uint8_t *record
    cdef uint8_t *end
    for bucket in range(dict.buckets):
        block = dict_place(dict, bucket)[0]
        if bucket + 4 < dict.buckets:
            ahead = dict_place(dict, bucket + 4)[0]
            prefetch(ahead)
        if block == NULL:
            continue
        if dict.kind != DICT_NODES:
            record = block_records(block)
            end = record + block.used
            while record < end:
                if unlikely(record[1] == FAR):
                    pool_free(pool, record_far(record))
                record += record_bytes(dict.kind, record)
        pool_free(pool, block)
    if dict.buckets > SEGMENT_BUCKETS:
        for segment in range(((dict.buckets - 1) >> SEGMENT_BITS)):
            pool_free(pool, dict.rest[segment])
        pool_free(pool, dict.rest)
    pool_free(pool, dict.first)
    pool_free(pool, dict)


cdef Dict *dict_copy(Pool *pool, const Dict *dict) noexcept nogil:
    cdef uint64_t before
    cdef Dict *copy = dict_new(pool, dict.rules, <DictKind>dict.kind)
    cdef uint32_t bucket
    cdef Block *block
    cdef Block *twin
    cdef uint8_t *record
    cdef uint8_t *end
    cdef Far *far
    if DEBUG and dict.kind == DICT_NODES:
        fatal("a dict of nodes cannot be copied")
    before = pool.bytes
    while copy.buckets < dict.buckets:
        directory_push(pool, copy)
    for bucket in range(dict.buckets):
        block = dict_place(dict, bucket)[0]
        if block == NULL:
            continue
        twin = block_reserve(pool, dict_place(copy, bucket), block.used)
        memcpy(twin, block, sizeof(Block) + block.used)
        record = block_records(twin)
        end = record + twin.used
        while record < end:
            if unlikely(record_is_far(copy, record)):
                far = record_far(record)
                far = far_new(pool, <const char *>(far + 1), far.length,
                              <const char *>(far + 1) + far.length, far.value_length)
                store64(record + 2, <uint64_t><size_t>far)
            record += record_bytes(copy.kind, record)
    copy.count = dict.count
    copy.largest = dict.largest
    copy.bytes += pool.bytes - before
    return copy


cdef void dict_insert(Pool *pool, Dict *dict, uint64_t hash, const char *data, size_t n,
                      const char *value, size_t value_n) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Block **place = dict_place(dict, dict_bucket(dict, hash))
    cdef Block *block
    cdef uint8_t *record
    cdef size_t size
    before_node(pool, dict, place)
    if dict.kind == DICT_SET:
        value_n = 0
    if likely(fits_inline(dict, n, value_n)):
        size = 2 + (dict.kind == DICT_HASH) + n + value_n
        block = block_reserve(pool, place, size)
        record_write(dict, block_records(block) + block.used, hash_tag(hash), data, n, value,
                     value_n)
    else:
        size = FAR_RECORD_BYTES
        block = block_reserve(pool, place, size)
        record = block_records(block) + block.used
        record[0] = hash_tag(hash)
        record[1] = FAR
        store64(record + 2, <uint64_t><size_t>far_new(pool, data, n, value, value_n))
    inserted(pool, dict, block, size)
    dict.bytes += pool.bytes - before


cdef void far_replace(Pool *pool, uint8_t *record, const char *value,
                      size_t value_n) noexcept nogil:
    """Another value for a far record that stays one."""
    cdef Far *far = record_far(record)
    cdef size_t size = sizeof(Far) + far.length + value_n
    cdef size_t usable = malloc_usable_size(far)
    if size > usable or size < usable // 2:
        far = <Far *>pool_resize(pool, far, size)
        store64(record + 2, <uint64_t><size_t>far)
    far.value_length = value_n
    memcpy(<char *>(far + 1) + far.length, value, value_n)


cdef void replace(Pool *pool, Dict *dict, Block **place, uint8_t *record, const char *data,
                  size_t n, const char *value, size_t value_n) noexcept nogil:
    """Another value for a field. O(bytes of the block)."""
    cdef Block *block = place[0]
    cdef bint was_far = record[1] == FAR
    cdef bint is_inline = fits_inline(dict, n, value_n)
    cdef size_t before = record_bytes(dict.kind, record)
    cdef size_t size = 3 + n + value_n if is_inline else FAR_RECORD_BYTES
    cdef size_t offset = record - block_records(block)
    if was_far and not is_inline:
        far_replace(pool, record, value, value_n)
        return
    if was_far:
        pool_free(pool, record_far(record))
    if size != before:
        if size > before:
            block = block_reserve(pool, place, size - before)
            record = block_records(block) + offset
        memmove(record + size, record + before, block.used - offset - before)
        block.used += <uint32_t>(size - before)
    if is_inline:
        record_write(dict, record, record[0], data, n, value, value_n)
    else:
        record[1] = FAR
        store64(record + 2, <uint64_t><size_t>far_new(pool, data, n, value, value_n))
    if size < before:
        block_trim(pool, place, False)


cdef bint dict_set(Pool *pool, Dict *dict, uint64_t hash, const char *data, size_t n,
                   const char *value, size_t value_n) noexcept nogil:
    cdef Block **place = dict_place(dict, dict_bucket(dict, hash))
    cdef uint8_t *record = block_find(dict, place[0], hash, data, n)
    cdef uint64_t before
    if record == NULL:
        dict_insert(pool, dict, hash, data, n, value, value_n)
        return True
    if dict.kind == DICT_HASH:
        before_node(pool, dict, place)
        if record[1] != FAR and record[2] == value_n:
            memcpy(record + 3 + n, value, value_n)
        else:
            before = pool.bytes
            replace(pool, dict, place, record, data, n, value, value_n)
            dict.bytes += pool.bytes - before
    return False


cdef bint dict_remove(Pool *pool, Dict *dict, uint64_t hash, const char *data,
                      size_t n) noexcept nogil:
    cdef Block **place = dict_place(dict, dict_bucket(dict, hash))
    cdef uint8_t *record = block_find(dict, place[0], hash, data, n)
    cdef uint64_t before = pool.bytes
    cdef size_t size
    if record == NULL:
        return False
    before_node(pool, dict, place)
    size = record_bytes(dict.kind, record)
    if unlikely(record[1] == FAR):
        pool_free(pool, record_far(record))
    block_cut(place[0], record, size)
    block_trim(pool, place, False)
    removed(pool, dict)
    dict.bytes += pool.bytes - before
    return True


cdef void dict_insert_node(Pool *pool, Dict *dict, uint64_t hash, void *node) noexcept nogil:
    cdef uint64_t before = pool.bytes
    cdef Block **place = dict_place(dict, dict_bucket(dict, hash))
    cdef Block *block = block_reserve(pool, place, NODE_RECORD_BYTES)
    store64(block_records(block) + block.used, node_record(node, hash))
    inserted(pool, dict, block, NODE_RECORD_BYTES)
    dict.bytes += pool.bytes - before


cdef bint dict_remove_node(Pool *pool, Dict *dict, uint64_t hash,
                           const void *node) noexcept nogil:
    cdef Block **place = dict_place(dict, dict_bucket(dict, hash))
    cdef Block *block = place[0]
    cdef uint64_t before = pool.bytes
    cdef uint64_t wanted = node_record(node, hash)
    cdef uint8_t *record
    cdef size_t i
    if block == NULL:
        return False
    for i in range(block.count):
        record = block_records(block) + i * NODE_RECORD_BYTES
        if load64(record) == wanted:
            block_cut(block, record, NODE_RECORD_BYTES)
            block_trim(pool, place, False)
            removed(pool, dict)
            dict.bytes += pool.bytes - before
            return True
    return False


# All of them, or one at random

cdef inline uint64_t mix(uint64_t value) noexcept nogil:
    """The next of a chain of random numbers (Steele, Lea and Flood's SplitMix64)."""
    value += <uint64_t>0x9E3779B97F4A7C15
    value = (value ^ value >> 30) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ value >> 27) * <uint64_t>0x94D049BB133111EB
    return value ^ value >> 31


cdef void dict_random(const Dict *dict, uint64_t random, DictItem *item) noexcept nogil:
    """Draw a place among `largest` in every bucket until there is a member in it.

    Every member has one such place. Buckets have about a third of `largest` on average.
    """
    cdef uint64_t bucket, i
    cdef Block *block
    cdef uint8_t *record
    while True:
        random = mix(random)
        bucket = ((random >> 32) * dict.buckets) >> 32
        block = dict_place(dict, <uint32_t>bucket)[0]
        i = (<uint64_t><uint32_t>random * dict.largest) >> 32
        if block != NULL and i < block.count:
            break
    record = block_records(block)
    while i:
        record += record_bytes(dict.kind, record)
        i -= 1
    record_read(dict, record, item)


cdef bint dict_next(const Dict *dict, DictIterator *iterator, DictItem *item) noexcept nogil:
    cdef Block *block
    cdef uint8_t *record
    while iterator.bucket < dict.buckets:
        block = dict_place(dict, iterator.bucket)[0]
        if block != NULL and iterator.offset < block.used:
            if iterator.offset == 0 and iterator.bucket + 2 < dict.buckets:
                prefetch(dict_place(dict, iterator.bucket + 2)[0])
            record = block_records(block) + iterator.offset
            iterator.offset += <uint32_t>record_bytes(dict.kind, record)
            record_read(dict, record, item)
            return True
        iterator.bucket += 1
        iterator.offset = 0
    return False


cdef inline uint32_t reverse_bits(uint32_t bits) noexcept nogil:
    bits = (bits >> 1 & <uint32_t>0x55555555) | (bits & <uint32_t>0x55555555) << 1
    bits = (bits >> 2 & <uint32_t>0x33333333) | (bits & <uint32_t>0x33333333) << 2
    bits = (bits >> 4 & <uint32_t>0x0F0F0F0F) | (bits & <uint32_t>0x0F0F0F0F) << 4
    bits = (bits >> 8 & <uint32_t>0x00FF00FF) | (bits & <uint32_t>0x00FF00FF) << 8
    return bits >> 16 | bits << 16


cdef uint64_t dict_scan(const Dict *dict, uint64_t cursor, DictVisit visit,
                        void *context) noexcept nogil:
    """Buckets are visited in the order of their reversed bits.

    In that order a bucket is where all the buckets stand that it will ever be split into, or
    was joined from: the cursor says how much of the space of reversed hashes has been seen.
    """
    cdef uint32_t mask = dict.mask >> 1
    cdef uint32_t bucket = <uint32_t>cursor & mask
    cdef Block *block
    cdef uint8_t *record
    cdef uint8_t *end
    cdef DictItem item
    if <uint64_t>bucket + mask + 1 < dict.buckets:      # it is split: its halves go one by one
        mask = dict.mask
        bucket = <uint32_t>cursor & mask
    block = dict_place(dict, bucket)[0]
    if block != NULL:
        if dict.kind == DICT_NODES:
            prefetch_nodes(block)
        record = block_records(block)
        end = record + block.used
        while record < end:
            record_read(dict, record, &item)
            visit(context, &item)
            record += record_bytes(dict.kind, record)
    return reverse_bits(reverse_bits(bucket | ~mask) + 1)


# Checks and tests

cdef int require(bint holds, str what) except -1:
    if not holds:
        raise AssertionError(what)
    return 0


cdef int check_record(const Dict *dict, const uint8_t *record, uint32_t bucket,
                      uint64_t *bytes) except -1:
    cdef DictItem item
    cdef DictItem found
    cdef uint64_t hash
    record_read(dict, record, &item)
    hash = dict_hash(dict, item.data, item.length)
    require(dict_bucket(dict, hash) == bucket, "a member is in the wrong bucket")
    if dict.kind == DICT_NODES:
        require(load64(record) & 0xFFFF == hash >> 48, "a node's tag is wrong")
        require(dict_find_node(dict, hash, item.data, item.length) == item.node,
                "a node is there twice")
        return 0
    require(record[0] == hash_tag(hash), "a tag is wrong")
    require(dict_find(dict, hash, item.data, item.length, &found) and found.data == item.data,
            "a member is there twice")
    require(record_is_far(dict, record) != fits_inline(dict, item.length, item.value_length),
            "a record is far, or inline, that should not be")
    if record_is_far(dict, record):
        require(sizeof(Far) + item.length + item.value_length
                <= malloc_usable_size(record_far(record)), "a far record exceeds its allocation")
        bytes[0] += malloc_usable_size(record_far(record))
    return 0


cdef int dict_check(const Dict *dict) except -1:
    cdef uint64_t bytes = malloc_usable_size(dict) + malloc_usable_size(dict.first)
    cdef uint64_t count = 0
    cdef uint32_t bucket, segment, in_block
    cdef Block *block
    cdef uint8_t *record
    cdef uint8_t *end
    require(dict.buckets >= 1, "a dict without buckets")
    require(dict.mask == mask_for(dict.buckets), "the mask does not fit the number of buckets")
    require(dict.first_size >= min(dict.buckets, <uint32_t>SEGMENT_BUCKETS),
            "the first segment is too small")
    if dict.buckets > SEGMENT_BUCKETS:
        bytes += malloc_usable_size(dict.rest)
        require((dict.buckets - 1) >> SEGMENT_BITS <= dict.rest_size, "too few segments")
        for segment in range((dict.buckets - 1) >> SEGMENT_BITS):
            bytes += malloc_usable_size(dict.rest[segment])
    else:
        require(dict.rest == NULL and dict.rest_size == 0, "segments that no bucket needs")
    for bucket in range(dict.buckets):
        block = dict_place(dict, bucket)[0]
        if block == NULL:
            continue
        bytes += malloc_usable_size(block)
        require(block.count > 0, "an empty block is kept")
        require(block.count <= dict.largest, "a bucket is larger than the largest")
        require(sizeof(Block) + block.used <= malloc_usable_size(block),
                "a block exceeds its allocation")
        in_block = 0
        record = block_records(block)
        end = record + block.used
        while record < end:
            require(record + record_bytes(dict.kind, record) <= end, "a record exceeds its block")
            check_record(dict, record, bucket, &bytes)
            record += record_bytes(dict.kind, record)
            in_block += 1
        require(record == end and in_block == block.count, "a block's count is wrong")
        count += in_block
    require(count == dict.count, "a dict's count is wrong")
    require(bytes == dict.bytes, "a dict's bytes are wrong")
    require(dict.buckets == 1 or count <= <uint64_t>dict.buckets * dict.rules.grow_at,
            "a dict has not grown")
    return 0


cdef void collect(void *context, const DictItem *item) noexcept with gil:
    (<list>context).append(pair(item))


cdef object pair(const DictItem *item):
    cdef bytes data = PyBytes_FromStringAndSize(item.data, <Py_ssize_t>item.length)
    if item.value == NULL:
        return data, None
    return data, PyBytes_FromStringAndSize(item.value, <Py_ssize_t>item.value_length)


@cython.final
cdef class NativeDict:
    """A Dict for Python, with thresholds of its own: for tests and benchmarks."""

    def __cinit__(self, bint has_values=False, *, uint32_t grow_at=0, uint32_t shrink_at=0,
                  uint32_t inline_max=0, seed=(1, 2)):
        cdef uint64_t[2] words = [seed[0], seed[1]]
        if inline_max > INLINE_MAX:
            raise ValueError("inline_max is too high")
        self.pool.total = &self.total
        dict_rules_default(&self.rules, words)
        if grow_at:
            self.rules.grow_at = grow_at
            self.rules.shrink_at = shrink_at
        if inline_max:
            self.rules.inline_max = inline_max
        self.dict = dict_new(&self.pool, &self.rules, DICT_HASH if has_values else DICT_SET)

    def __dealloc__(self):
        if self.dict != NULL:
            dict_free(&self.pool, self.dict)

    def __len__(self):
        return <Py_ssize_t>self.dict.count

    @property
    def buckets(self):
        return self.dict.buckets

    @property
    def used_memory(self):
        """What the pool has counted, which is the dict and nothing else."""
        return self.pool.bytes

    @property
    def footprint(self):
        return dict_footprint(self.dict)

    def set(self, bytes data not None, bytes value=b""):
        """Insert or replace; True if it was not there."""
        cdef uint64_t hash = dict_hash(self.dict, data, len(data))
        dict_prefetch_bucket(self.dict, hash)
        dict_prefetch_block(self.dict, hash)
        return dict_set(&self.pool, self.dict, hash, data, len(data), value, len(value))

    def get(self, bytes data not None):
        """The value (b"" in a set), or None."""
        cdef DictItem item
        cdef uint64_t hash = dict_hash(self.dict, data, len(data))
        if not dict_find(self.dict, hash, data, len(data), &item):
            return None
        return pair(&item)[1] or b""

    def remove(self, bytes data not None):
        """True if it was there."""
        cdef uint64_t hash = dict_hash(self.dict, data, len(data))
        return dict_remove(&self.pool, self.dict, hash, data, len(data))

    def pop_random(self, uint64_t random):
        """Remove a random member with the bytes of the item itself, as SPOP does."""
        cdef DictItem item
        dict_random(self.dict, random, &item)
        result = pair(&item)
        dict_remove(&self.pool, self.dict, dict_hash(self.dict, item.data, item.length),
                    item.data, item.length)
        return result

    def random(self, uint64_t random):
        """A random (member, value)."""
        cdef DictItem item
        if self.dict.count == 0:
            raise IndexError("the dict is empty")
        dict_random(self.dict, random, &item)
        return pair(&item)

    def items(self):
        """All (member, value); the value is None in a set."""
        cdef DictIterator iterator
        cdef DictItem item
        cdef list found = []
        memset(&iterator, 0, sizeof(iterator))
        while dict_next(self.dict, &iterator, &item):
            found.append(pair(&item))
        return found

    def scan(self, uint64_t cursor):
        """(next cursor, [(member, value), ...])"""
        cdef list found = []
        cursor = dict_scan(self.dict, cursor, collect, <void *>found)
        return cursor, found

    def copy(self):
        """Another dict with the same members."""
        cdef NativeDict copy = NativeDict(
            self.dict.kind == DICT_HASH, grow_at=self.rules.grow_at,
            shrink_at=self.rules.shrink_at, inline_max=self.rules.inline_max,
            seed=(self.rules.seed[0], self.rules.seed[1]))
        dict_free(&copy.pool, copy.dict)
        copy.dict = dict_copy(&copy.pool, self.dict)
        copy.dict.rules = &copy.rules
        return copy

    def free_detached(self):
        """Free as a helper thread does, cut off from the pool; the dict is new and empty then."""
        cdef Pool detached
        cdef Dict *dict = self.dict
        cdef DictKind kind = <DictKind>dict.kind
        detached.bytes = 0
        detached.total = NULL
        detached.node_hook = NULL
        self.pool.bytes -= dict_footprint(dict)
        self.total -= dict_footprint(dict)
        with nogil:
            dict_free(&detached, dict)
        self.dict = dict_new(&self.pool, &self.rules, kind)

    def check(self):
        """Every invariant. O(n). AssertionError."""
        dict_check(self.dict)
        require(self.pool.bytes == self.dict.bytes and self.total == self.pool.bytes,
                "the pool and the dict count differently")
