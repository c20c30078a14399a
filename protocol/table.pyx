"""The command table compiled to C arrays: what the scanner asks for every command.

A name is folded to upper case into 32 zero-padded bytes, so that hashing and comparing it is a
few word operations. Subcommands are in the same index under "CONTAINER|SUB"; a client cannot
reach them by sending such a name as argument 0.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from protocol.command_info import NOT_KEY, legacy_range
from protocol.commands import DeclarationError, F, Request
from protocol.native cimport likely, load32, load64, out_of_memory, unlikely
from protocol.numbers cimport parse_int64
from protocol.resp cimport Span

cdef enum:
    NAME_BYTES = 32
    NAME_WORDS = 4
    KEYWORD_BYTES_MAX = 15
    COMMANDS_MAX = 0xFFFE
    MIGRATE_OPTIONS = 6         # where MIGRATE's options start

cdef uint32_t NO_MANDATORY_KEYS = F.NO_MANDATORY_KEYS.value


cdef inline uint64_t upper(uint64_t word) noexcept nogil:
    """Fold the ASCII letters of eight bytes to upper case; other bytes stay."""
    cdef uint64_t low = word & <uint64_t>0x7F7F7F7F7F7F7F7F
    cdef uint64_t from_a = low + <uint64_t>0x1F1F1F1F1F1F1F1F       # bit 7: at or after "a"
    cdef uint64_t behind_z = low + <uint64_t>0x0505050505050505     # bit 7: after "z"
    return word - (((from_a ^ behind_z) & ~word & <uint64_t>0x8080808080808080) >> 2)


cdef struct Name:
    uint64_t words[NAME_WORDS]      # the folded name, zero-padded


cdef inline uint64_t short_word(const char *p, size_t n) noexcept nogil:
    """Up to seven bytes as a word, in registers: a copy to the stack would stall the load."""
    if n >= 4:
        return load32(p) | (<uint64_t>load32(p + n - 4) << (8 * (n - 4)))
    if n == 0:
        return 0
    return (<uint64_t><uint8_t>p[0] | (<uint64_t><uint8_t>p[n >> 1] << (8 * (n >> 1)))
            | (<uint64_t><uint8_t>p[n - 1] << (8 * (n - 1))))


cdef inline uint32_t fold(Name *name, const char *data, size_t n) noexcept nogil:
    """Make the Name of at most NAME_BYTES and return its hash."""
    cdef uint64_t hash = 0
    cdef uint64_t word
    cdef int i = 0
    memset(name, 0, sizeof(Name))
    while n >= 8:
        word = upper(load64(data))
        name.words[i] = word
        hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
        hash ^= hash >> 32
        data += 8
        n -= 8
        i += 1
    if n:
        word = upper(short_word(data, n))
        name.words[i] = word
        hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
        hash ^= hash >> 32
    return <uint32_t>hash


cdef inline bint same_name(const Name *a, const Name *b) noexcept nogil:
    return ((a.words[0] ^ b.words[0]) | (a.words[1] ^ b.words[1]) | (a.words[2] ^ b.words[2])
            | (a.words[3] ^ b.words[3])) == 0


cdef bint is_word(const char *data, size_t n, const char *word, size_t length) noexcept nogil:
    """Whether data is `word` (given in upper case), whatever its case."""
    cdef size_t i
    cdef char c
    if n != length:
        return False
    for i in range(n):
        c = data[i]
        if c >= c"a" and c <= c"z":
            c -= 32
        if c != word[i]:
            return False
    return True


cdef inline bint argument_is(const char *command, const Span *spans, uint32_t i, const char *word,
                             size_t length) noexcept nogil:
    return is_word(command + spans[i].offset, spans[i].length, word, length)


cdef class NativeTable:
    """A CommandTable for the scanner. Immutable once made."""

    def __cinit__(self, table):
        cdef uint32_t i
        cdef uint32_t size = 64
        cdef uint32_t specs = sum(len(declared.keys) for declared in table)
        self.table = table
        self.count = len(table)
        if self.count > COMMANDS_MAX:
            raise DeclarationError(f"{self.count} commands do not fit 16-bit ids")
        while size < self.count * 4:
            size *= 2
        self.index_mask = size - 1
        self.specs = <CommandSpec *>allocate(self.count, sizeof(CommandSpec))
        self.index = <uint16_t *>allocate(size, sizeof(uint16_t))
        self.names = <char *>allocate(self.count, NAME_BYTES)
        self.key_specs = <KeySpec *>allocate(specs, sizeof(KeySpec))
        specs = 0
        for i in range(self.count):
            self.compile_name(i)
            specs = <uint32_t>self.compile_command(i, specs)

    def __init__(self, table: object) -> None:
        pass

    def __dealloc__(self):
        free(self.specs)
        free(self.index)
        free(self.names)
        free(self.key_specs)

    cdef int compile_name(self, uint32_t id) except -1:
        cdef bytes name = self.table.by_id[id].name.encode()
        cdef uint32_t at
        if len(name) >= NAME_BYTES:
            raise DeclarationError(f"{name!r} is longer than {NAME_BYTES - 1} bytes")
        at = fold(&(<Name *>self.names)[id], name, len(name)) & self.index_mask
        while self.index[at]:
            at = (at + 1) & self.index_mask
        self.index[at] = <uint16_t>(id + 1)
        return 0

    cdef int64_t compile_command(self, uint32_t id, uint32_t first_spec) except -1:
        """Fill specs[id], and key_specs from first_spec on; returns where the next one's go."""
        cdef CommandSpec *spec = &self.specs[id]
        declared = self.table.by_id[id]
        assert declared.id == id
        spec.id = <uint16_t>id
        spec.arity = declared.arity
        spec.flags = declared.flags.value
        spec.place = declared.place.value
        spec.route_at = declared.route_at
        spec.logging = (LOG_VERBATIM if declared.verbatim else 0) | (
            LOG_APART if F.TOUCHES_ARBITRARY_KEYS in declared.flags else 0)
        spec.multi_shard = declared.request is Request.MULTI_SHARD
        spec.is_container = bool(declared.subcommands)
        spec.is_subcommand = declared.container is not None
        spec.key_spec_first = <uint16_t>first_spec
        if declared.name == "SORT":
            spec.extractor = EXTRACT_SORT
        elif declared.name == "MIGRATE":
            spec.extractor = EXTRACT_MIGRATE
        keys = [key for key in declared.keys if NOT_KEY not in key.flags.lower().split()]
        for key in keys:
            if key.first == 0 and not key.keyword:
                spec.incomplete = True
                continue        # a spec that says "unknown": an extractor finds these keys
            self.compile_keys(&self.key_specs[first_spec + spec.key_spec_count], declared, key)
            spec.key_spec_count += 1
        if not keys:
            spec.key_mode = KEYS_NONE
            return first_spec
        (first, last, step), movable = legacy_range(tuple(keys))
        spec.key_first, spec.key_last, spec.key_step = first, last, step
        plain = not movable and spec.extractor == EXTRACT_BY_SPECS and not spec.incomplete
        spec.key_mode = KEYS_RANGE if plain else KEYS_DECLARED
        return first_spec + spec.key_spec_count

    cdef int compile_keys(self, KeySpec *spec, declared, keys) except -1:
        cdef bytes keyword = keys.keyword.upper().encode()
        if keys.step < 1:
            raise DeclarationError(f"{declared.name}: a key step of {keys.step}")
        if len(keyword) > KEYWORD_BYTES_MAX:
            raise DeclarationError(f"{declared.name}: {keyword!r} is too long a keyword")
        if keys.count_at < 0 or (keys.first < 1 and not keyword):
            raise DeclarationError(f"{declared.name}: key positions count from argument 1")
        if not keyword and not keys.count_at and 0 < keys.last_index < keys.first:
            raise DeclarationError(f"{declared.name}: keys that end before they begin")
        spec.first = keys.first
        # After a keyword, positions count from the first key; without `last` it is the only one.
        spec.last = (keys.last or 0) if keyword else keys.last_index
        spec.step = keys.step
        spec.count_at = keys.count_at
        spec.limit = keys.limit
        spec.keyword_length = <uint8_t>len(keyword)
        memcpy(spec.keyword, <const char *>keyword, len(keyword))
        return 0

    cdef int32_t find(self, const char *name, size_t n) noexcept nogil:
        """The id of a name of 1 to NAME_BYTES bytes; -1: there is none."""
        cdef Name folded
        cdef uint32_t at
        cdef uint32_t id
        if unlikely(name[n - 1] == 0):
            return -1           # its own NULs must not pass for padding
        at = fold(&folded, name, n) & self.index_mask
        while self.index[at]:
            id = <uint32_t>self.index[at] - 1
            if likely(same_name(&folded, &(<Name *>self.names)[id])):
                return <int32_t>id
            at = (at + 1) & self.index_mask
        return -1

    cdef int32_t lookup(self, const char *command, const Span *spans, uint32_t argc) noexcept nogil:
        cdef char name[NAME_BYTES]
        cdef size_t n
        cdef size_t more
        cdef int32_t id
        if unlikely(argc == 0):
            return UNKNOWN_COMMAND
        n = spans[0].length
        if unlikely(n == 0 or n > NAME_BYTES):
            return UNKNOWN_COMMAND
        id = self.find(command + spans[0].offset, n)
        if unlikely(id < 0 or self.specs[id].is_subcommand):
            return UNKNOWN_COMMAND
        if likely(not self.specs[id].is_container or argc == 1):
            return id
        more = spans[1].length
        if more >= NAME_BYTES - n:
            return UNKNOWN_SUBCOMMAND
        memcpy(name, command + spans[0].offset, n)
        name[n] = c"|"
        memcpy(name + n + 1, command + spans[1].offset, more)
        id = self.find(name, n + 1 + more)
        return UNKNOWN_SUBCOMMAND if id < 0 else id

    cdef int32_t key_indexes(self, int32_t id, const char *command, const Span *spans,
                             uint32_t argc, uint32_t *indexes, uint32_t size) noexcept nogil:
        """O(arguments) at worst, O(keys) without a keyword."""
        cdef const CommandSpec *spec = &self.specs[id]
        cdef uint32_t found = 0
        cdef uint32_t i
        cdef int64_t last
        if spec.key_mode == KEYS_NONE:
            return 0
        if spec.key_mode == KEYS_RANGE:
            last = spec.key_last
            if last < 0:
                last += argc
            if not put_range(spec.key_first, last, spec.key_step, argc, indexes, size, &found):
                return -1
            return <int32_t>found
        if spec.extractor == EXTRACT_SORT:
            return sort_keys(command, spans, argc, indexes, size)
        if spec.extractor == EXTRACT_MIGRATE:
            return migrate_keys(command, spans, argc, indexes, size)
        for i in range(spec.key_spec_count):
            if not put_keys(&self.key_specs[spec.key_spec_first + i], command, spans, argc,
                            (spec.flags & NO_MANDATORY_KEYS) != 0, indexes, size, &found):
                return -1
        return <int32_t>found

    def __getattr__(self, name: str) -> object:
        # The class has a C method `lookup`, so a Python one cannot be defined under that name.
        if name == "lookup":
            return self.lookup_list
        raise AttributeError(f"NativeTable has no attribute {name!r}")

    def lookup_list(self, args: list[bytes]) -> int:
        """The id of the command with these arguments, or UNKNOWN_COMMAND, UNKNOWN_SUBCOMMAND."""
        cdef Arguments arguments = Arguments(args)
        return self.lookup(arguments.data, arguments.spans, arguments.count)

    def keys(self, int id, args: list[bytes]) -> list[int] | None:
        """The indexes of a command's keys; None when its arguments don't fit its key specs."""
        cdef Arguments arguments = Arguments(args)
        cdef uint32_t *indexes
        cdef int32_t count
        cdef uint32_t size
        if not 0 <= id < <int>self.count:
            return None
        # No spec yields an argument twice, but several specs may overlap.
        size = arguments.count * (self.specs[id].key_spec_count + 2)
        indexes = <uint32_t *>PyMem_Malloc((size + 1) * sizeof(uint32_t))
        if indexes == NULL:
            raise MemoryError
        try:
            count = self.key_indexes(id, arguments.data, arguments.spans, arguments.count,
                                     indexes, size)
            return None if count < 0 else [indexes[i] for i in range(count)]
        finally:
            PyMem_Free(indexes)

    def spec(self, int id) -> dict[str, int]:
        """The compiled fields of a command, for tests and tools."""
        if not 0 <= id < <int>self.count:
            raise IndexError(id)
        return self.specs[id]


