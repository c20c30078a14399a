"""What a connection still has to send: a buffer for ordinary replies, blocks for large ones.

client-output-buffer-limit is looked at before each write, about once in a second, and while a shard
executes a pipeline of its own port (see Session.exceeds_output_limit). Without one, as redis-server
has none for normal clients, a client that does not read what it asks for takes memory until it is
closed.

The bytes are those of the blocks, in order, and then the tail's. A block may stand for memory that
has not arrived yet (`ready` false); nothing behind it can be sent before it is filled.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from protocol.buffer cimport Buffer, buffer_append, buffer_free
from protocol.native cimport out_of_memory

ctypedef void (*block_release)(void *block) noexcept nogil

cdef enum:
    OUTPUT_KEEP_BYTES = 65536           # a larger empty tail is given back
    SPLICED_KEEP_BYTES = 256    # the buffer of an emptied output that its next user may have

cdef struct Block:
    char *data
    size_t size
    Block *next
    block_release release       # gives back what `data` and `context` hold, not the Block itself
    uint64_t context[9]         # for release
    bint ready                  # `data` is there
    bint orphan                 # its connection has gone before it became ready
    uint32_t slot               # of the session that waits for it
    int32_t shard               # that sends it

cdef struct Output:
    Block *first
    Block *last
    Buffer tail
    size_t sent  # bytes already sent of the first block, or of the tail without blocks


cdef inline void _release_buffer(void *block) noexcept nogil:
    free((<Block *>block).data)


cdef inline Block *block_new() noexcept nogil:
    cdef Block *block = <Block *>calloc(1, sizeof(Block))
    if block == NULL:
        out_of_memory(sizeof(Block))
    return block


cdef inline void block_free(Block *block) noexcept nogil:
    if block.release != NULL:
        block.release(block)
    free(block)


cdef inline void _push(Output *output, Block *block) noexcept nogil:
    block.next = NULL
    if output.last == NULL:
        output.first = block
    else:
        output.last.next = block
    output.last = block


cdef inline void output_seal(Output *output) noexcept nogil:
    """Turn the tail into a block, so that something can be queued after it."""
    cdef Block *block
    if output.tail.used == 0:
        return
    block = block_new()
    block.data = output.tail.data
    block.size = output.tail.used
    block.release = _release_buffer
    block.ready = True
    memset(&output.tail, 0, sizeof(Buffer))
    _push(output, block)


cdef inline void output_append_block(Output *output, Block *block) noexcept nogil:
    output_seal(output)
    _push(output, block)


cdef inline void output_splice(Output *output, Output *other) noexcept nogil:
    """Move all that `other` holds after `output`; `other` (nothing of it sent) is left empty, maybe
    with a small buffer."""
    if other.first == NULL:
        buffer_append(&output.tail, other.tail.data, other.tail.used)
        other.tail.used = 0
        if other.tail.size > SPLICED_KEEP_BYTES:
            buffer_free(&other.tail)
        return
    output_seal(output)
    if output.last == NULL:
        output.first = other.first
    else:
        output.last.next = other.first
    output.last = other.last
    if output.tail.data != NULL:
        buffer_free(&output.tail)
    output.tail = other.tail
    memset(other, 0, sizeof(Output))


cdef inline bint output_empty(const Output *output) noexcept nogil:
    return output.first == NULL and output.tail.used == 0


cdef inline size_t output_bytes(const Output *output) noexcept nogil:
    """Bytes that are here and not yet sent. O(blocks)."""
    cdef size_t total = output.tail.used
    cdef const Block *block = output.first
    while block != NULL:
        total += block.size
        block = block.next
    return total - output.sent


cdef inline void output_free(Output *output) noexcept nogil:
    cdef Block *block = output.first
    cdef Block *following
    while block != NULL:
        following = block.next
        if block.ready:
            block_free(block)
        else:
            block.orphan = True     # whoever fills it frees it
        block = following
    buffer_free(&output.tail)
    memset(output, 0, sizeof(Output))


cdef inline void output_pop_block(Output *output) noexcept nogil:
    """Drop the first block, which is sent."""
    cdef Block *block = output.first
    output.first = block.next
    if output.first == NULL:
        output.last = NULL
    output.sent = 0
    block_free(block)


cdef inline void output_clear_tail(Output *output) noexcept nogil:
    """Forget the tail, which is sent."""
    output.sent = 0
    output.tail.used = 0
    if output.tail.size > OUTPUT_KEEP_BYTES:
        buffer_free(&output.tail)
