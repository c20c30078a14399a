"""Glob patterns: `*`, `?`, `[a-z]`, `[^x]` and backslash, over bytes.

What surprises, and is kept because clients see it (tests/property/test_glob.py):

1. `*` alone does not match the empty string here; callers treat that pattern as "everything".
2. A class without its closing bracket ends where the pattern ends. `[^` alone is any byte.
3. A range whose ends are the wrong way round is turned; bytes compare as signed chars.
4. A pattern with more than NESTING_MAX groups of stars that are not its end matches nothing.

A failed attempt goes back to the last star only: an earlier star could merely hand the same rest of
the pattern a shorter rest of the string. So the cost stays O(pattern * string).
"""

cdef enum:
    NESTING_MAX = 1000


cdef inline int lower(int byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


cdef bint class_match(const signed char *pattern, size_t end, size_t *position, int byte,
                      bint nocase) noexcept nogil:
    """Match a byte against the class that opens before `position`; step after it. O(class)."""
    cdef size_t at = position[0]
    cdef bint negated = at < end and pattern[at] == b"^"
    cdef bint found = False
    cdef int first, last, wanted
    if negated:
        at += 1
    while at < end:
        if pattern[at] == b"\\" and end - at >= 2:
            at += 1
            # An escaped byte is compared as it is, even when case is ignored.
            if pattern[at] == byte:
                found = True
        elif pattern[at] == b"]":
            at += 1
            break
        elif end - at >= 3 and pattern[at + 1] == b"-":
            first, last, wanted = pattern[at], pattern[at + 2], byte
            if first > last:
                first, last = last, first
            if nocase:
                first, last, wanted = lower(first), lower(last), lower(wanted)
            at += 2
            if first <= wanted <= last:
                found = True
        elif pattern[at] == byte or (nocase and lower(pattern[at]) == lower(byte)):
            found = True
        at += 1
    position[0] = at
    return found != negated


cdef bint glob_match(const char *pattern_bytes, size_t pattern_length, const char *string_bytes,
                     size_t string_length, bint nocase) noexcept nogil:
    cdef const signed char *pattern = <const signed char *>pattern_bytes
    cdef const signed char *string = <const signed char *>string_bytes
    cdef size_t at = 0              # in the pattern
    cdef size_t here = 0            # in the string
    cdef size_t star = 0            # after the last star; valid when starred
    cdef size_t star_here = 0       # where the string stood for the current attempt after it
    cdef bint starred = False
    cdef bint matched
    cdef int groups = 0
    cdef int literal
    if string_length == 0:
        return pattern_length == 0
    while True:
        if here == string_length:
            while at < pattern_length and pattern[at] == b"*":
                at += 1
            # Starting later leaves less of a string that was already too short. A pattern that is
            # used up ends the match; any rest of it can't be satisfied.
            return at == pattern_length
        if at < pattern_length and pattern[at] == b"*":
            while at < pattern_length and pattern[at] == b"*":
                at += 1
            if at == pattern_length:
                return True
            groups += 1
            if groups > NESTING_MAX:
                return False
            starred = True
            star = at
            star_here = here
            continue
        matched = False
        if at < pattern_length:
            if pattern[at] == b"?":
                at += 1
                matched = True
            elif pattern[at] == b"[":
                at += 1
                matched = class_match(pattern, pattern_length, &at, string[here], nocase)
            else:
                if pattern[at] == b"\\" and pattern_length - at >= 2:
                    at += 1
                literal = pattern[at]
                at += 1
                matched = literal == string[here] or (
                    nocase and lower(literal) == lower(string[here])
                )
        if matched:
            here += 1
        elif starred:
            star_here += 1
            here = star_here
            at = star
        else:
            return False


def match(bytes pattern not None, bytes string not None, bint nocase=False):
    """Whether the whole string matches the pattern. O(len(pattern) * len(string)) at worst."""
    return glob_match(pattern, len(pattern), string, len(string), nocase)


def matching(bytes pattern not None, keys, bint nocase=False):
    """Those of the keys that match, in their order. The pattern `*` takes all of them."""
    cdef const char *data = pattern
    cdef size_t n = len(pattern)
    cdef bytes key
    if n == 1 and data[0] == b"*":
        return list(keys)
    return [key for key in keys if glob_match(data, n, key, len(key), nocase)]