cdef void *allocate(size_t count, size_t size) noexcept nogil:
    cdef void *memory = calloc(count + 1, size)
    if memory == NULL:
        out_of_memory(count * size)
    return memory


cdef class Arguments:
    """A list of arguments in the form the scanner leaves them in."""

    cdef bytes joined
    cdef const char *data
    cdef Span *spans
    cdef uint32_t count

    def __cinit__(self, list args not None):
        cdef size_t at = 0
        cdef uint32_t i
        self.joined = b"".join(args)
        self.data = self.joined
        self.count = <uint32_t>len(args)
        self.spans = <Span *>allocate(self.count, sizeof(Span))
        for i in range(self.count):
            self.spans[i].offset = at
            self.spans[i].length = <size_t>len(args[i])
            at += self.spans[i].length

    def __dealloc__(self):
        free(self.spans)


cdef inline void put(uint32_t *indexes, uint32_t size, uint32_t *found, uint32_t i) noexcept nogil:
    if found[0] < size:
        indexes[found[0]] = i
    found[0] += 1


cdef bint put_range(int64_t first, int64_t last, int64_t step, uint32_t argc, uint32_t *indexes,
                    uint32_t size, uint32_t *found) noexcept nogil:
    """Add first, first + step ... last. False when that leaves the arguments."""
    cdef int64_t i = first
    if first < 1 or last >= argc or last < first:
        return False
    while i <= last:
        put(indexes, size, found, <uint32_t>i)
        i += step
    return True


