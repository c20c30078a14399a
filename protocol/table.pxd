"""The command table compiled to C arrays, for the scanner: name to id, arity, keys, place."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t

from protocol.resp cimport Span

cdef enum KeyMode:
    KEYS_NONE = 0
    KEYS_RANGE = 1      # first, last, step: one range spec
    KEYS_DECLARED = 2   # several specs, count_at or keyword: keys_extract() decides

cdef enum:
    UNKNOWN_COMMAND = -1
    UNKNOWN_SUBCOMMAND = -2

cdef struct CommandSpec:
    uint16_t id
    int16_t arity
    uint32_t flags          # protocol.commands.F
    uint8_t place           # protocol.commands.Place
    uint8_t key_mode
    int16_t key_first
    int16_t key_last        # negative counts from the end, as in COMMAND INFO
    int16_t key_step
    uint8_t route_at
    uint8_t incomplete      # its specs do not name all keys: with options it may need any
    uint8_t multi_shard     # its request policy is MULTI_SHARD
    uint8_t is_container    # has subcommands: argument 1 selects one
    uint8_t is_subcommand   # its name is "container|sub": never found by argument 0 alone
    uint8_t extractor       # KeyExtractor
    uint8_t key_spec_count
    uint8_t logging         # CommandLogging
    uint16_t key_spec_first # index into key_specs

cdef enum CommandLogging:   # bits
    LOG_VERBATIM = 1        # it may be logged as it came
    LOG_APART = 2           # keys that expire on its way are logged one by one

cdef enum KeyExtractor:
    EXTRACT_BY_SPECS = 0
    EXTRACT_SORT = 1        # the specs of these two cannot say where all keys are
    EXTRACT_MIGRATE = 2

cdef struct KeySpec:        # one protocol.commands.Keys that names real keys
    int16_t first           # with a keyword: where its search starts, negative from the end
    int16_t last            # with a keyword: from the first key on, negative from the end
    int16_t step
    int16_t count_at        # 0: a range
    int16_t limit
    uint8_t keyword_length  # 0: none
    char keyword[15]        # upper case

cdef class NativeTable:
    cdef CommandSpec *specs         # owned; indexed by id
    cdef uint32_t count
    cdef uint16_t *index  # owned; open addressing by the folded name, value id + 1, 0 empty
    cdef uint32_t index_mask
    cdef KeySpec *key_specs         # owned; those of one command are together
    cdef char *names                # owned; folded, 32 bytes each, NUL padded, "container|sub"
    cdef readonly object table      # protocol.commands.CommandTable

    # Id of the command whose name is spans[0] (and spans[1] for containers), in any case. O(1).
    cdef int32_t lookup(self, const char *command, const Span *spans, uint32_t argc) noexcept nogil
    # Indexes (into spans) of the keys of a command; returns how many, -1 when the arguments are
    # invalid for its specs. At most `size` are written. Works for every KeyMode.
    cdef int32_t key_indexes(self, int32_t id, const char *command,
                             const Span *spans, uint32_t argc,
                             uint32_t *indexes, uint32_t size) noexcept nogil

    cdef int32_t find(self, const char *name, size_t n) noexcept nogil
    cdef int compile_name(self, uint32_t id) except -1
    cdef int64_t compile_command(self, uint32_t id, uint32_t first_spec) except -1
    cdef int compile_keys(self, KeySpec *spec, declared, keys) except -1
