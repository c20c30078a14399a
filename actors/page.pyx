"""One anonymous shared mapping of atomic counters, inherited by fork.

What all processes must agree on at any moment without asking each other: the next client id, how
many clients are connected, how much memory is used. Everything else travels in control messages.

Contract
1. A counter that several processes write has a cache line for itself; the figures of one process
   share a line, which only that process writes. The supervisor clears the line of a dead process
   before it starts the successor, so that sums never count the dead.
2. The mapping is made before the first fork and never moves or grows: the number of workers and
   shards is fixed for the life of a server.
3. C code uses the inline functions of page.pxd (no Python object, no check of the index).
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from libc.string cimport memset

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    const int PROT_READ
    const int PROT_WRITE
    const int MAP_SHARED
    const int MAP_ANONYMOUS
    void *MAP_FAILED

PROCESSES_MAX = 4096
FIELDS = {
    "used_memory": <int>PROCESS_USED_MEMORY,
    "commands": <int>PROCESS_COMMANDS,
    "connections": <int>PROCESS_CONNECTIONS,
    "input_bytes": <int>PROCESS_INPUT_BYTES,
    "output_bytes": <int>PROCESS_OUTPUT_BYTES,
    "cycles": <int>PROCESS_CYCLES,
    "cycle_us": <int>PROCESS_CYCLE_US,
    "keys": <int>PROCESS_KEYS,
}


cdef class SharedPage:
    """Counters that every process forked after its making sees."""

    def __cinit__(self, int workers, int shards):
        self.base = NULL
        if workers < 0 or shards < 0 or workers + shards > PROCESSES_MAX:
            raise ValueError(f"between 0 and {PROCESSES_MAX} workers and shards, "
                             f"not {workers} and {shards}")
        self.workers = workers
        self.shards = shards
        self.bytes = <size_t>(SHARED_FIELDS + workers + shards) * LINE_BYTES
        cdef void *base = mmap(NULL, self.bytes, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0)
        if base == MAP_FAILED:
            raise MemoryError("the page of shared counters cannot be mapped")
        self.base = <char *>base

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.bytes)

    cdef int64_t *line(self, bint is_shard, int index) except NULL:
        if index < 0 or index >= (self.shards if is_shard else self.workers):
            raise IndexError("no such process")
        return page_shard(self, index) if is_shard else page_worker(self, index)

    def next_client_id(self):
        """A client id that no other call in any process returns. O(1)."""
        return page_next_client_id(self)

    def next_slow_id(self):
        """An id for the slow log that no other call in any process returns. O(1)."""
        return page_next_slow_id(self)

    def connect(self, int worker):
        """Count a new connection of a worker; how many the server has with it. O(processes)."""
        self.line(False, worker)
        return page_connect(self, worker)

    def disconnect(self, int worker):
        """Count a connection of a worker out. O(1)."""
        self.line(False, worker)
        page_disconnect(self, worker)

    def connect_shard(self, int shard):
        """Count a new connection to a shard's own port, as `connect` does. O(processes)."""
        self.line(True, shard)
        return page_connect(self, self.workers + shard)

    def disconnect_shard(self, int shard):
        """Count a connection of a shard out. O(1)."""
        self.line(True, shard)
        page_disconnect(self, self.workers + shard)

    def worker(self, int index, str field):
        """A figure of a worker; see FIELDS. O(1)."""
        cdef int at = FIELDS[field]
        return atomic_load(self.line(False, index) + at)

    def shard(self, int index, str field):
        """A figure of a shard; see FIELDS. O(1)."""
        cdef int at = FIELDS[field]
        return atomic_load(self.line(True, index) + at)

    def set_worker(self, int index, str field, int64_t value):
        """Publish a figure of a worker. O(1)."""
        cdef int at = FIELDS[field]
        atomic_store(self.line(False, index) + at, value)

    def set_shard(self, int index, str field, int64_t value):
        """Publish a figure of a shard. O(1)."""
        cdef int at = FIELDS[field]
        atomic_store(self.line(True, index) + at, value)

    def total(self, str field):
        """The sum of a figure over all processes. O(processes)."""
        cdef int at = FIELDS[field]
        return page_sum(self, <ProcessField>at)

    def clear_worker(self, int index):
        """Forget the figures of a dead worker. O(1)."""
        memset(self.line(False, index), 0, LINE_BYTES)

    def clear_shard(self, int index):
        """Forget the figures of a dead shard. O(1)."""
        memset(self.line(True, index), 0, LINE_BYTES)
