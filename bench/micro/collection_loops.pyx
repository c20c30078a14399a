"""The loops of bench_collections: as a native handler calls the structures.

Members are `member:%07d`, 14 bytes; values have 10. Each loop returns (mean wall ns, the longest
single operation in us of thread CPU time), the latter only where each operation is timed.
"""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from protocol.native cimport CLOCK_MONOTONIC, clock_ns
from shards.memory.allocation cimport Pool
from shards.types.dict cimport (
    DICT_HASH,
    DICT_SET,
    Dict,
    DictItem,
    DictRules,
    dict_find,
    dict_free,
    dict_hash,
    dict_new,
    dict_prefetch_block,
    dict_prefetch_bucket,
    dict_random,
    dict_remove,
    dict_rules_default,
    dict_set,
)
from shards.types.idtree cimport (
    Id,
    IdTree,
    idtree_clear,
    idtree_find,
    idtree_init,
    idtree_insert,
    idtree_remove,
)
from shards.types.scoretree cimport (
    Node,
    Zset,
    ZsetCursor,
    node_member,
    zcursor_next,
    zcursor_node,
    zset_find,
    zset_free,
    zset_insert,
    zset_new,
    zset_rank,
    zset_remove,
    zset_rules_default,
    zset_seek_first,
    zset_seek_rank,
    zset_update,
)

cdef extern from "<time.h>" nogil:
    const int CLOCK_THREAD_CPUTIME_ID

cdef enum:
    MEMBER_BYTES = 14
    VALUE_BYTES = 10
    AHEAD = 16

cdef uint64_t[2] SEED = [0x0123456789abcdef, 0xfedcba9876543210]


cdef inline uint64_t draw(uint64_t *state) noexcept nogil:
    state[0] = state[0] * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
    return state[0] >> 33


cdef class Timer:
    """Mean and longest of the operations between start() and stop()."""
    cdef int64_t begun, longest, before
    cdef uint64_t operations

    cdef void start(self) noexcept:
        self.longest = 0
        self.operations = 0
        self.begun = clock_ns(CLOCK_MONOTONIC)

    cdef inline void enter(self) noexcept:
        self.before = clock_ns(CLOCK_THREAD_CPUTIME_ID)

    cdef inline void leave(self) noexcept:
        cdef int64_t ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - self.before
        if ns > self.longest:
            self.longest = ns

    cdef tuple stop(self, uint64_t operations):
        return ((clock_ns(CLOCK_MONOTONIC) - self.begun) / <double>operations,
                self.longest / 1000.0)


cdef class Members:
    """The texts of `count` members, in an order that the seed decides."""
    cdef char *texts
    cdef readonly uint64_t count

    def __cinit__(self, uint64_t count, uint64_t seed):
        cdef uint64_t i, other, state = seed
        cdef char[16] swap
        self.count = count
        self.texts = <char *>malloc(count * 16)
        if self.texts == NULL:
            raise MemoryError
        for i in range(count):
            snprintf(self.texts + i * 16, 16, b"member:%07u", <unsigned int>i)
        for i in range(count - 1, 0, -1):
            other = draw(&state) % (i + 1)
            memcpy(swap, self.texts + i * 16, 16)
            memcpy(self.texts + i * 16, self.texts + other * 16, 16)
            memcpy(self.texts + other * 16, swap, 16)

    def __dealloc__(self):
        free(self.texts)


