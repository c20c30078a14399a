"""Glob patterns as Redis writes them (`*`, `?`, `[a-z]`, `[^a]`, backslash), for control commands.

For names of commands and directives, in Python; keys are matched by the shards' native matcher.
"""

from __future__ import annotations


def glob_match(pattern: bytes, text: bytes, nocase: bool = False) -> bool:
    """Whether the whole text matches. O(pattern * text), never exponential.

    Only the last star is ever tried again: what an earlier one matched cannot help any more.
    """
    if nocase:
        pattern, text = pattern.lower(), text.lower()
    at = read = 0
    star, resume = -1, 0
    while read < len(text):
        if at < len(pattern) and pattern[at] == 0x2A:  # *
            star, resume = at, read
            at += 1
            continue
        end = _match_one(pattern, at, text[read]) if at < len(pattern) else -1
        if end >= 0:
            at, read = end, read + 1
        elif star >= 0:
            resume += 1
            at, read = star + 1, resume
        else:
            return False
    return pattern[at:].strip(b"*") == b""


def _match_one(pattern: bytes, at: int, byte: int) -> int:
    """Where the pattern goes on after one matched byte; -1 when it does not match."""
    kind = pattern[at]
    if kind == 0x3F:  # ?
        return at + 1
    if kind == 0x5B:  # [
        return _match_class(pattern, at + 1, byte)
    if kind == 0x5C and at + 1 < len(pattern):  # backslash
        at += 1
    return at + 1 if pattern[at] == byte else -1


def _match_class(pattern: bytes, at: int, byte: int) -> int:
    negated = at < len(pattern) and pattern[at] == 0x5E  # ^
    at += negated
    found = False
    # An unclosed class ends with the pattern, as in Redis.
    while at < len(pattern) and pattern[at] != 0x5D:
        if pattern[at] == 0x5C and at + 1 < len(pattern):
            at += 1
            found |= pattern[at] == byte
            at += 1
        elif at + 2 < len(pattern) and pattern[at + 1] == 0x2D:  # a-z, and z-a the same
            low, high = sorted((pattern[at], pattern[at + 2]))
            found |= low <= byte <= high
            at += 3
        else:
            found |= pattern[at] == byte
            at += 1
    return min(at + 1, len(pattern)) if found != negated else -1
