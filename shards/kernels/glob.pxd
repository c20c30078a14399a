"""Glob patterns as KEYS, SCAN, PSUBSCRIBE and ACL rules understand them."""

# Whether the whole string matches. Reads nothing outside the two ranges; allocates nothing.
# O(pattern * string) at worst, whatever the pattern.
cdef bint glob_match(const char *pattern, size_t pattern_length, const char *string,
                     size_t string_length, bint nocase) noexcept nogil