cdef class DictLoops:
    """A set, or a hash."""
    cdef Pool pool
    cdef uint64_t total
    cdef DictRules rules
    cdef Dict *dict
    cdef Members members
    cdef Members wanted         # the same in another order
    cdef Timer timer

    def __cinit__(self, Members members, Members wanted, bint has_values):
        self.pool.total = &self.total
        self.members = members
        self.wanted = wanted
        self.timer = Timer()
        dict_rules_default(&self.rules, SEED)
        self.dict = dict_new(&self.pool, &self.rules, DICT_HASH if has_values else DICT_SET)

    def __dealloc__(self):
        dict_free(&self.pool, self.dict)

    @property
    def bytes(self):
        return self.pool.bytes

    def fill(self, bint timed):
        cdef uint64_t i
        cdef char *text
        self.timer.start()
        for i in range(self.members.count):
            text = self.members.texts + i * 16
            if timed:
                self.timer.enter()
            dict_set(&self.pool, self.dict, dict_hash(self.dict, text, MEMBER_BYTES), text,
                     MEMBER_BYTES, text, VALUE_BYTES)
            if timed:
                self.timer.leave()
        return self.timer.stop(self.members.count)

    def find(self, bint ahead):
        cdef uint64_t i, k
        cdef char *texts[AHEAD]
        cdef uint64_t hashes[AHEAD]
        cdef uint64_t found = 0
        cdef DictItem item
        self.timer.start()
        for i in range(self.members.count // AHEAD):
            for k in range(AHEAD):
                texts[k] = self.wanted.texts + (i * AHEAD + k) * 16
                hashes[k] = dict_hash(self.dict, texts[k], MEMBER_BYTES)
                if ahead:
                    dict_prefetch_bucket(self.dict, hashes[k])
            if ahead:
                for k in range(AHEAD):
                    dict_prefetch_block(self.dict, hashes[k])
            for k in range(AHEAD):
                found += dict_find(self.dict, hashes[k], texts[k], MEMBER_BYTES, &item)
        assert found == self.members.count // AHEAD * AHEAD
        return self.timer.stop(found)

    def random(self):
        cdef uint64_t i
        cdef DictItem item
        self.timer.start()
        for i in range(self.members.count):
            dict_random(self.dict, i, &item)
        return self.timer.stop(self.members.count)

    def empty(self, bint timed):
        cdef uint64_t i
        cdef char *text
        self.timer.start()
        for i in range(self.members.count):
            text = self.members.texts + i * 16
            if timed:
                self.timer.enter()
            dict_remove(&self.pool, self.dict, dict_hash(self.dict, text, MEMBER_BYTES), text,
                        MEMBER_BYTES)
            if timed:
                self.timer.leave()
        assert self.dict.count == 0
        return self.timer.stop(self.members.count)


cdef class ZsetLoops:
    cdef Pool pool
    cdef uint64_t total
    cdef DictRules rules
    cdef Zset *zset
    cdef Members members
    cdef Members wanted         # the same in another order
    cdef Timer timer

    def __cinit__(self, Members members, Members wanted):
        self.pool.total = &self.total
        self.members = members
        self.wanted = wanted
        self.timer = Timer()
        zset_rules_default(&self.rules, SEED)
        self.zset = zset_new(&self.pool, &self.rules)

    def __dealloc__(self):
        zset_free(&self.pool, self.zset)

    @property
    def bytes(self):
        return self.pool.bytes

    cdef inline Node *find(self, uint64_t i) noexcept:
        cdef char *text = self.wanted.texts + i * 16
        return zset_find(self.zset, dict_hash(self.zset.members, text, MEMBER_BYTES), text,
                         MEMBER_BYTES)

    def fill(self, bint timed, bint ascending=False):
        cdef uint64_t i, hash, state = 3
        cdef char *text
        self.timer.start()
        for i in range(self.members.count):
            text = self.members.texts + i * 16
            if timed:
                self.timer.enter()
            hash = dict_hash(self.zset.members, text, MEMBER_BYTES)
            if zset_find(self.zset, hash, text, MEMBER_BYTES) == NULL:
                zset_insert(&self.pool, self.zset, hash,
                            <double>(i if ascending else draw(&state)), text, MEMBER_BYTES)
            if timed:
                self.timer.leave()
        return self.timer.stop(self.members.count)

    def rank(self, uint64_t operations):
        cdef uint64_t i, ranks = 0
        self.timer.start()
        for i in range(operations):
            ranks += zset_rank(self.zset, self.find(i))
        assert ranks > 0
        return self.timer.stop(operations)

    def update(self, uint64_t operations):
        cdef uint64_t i, state = 9
        cdef Node *node
        self.timer.start()
        for i in range(operations):
            node = self.find(i)
            zset_update(&self.pool, self.zset, node, <double>draw(&state))
        return self.timer.stop(operations)

    def range_100(self, uint64_t operations):
        cdef uint64_t i, k, state = 11, bytes = 0
        cdef ZsetCursor cursor
        cdef size_t n
        self.timer.start()
        for i in range(operations):
            zset_seek_rank(self.zset, draw(&state) % (self.members.count - 100), &cursor)
            for k in range(100):
                bytes += node_member(zcursor_node(&cursor), &n)[0]
                zcursor_next(&cursor)
        assert bytes > 0
        return self.timer.stop(operations)

    def empty(self, bint timed):
        cdef uint64_t i
        cdef char *text
        cdef Node *node
        self.timer.start()
        for i in range(self.members.count):
            text = self.wanted.texts + i * 16
            if timed:
                self.timer.enter()
            node = zset_find(self.zset, dict_hash(self.zset.members, text, MEMBER_BYTES), text,
                             MEMBER_BYTES)
            zset_remove(&self.pool, self.zset, node)
            if timed:
                self.timer.leave()
        return self.timer.stop(self.members.count)

    def pop(self):
        """The first again and again, until there are none."""
        cdef ZsetCursor cursor
        self.timer.start()
        while zset_seek_first(self.zset, &cursor):
            zset_remove(&self.pool, self.zset, zcursor_node(&cursor))
        return self.timer.stop(self.members.count)


cdef class IdTreeLoops:
    cdef Pool pool
    cdef uint64_t total
    cdef IdTree tree
    cdef uint64_t count
    cdef Timer timer

    def __cinit__(self, uint64_t count):
        self.pool.total = &self.total
        self.count = count
        self.timer = Timer()
        idtree_init(&self.tree)

    def __dealloc__(self):
        idtree_clear(&self.pool, &self.tree, NULL, NULL)

    @property
    def bytes(self):
        return self.pool.bytes

    def fill(self):
        cdef uint64_t i
        cdef Id id
        self.timer.start()
        for i in range(self.count):
            id.ms = i // 4
            id.sequence = i % 4
            idtree_insert(&self.pool, &self.tree, id, <void *><uintptr_t>i)
        return self.timer.stop(self.count)

    def find(self):
        cdef uint64_t i, at, state = 3, found = 0
        cdef Id id
        self.timer.start()
        for i in range(self.count):
            at = draw(&state) % self.count
            id.ms = at // 4
            id.sequence = at % 4
            found += idtree_find(&self.tree, id) != NULL
        assert found == self.count
        return self.timer.stop(self.count)

    def empty(self):
        """In order, as acknowledging and trimming do."""
        cdef uint64_t i
        cdef Id id
        self.timer.start()
        for i in range(self.count):
            id.ms = i // 4
            id.sequence = i % 4
            idtree_remove(&self.pool, &self.tree, id, NULL)
        assert self.tree.count == 0
        return self.timer.stop(self.count)
