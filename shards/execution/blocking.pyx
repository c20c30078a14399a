"""The table of those who wait for keys; see blocking.pxd."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from protocol.native cimport out_of_memory, unlikely
from shards.keyspace.entry cimport Entry
from shards.keyspace.keyspace cimport Keyspace
from shards.keyspace.store cimport (
    LISTEN_CHANGED, LISTEN_REMOVED, Key, RemoveReason, Store, store_find, store_hash,
)
from shards.keyspace.entry cimport entry_type
from shards.lane.effects cimport effects_attach, effects_detach, logical_database
from shards.lane.events cimport EVENT_NEW, EVENT_XADD, EVENT_XGROUP_DESTROY, Event
from protocol.slots cimport key_slot

cdef enum:
    TABLE_SIZE_FIRST = 64
    HEAP_SIZE_FIRST = 64
    READY_SIZE_FIRST = 16
    SIZE_KEEP = 4096            # a larger table is halved when it is mostly empty


cdef void *allocate(size_t n) noexcept nogil:
    cdef void *memory = malloc(n)
    if memory == NULL:
        out_of_memory(n)
    return memory


cdef void blocking_init(BlockingTable *table, Store *store) noexcept nogil:
    memset(table, 0, sizeof(BlockingTable))
    table.store = store
    table.consumer.owner = table
    table.consumer.wants = LISTEN_CHANGED | LISTEN_REMOVED
    table.consumer.changed = on_changed
    table.consumer.removed = on_removed
    table.consumer.emptied = on_emptied
    table.consumer.swapped = on_swapped


cdef void blocking_free(BlockingTable *table) noexcept nogil:
    cdef uint32_t i
    cdef Waiter *waiter
    cdef Waiter *next_waiter
    cdef KeyQueue *queue
    cdef KeyQueue *next_queue
    if table.listens:
        effects_detach(table.store, &table.consumer)
    for i in range(table.owner_size):
        waiter = table.owners[i]
        while waiter != NULL:
            next_waiter = waiter.chain
            waiter_free(waiter)
            waiter = next_waiter
    for i in range(table.key_size):
        queue = table.keys[i]
        while queue != NULL:
            next_queue = queue.chain
            free(queue)
            queue = next_queue
    free(table.owners)
    free(table.keys)
    free(table.heap)
    free(table.ready)
    memset(table, 0, sizeof(BlockingTable))


# Keys

cdef void resize_keys(BlockingTable *table, uint32_t size) noexcept nogil:
    cdef KeyQueue **fresh = <KeyQueue **>allocate(size * sizeof(KeyQueue *))
    cdef KeyQueue *queue
    cdef KeyQueue *following
    cdef uint32_t i
    memset(fresh, 0, size * sizeof(KeyQueue *))
    for i in range(table.key_size):
        queue = table.keys[i]
        while queue != NULL:
            following = queue.chain
            queue.chain = fresh[queue.hash & (size - 1)]
            fresh[queue.hash & (size - 1)] = queue
            queue = following
    free(table.keys)
    table.keys = fresh
    table.key_size = size


cdef KeyQueue *find_queue(const BlockingTable *table, uint32_t database, uint64_t hash,
                          const char *key, size_t n) noexcept nogil:
    cdef KeyQueue *queue
    if table.key_size == 0:
        return NULL
    queue = table.keys[hash & (table.key_size - 1)]
    while queue != NULL:
        if (queue.hash == hash and queue.database == database and queue.length == n
                and memcmp(key_of(queue), key, n) == 0):
            return queue
        queue = queue.chain
    return NULL


cdef KeyQueue *open_queue(BlockingTable *table, uint32_t database, const char *key,
                          size_t n) noexcept nogil:
    cdef uint64_t hash = store_hash(table.store, key, n)
    cdef KeyQueue *queue = find_queue(table, database, hash, key, n)
    if queue != NULL:
        return queue
    if table.key_count >= table.key_size:
        resize_keys(table, table.key_size * 2 if table.key_size else <uint32_t>TABLE_SIZE_FIRST)
    queue = <KeyQueue *>allocate(sizeof(KeyQueue) + n)
    memset(queue, 0, sizeof(KeyQueue))
    queue.hash = hash
    queue.database = database
    queue.length = n
    memcpy(<char *>(queue + 1), key, n)
    queue.chain = table.keys[hash & (table.key_size - 1)]
    table.keys[hash & (table.key_size - 1)] = queue
    table.key_count += 1
    return queue


cdef void drop_queue(BlockingTable *table, KeyQueue *queue) noexcept nogil:
    """It has no waiters and is not noted."""
    cdef KeyQueue **at = &table.keys[queue.hash & (table.key_size - 1)]
    while at[0] != queue:
        at = &at[0].chain
    at[0] = queue.chain
    free(queue)
    table.key_count -= 1
    if unlikely(table.key_size > SIZE_KEEP and table.key_count < table.key_size // 8):
        resize_keys(table, table.key_size // 2)


# Owners

cdef inline uint64_t mixed(uint64_t owner) noexcept nogil:
    return (owner ^ owner >> 32) * <uint64_t>0x9E3779B97F4A7C15 >> 32


cdef void resize_owners(BlockingTable *table, uint32_t size) noexcept nogil:
    cdef Waiter **fresh = <Waiter **>allocate(size * sizeof(Waiter *))
    cdef Waiter *waiter
    cdef Waiter *following
    cdef uint64_t at
    cdef uint32_t i
    memset(fresh, 0, size * sizeof(Waiter *))
    for i in range(table.owner_size):
        waiter = table.owners[i]
        while waiter != NULL:
            following = waiter.chain
            at = mixed(waiter.owner) & (size - 1)
            waiter.chain = fresh[at]
            fresh[at] = waiter
            waiter = following
    free(table.owners)
    table.owners = fresh
    table.owner_size = size


cdef Waiter *blocking_find(const BlockingTable *table, uint64_t owner) noexcept nogil:
    cdef Waiter *waiter
    if table.waiters == 0:
        return NULL
    waiter = table.owners[mixed(owner) & (table.owner_size - 1)]
    while waiter != NULL and waiter.owner != owner:
        waiter = waiter.chain
    return waiter


# Deadlines: a binary heap

cdef inline void put_timer(BlockingTable *table, uint32_t at, Waiter *waiter) noexcept nogil:
    table.heap[at] = waiter
    waiter.timer = at + 1


cdef void sift_up(BlockingTable *table, uint32_t at, Waiter *waiter) noexcept nogil:
    cdef uint32_t parent
    while at:
        parent = (at - 1) // 2
        if table.heap[parent].deadline_ms <= waiter.deadline_ms:
            break
        put_timer(table, at, table.heap[parent])
        at = parent
    put_timer(table, at, waiter)


cdef void sift_down(BlockingTable *table, uint32_t at, Waiter *waiter) noexcept nogil:
    cdef uint32_t child
    while True:
        child = 2 * at + 1
        if child >= table.timers:
            break
        if (child + 1 < table.timers
                and table.heap[child + 1].deadline_ms < table.heap[child].deadline_ms):
            child += 1
        if waiter.deadline_ms <= table.heap[child].deadline_ms:
            break
        put_timer(table, at, table.heap[child])
        at = child
    put_timer(table, at, waiter)


cdef void resize_heap(BlockingTable *table, uint32_t size) noexcept nogil:
    cdef Waiter **heap = <Waiter **>realloc(table.heap, size * sizeof(Waiter *))
    if heap == NULL:
        out_of_memory(size * sizeof(Waiter *))
    table.heap = heap
    table.heap_size = size


cdef void add_timer(BlockingTable *table, Waiter *waiter) noexcept nogil:
    if table.timers == table.heap_size:
        resize_heap(table, table.heap_size * 2 if table.heap_size else <uint32_t>HEAP_SIZE_FIRST)
    table.timers += 1
    sift_up(table, table.timers - 1, waiter)


cdef void remove_timer(BlockingTable *table, Waiter *waiter) noexcept nogil:
    cdef uint32_t at = waiter.timer - 1
    cdef Waiter *last
    waiter.timer = 0
    table.timers -= 1
    if at != table.timers:
        last = table.heap[table.timers]
        if at and last.deadline_ms < table.heap[(at - 1) // 2].deadline_ms:
            sift_up(table, at, last)
        else:
            sift_down(table, at, last)
    if unlikely(table.heap_size > SIZE_KEEP and table.timers < table.heap_size // 8):
        resize_heap(table, table.heap_size // 2)


cdef int64_t blocking_deadline(const BlockingTable *table) noexcept nogil:
    return table.heap[0].deadline_ms if table.timers else 0


cdef Waiter *blocking_expired(const BlockingTable *table, int64_t now_ms) noexcept nogil:
    if table.timers == 0 or table.heap[0].deadline_ms >= now_ms:
        return NULL
    return table.heap[0]


# Waiters

cdef Waiter *waiter_new(uint32_t keys, const char *raw, size_t n) noexcept nogil:
    cdef Waiter *waiter = <Waiter *>allocate(sizeof(Waiter) + keys * sizeof(Place) + n)
    memset(waiter, 0, sizeof(Waiter))
    waiter.count = keys
    memcpy(raw_of(waiter), raw, n)
    waiter.command.length = <uint32_t>n
    memset(places_of(waiter), 0, keys * sizeof(Place))
    return waiter


cdef void waiter_free(Waiter *waiter) noexcept nogil:
    free(waiter)


cdef void blocking_queue(BlockingTable *table, Waiter *waiter, const char *key, size_t n) noexcept nogil:
    cdef KeyQueue *queue = open_queue(table, waiter.run.database, key, n)
    cdef Place *place = places_of(waiter)
    if queue.last != NULL and queue.last.waiter == waiter:
        return                  # named twice
    while place.queue != NULL:
        place += 1
    place.waiter = waiter
    place.queue = queue
    place.previous = queue.last
    if queue.last != NULL:
        queue.last.next = place
    else:
        queue.first = place
        table.waited_keys += 1
    queue.last = place
    queue.waiters += 1
    if waiter.on_removal:
        if queue.on_removal == 0:
            table.removal_keys += 1
        queue.on_removal += 1


cdef void blocking_add(BlockingTable *table, Waiter *waiter) noexcept nogil:
    cdef uint64_t at
    if table.waiters >= table.owner_size:
        resize_owners(table, table.owner_size * 2 if table.owner_size else <uint32_t>TABLE_SIZE_FIRST)
    at = mixed(waiter.owner) & (table.owner_size - 1)
    waiter.chain = table.owners[at]
    table.owners[at] = waiter
    table.waiters += 1
    if waiter.transaction:
        table.claimants += 1
    if waiter.deadline_ms:
        add_timer(table, waiter)
    if unlikely(not table.listens):
        table.listens = True
        effects_attach(table.store, &table.consumer)


cdef void leave_queue(BlockingTable *table, Place *place) noexcept nogil:
    cdef KeyQueue *queue = place.queue
    if place.previous != NULL:
        place.previous.next = place.next
    else:
        queue.first = place.next
    if place.next != NULL:
        place.next.previous = place.previous
    else:
        queue.last = place.previous
    queue.waiters -= 1
    if place.waiter.on_removal:
        queue.on_removal -= 1
        if queue.on_removal == 0:
            table.removal_keys -= 1
    place.queue = NULL
    if queue.waiters == 0:
        table.waited_keys -= 1
        if not queue.ready and not queue.pinned:
            drop_queue(table, queue)


cdef void blocking_remove(BlockingTable *table, Waiter *waiter) noexcept nogil:
    cdef Waiter **at = &table.owners[mixed(waiter.owner) & (table.owner_size - 1)]
    cdef Place *place = places_of(waiter)
    cdef uint32_t i
    while at[0] != waiter:
        at = &at[0].chain
    at[0] = waiter.chain
    waiter.chain = NULL
    table.waiters -= 1
    if waiter.transaction:
        table.claimants -= 1
    if unlikely(table.owner_size > SIZE_KEEP and table.waiters < table.owner_size // 8):
        resize_owners(table, table.owner_size // 2)
    if waiter.timer:
        remove_timer(table, waiter)
    for i in range(waiter.count):
        if place[i].queue == NULL:
            break
        leave_queue(table, &place[i])


# Ready keys

cdef void note_queue(BlockingTable *table, KeyQueue *queue) noexcept nogil:
    cdef KeyQueue **ready
    cdef uint32_t size
    if queue.ready:
        return
    if table.ready_first == table.ready_end:
        table.ready_first = table.ready_end = 0
    if table.ready_end == table.ready_size:
        size = table.ready_size * 2 if table.ready_size else <uint32_t>READY_SIZE_FIRST
        ready = <KeyQueue **>realloc(table.ready, size * sizeof(KeyQueue *))
        if ready == NULL:
            out_of_memory(size * sizeof(KeyQueue *))
        table.ready = ready
        table.ready_size = size
    table.ready[table.ready_end] = queue
    table.ready_end += 1
    queue.ready = True


cdef KeyQueue *blocking_queue_of(const BlockingTable *table, uint32_t database, const Key *key) noexcept nogil:
    return find_queue(table, database, key.hash, key.data, key.length)


cdef void blocking_pin(KeyQueue *queue) noexcept nogil:
    queue.pinned += 1


cdef void blocking_note_all(BlockingTable *table, Waiter *waiter) noexcept nogil:
    cdef Place *place = places_of(waiter)
    cdef uint32_t i
    for i in range(waiter.count):
        if place[i].queue != NULL:
            note_queue(table, place[i].queue)


cdef void blocking_note(BlockingTable *table, uint32_t database, const Key *key,
                        bint removed) noexcept nogil:
    cdef KeyQueue *queue = blocking_queue_of(table, database, key)
    if queue != NULL and (queue.on_removal if removed else queue.waiters):
        note_queue(table, queue)


cdef KeyQueue *blocking_ready_next(BlockingTable *table) noexcept nogil:
    cdef KeyQueue *queue
    if table.ready_first == table.ready_end:
        return NULL
    queue = table.ready[table.ready_first]
    table.ready_first += 1
    queue.ready = False
    queue.pinned += 1
    return queue


cdef void blocking_done(BlockingTable *table, KeyQueue *queue) noexcept nogil:
    queue.pinned -= 1
    if queue.waiters == 0 and not queue.ready and not queue.pinned:
        drop_queue(table, queue)


cdef void blocking_rest(BlockingTable *table) noexcept nogil:
    if table.listens and table.waiters == 0:
        table.listens = False
        effects_detach(table.store, &table.consumer)


# What the effects tell

cdef void on_changed(void *owner, Store *store, const Key *key, Event event,
                     int64_t count) noexcept nogil:
    cdef BlockingTable *table = <BlockingTable *>owner
    if table.waiters and (event == EVENT_NEW or event == EVENT_XADD or event == EVENT_XGROUP_DESTROY):
        blocking_note(table, logical_database(store, key.database), key, False)


cdef void on_removed(void *owner, Store *store, const Key *key, Entry *entry,
                     RemoveReason reason) noexcept nogil:
    cdef BlockingTable *table = <BlockingTable *>owner
    if table.removal_keys:
        blocking_note(table, logical_database(store, key.database), key, True)


cdef Entry *entry_in(Store *store, const KeyQueue *queue, uint32_t physical) noexcept nogil:
    cdef Key key
    key.data = key_of(queue)
    key.length = queue.length
    key.hash = queue.hash
    key.slot = key_slot(key.data, key.length)
    key.database = physical
    return store_find(store, &key)


cdef void on_emptied(void *owner, Store *store, uint32_t database) noexcept nogil:
    cdef BlockingTable *table = <BlockingTable *>owner
    cdef KeyQueue *queue
    cdef uint32_t i, logical = logical_database(store, database)
    if table.removal_keys == 0:
        return
    for i in range(table.key_size):
        queue = table.keys[i]
        while queue != NULL:
            if queue.database == logical and queue.on_removal and entry_in(store, queue, database) != NULL:
                note_queue(table, queue)
            queue = queue.chain


cdef void note_swapped(BlockingTable *table, uint32_t database, uint32_t before,
                       bint removed) noexcept nogil:
    """Note the keys of a database that has had the contents of another one, or those it has now."""
    cdef Store *store = table.store
    cdef KeyQueue *queue
    cdef Entry *was
    cdef Entry *now
    cdef uint32_t i
    for i in range(table.key_size):
        queue = table.keys[i]
        while queue != NULL:
            if queue.database == database:
                now = entry_in(store, queue, store.physical[database])
                if not removed:
                    if now != NULL and queue.waiters:
                        note_queue(table, queue)
                elif queue.on_removal:
                    was = entry_in(store, queue, before)
                    if was != NULL and (now == NULL or entry_type(was) != entry_type(now)):
                        note_queue(table, queue)
            queue = queue.chain


cdef void on_swapped(void *owner, Store *store, uint32_t first, uint32_t second) noexcept nogil:
    cdef BlockingTable *table = <BlockingTable *>owner
    if first == second or table.waiters == 0:
        return
    note_swapped(table, first, store.physical[second], True)
    note_swapped(table, second, store.physical[first], True)
    note_swapped(table, first, 0, False)
    note_swapped(table, second, 0, False)


# Python

@cython.final
cdef class Blocking:
    def __cinit__(self, Keyspace keyspace not None):
        self.keyspace = keyspace
        blocking_init(&self.table, keyspace.store)

    def __dealloc__(self):
        if self.keyspace is not None:
            if (<Keyspace>self.keyspace).store.hooks.effects == NULL:
                self.table.listens = False      # whom it listened to has gone
            blocking_free(&self.table)

    @property
    def waiters(self):
        return self.table.waiters

    @property
    def clients(self):
        return self.table.waiters - self.table.claimants

    @property
    def waited_keys(self):
        return self.table.waited_keys

    @property
    def removal_keys(self):
        return self.table.removal_keys

    @property
    def deadline_ms(self):
        return blocking_deadline(&self.table)

    @property
    def listens(self):
        return bool(self.table.listens)

    def rest(self):
        blocking_rest(&self.table)

    def add(self, uint64_t owner, uint32_t database, list keys not None, int wants,
            int64_t deadline_ms=0, bint on_removal=False):
        cdef Waiter *waiter
        cdef bytes key
        if blocking_find(&self.table, owner) != NULL:
            raise ValueError("this owner waits already")
        waiter = waiter_new(<uint32_t>len(keys), b"", 0)
        waiter.owner = owner
        waiter.run.database = database
        waiter.wants = wants
        waiter.deadline_ms = deadline_ms
        waiter.on_removal = on_removal
        for key in keys:
            blocking_queue(&self.table, waiter, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        blocking_add(&self.table, waiter)

    def remove(self, uint64_t owner):
        cdef Waiter *waiter = blocking_find(&self.table, owner)
        if waiter == NULL:
            return False
        blocking_remove(&self.table, waiter)
        waiter_free(waiter)
        return True

    def expired(self, int64_t now_ms):
        cdef Waiter *waiter = blocking_expired(&self.table, now_ms)
        return None if waiter == NULL else waiter.owner

    def take_ready(self):
        cdef KeyQueue *queue
        cdef list taken = []
        while True:
            queue = blocking_ready_next(&self.table)
            if queue == NULL:
                return taken
            taken.append((queue.database, PyBytes_FromStringAndSize(key_of(queue), queue.length),
                          owners_of(queue)))
            blocking_done(&self.table, queue)

    def owners(self, uint32_t database, bytes key not None):
        cdef KeyQueue *queue = find_queue(
            &self.table, database,
            store_hash(self.table.store, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)),
            PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        return [] if queue == NULL else owners_of(queue)

    def check(self):
        cdef BlockingTable *table = &self.table
        cdef KeyQueue *queue
        cdef Waiter *waiter
        cdef Place *place
        cdef Place *previous
        cdef uint32_t i, keys = 0, waited = 0, removal = 0, waiters = 0, timers = 0, places = 0
        cdef uint32_t on_removal, noted = 0
        for i in range(table.key_size):
            queue = table.keys[i]
            while queue != NULL:
                assert queue.hash & (table.key_size - 1) == i
                assert queue.hash == store_hash(table.store, key_of(queue), queue.length)
                assert queue.waiters or queue.ready or queue.pinned, "a queue that nobody needs"
                count = on_removal = 0
                place = queue.first
                previous = NULL
                while place != NULL:
                    assert place.queue == queue and place.previous == previous
                    assert place.waiter.run.database == queue.database
                    count += 1
                    on_removal += place.waiter.on_removal
                    previous = place
                    place = place.next
                assert queue.last == previous
                assert count == queue.waiters and on_removal == queue.on_removal
                keys += 1
                noted += queue.ready
                waited += queue.waiters != 0
                removal += queue.on_removal != 0
                places += count
                queue = queue.chain
        assert (keys, waited, removal) == (table.key_count, table.waited_keys, table.removal_keys)
        assert noted == table.ready_end - table.ready_first
        for i in range(table.ready_first, table.ready_end):
            assert table.ready[i].ready
        for i in range(table.owner_size):
            waiter = table.owners[i]
            while waiter != NULL:
                assert mixed(waiter.owner) & (table.owner_size - 1) == i
                waiters += 1
                assert (waiter.deadline_ms != 0) == (waiter.timer != 0)
                if waiter.timer:
                    timers += 1
                    assert table.heap[waiter.timer - 1] == waiter
                for j in range(waiter.count):
                    if places_of(waiter)[j].queue == NULL:
                        break
                    assert places_of(waiter)[j].waiter == waiter
                    places -= 1
                waiter = waiter.chain
        assert places == 0
        assert (waiters, timers) == (table.waiters, table.timers)
        for i in range(1, table.timers):
            assert table.heap[(i - 1) // 2].deadline_ms <= table.heap[i].deadline_ms
        assert table.listens or waiters == 0


cdef list owners_of(const KeyQueue *queue):
    cdef list owners = []
    cdef const Place *place = queue.first
    while place != NULL:
        owners.append(place.waiter.owner)
        place = place.next
    return owners