cdef int64_t find_keyword(const KeySpec *spec, const char *command, const Span *spans,
                          uint32_t argc) noexcept nogil:
    """The index after the keyword, or 0. Forward from a positive `first`, else backward.

    The last argument (backward: argument 1) is not looked at: nothing could follow it
    (backward: it is what the command works on).
    """
    cdef int64_t i = spec.first if spec.first > 0 else <int64_t>argc + spec.first
    cdef int64_t stop = <int64_t>argc - 1 if spec.first > 0 else 1
    cdef int64_t step = 1 if i <= stop else -1
    while i != stop and 1 <= i < argc:
        if argument_is(command, spans, <uint32_t>i, spec.keyword, spec.keyword_length):
            return i + 1
        i += step
    return 0


cdef int64_t leading_number(const char *text, size_t n) noexcept nogil:
    """What redis-server takes for a count of keys that is no number, such as 2x or 1.0; 0 if none.

    The command will be refused, but only after its keys have been looked at: in cluster mode they
    may be elsewhere. More digits than nine are never the count of arguments that are there.
    """
    cdef size_t i = 0
    cdef size_t first
    cdef int64_t number = 0
    while i < n and (text[i] == c" " or c"\t" <= text[i] <= c"\r"):
        i += 1
    if i < n and text[i] == c"+":
        i += 1
    while i < n and text[i] == c"0":
        i += 1
    first = i
    while i < n and c"0" <= text[i] <= c"9":
        if i - first == 9:
            return 0
        number = number * 10 + (text[i] - c"0")
        i += 1
    return number


cdef bint put_keys(const KeySpec *spec, const char *command, const Span *spans, uint32_t argc,
                   bint none_is_fine, uint32_t *indexes, uint32_t size,
                   uint32_t *found) noexcept nogil:
    """Add the keys of one spec. False when the arguments are invalid for it."""
    cdef int64_t first = spec.first
    cdef int64_t last = spec.last
    cdef int64_t keys
    if spec.count_at:
        if <uint32_t>spec.count_at >= argc:
            return False
        if not parse_int64(command + spans[spec.count_at].offset, spans[spec.count_at].length,
                           &keys):
            keys = leading_number(command + spans[spec.count_at].offset,
                                  spans[spec.count_at].length)
            if keys < 1:
                return False
        if keys == 0 and none_is_fine:
            return True
        if keys < 1 or keys > argc:
            return False
        return put_range(first, first + (keys - 1) * spec.step, spec.step, argc, indexes, size,
                         found)
    if spec.keyword_length:
        first = find_keyword(spec, command, spans, argc)
        if first == 0:
            return True         # an option that is not used
        if spec.limit > 1 and (<int64_t>argc - first) % spec.limit:
            return False        # keys without their ids, which the command will refuse
        if last >= 0:
            last += first
    if last < 0:
        if spec.limit:
            last += first + (<int64_t>argc - first) // spec.limit
        else:
            last += argc
    return put_range(first, last, spec.step, argc, indexes, size, found)


cdef int32_t sort_keys(const char *command, const Span *spans, uint32_t argc, uint32_t *indexes,
                       uint32_t size) noexcept nogil:
    """SORT: the key, and what STORE names; as in SORT itself the last STORE counts.

    Keys that BY and GET patterns make up are not known before the command runs.
    """
    cdef uint32_t found = 0
    cdef uint32_t target = 0
    cdef uint32_t i = 2
    if argc < 2:
        return -1
    put(indexes, size, &found, 1)
    while i < argc:
        if argument_is(command, spans, i, b"LIMIT", 5):
            i += 2
        elif argument_is(command, spans, i, b"GET", 3) or argument_is(command, spans, i, b"BY", 2):
            i += 1
        elif i + 1 < argc and argument_is(command, spans, i, b"STORE", 5):
            target = i + 1
        i += 1
    if target:
        put(indexes, size, &found, target)
    return <int32_t>found


cdef int32_t migrate_keys(const char *command, const Span *spans, uint32_t argc, uint32_t *indexes,
                          uint32_t size) noexcept nogil:
    """MIGRATE: argument 3, or when that is empty all after KEYS, the last option."""
    cdef uint32_t found = 0
    cdef uint32_t i = MIGRATE_OPTIONS
    if argc < 4:
        return -1
    while i < argc:
        if i + 1 < argc and argument_is(command, spans, i, b"KEYS", 4):
            if spans[3].length:
                return -1
            for i in range(i + 1, argc):
                put(indexes, size, &found, i)
            return <int32_t>found
        if argument_is(command, spans, i, b"AUTH", 4):
            i += 1
        elif argument_is(command, spans, i, b"AUTH2", 5):
            i += 2
        i += 1
    put(indexes, size, &found, 3)
    return <int32_t>found


globals().update(
    UNKNOWN_COMMAND=UNKNOWN_COMMAND,
    UNKNOWN_SUBCOMMAND=UNKNOWN_SUBCOMMAND,
    KEYS_NONE=KEYS_NONE,
    KEYS_RANGE=KEYS_RANGE,
    KEYS_DECLARED=KEYS_DECLARED,
)
