"""The glob kernel against a model that shares nothing with it: a cached recursive definition."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from shards.kernels.glob import match, matching

ALPHABET = b"abcA-]^[\\*?\x00\xff\x80"
strings = st.lists(st.sampled_from(ALPHABET), max_size=8).map(bytes)
patterns = st.lists(
    st.sampled_from([bytes([byte]) for byte in ALPHABET] + [b"a-c", b"[^", b"[a", b"\\]"]),
    max_size=9,
).map(b"".join)


def fold(byte: int, nocase: bool) -> int:
    return byte + 32 if nocase and 65 <= byte <= 90 else byte


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def parsed(pattern: bytes) -> list[tuple[str, Any]]:
    """The pattern as elements: ("star", None), ("any", None), ("byte", b), ("class", ...)."""
    elements: list[tuple[str, Any]] = []
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        if char == b"*":
            if not elements or elements[-1][0] != "star":
                elements.append(("star", None))
            at += 1
        elif char == b"?":
            elements.append(("any", None))
            at += 1
        elif char == b"[":
            negated = pattern[at + 1 : at + 2] == b"^"
            at += 2 if negated else 1
            members: list[tuple[str, int, int]] = []
            while at < len(pattern) and (pattern[at] != ord("]")):
                left = len(pattern) - at
                if pattern[at] == ord("\\") and left >= 2:
                    members.append(("exact", pattern[at + 1], 0))
                    at += 2
                elif left >= 3 and pattern[at + 1] == ord("-"):
                    members.append(("range", pattern[at], pattern[at + 2]))
                    at += 3
                else:
                    members.append(("byte", pattern[at], 0))
                    at += 1
            at += 1
            elements.append(("class", (negated, tuple(members))))
        else:
            if char == b"\\" and len(pattern) - at >= 2:
                at += 1
            elements.append(("byte", pattern[at]))
            at += 1
    return elements


def in_class(definition: Any, byte: int, nocase: bool) -> bool:
    negated, members = definition
    found = False
    for kind, first, last in members:
        if kind == "exact":
            found |= first == byte
        elif kind == "byte":
            found |= fold(first, nocase) == fold(byte, nocase)
        else:
            low, high = sorted((signed(first), signed(last)))
            if nocase:
                low, high = fold(low, True), fold(high, True)
            found |= low <= fold(signed(byte), nocase) <= high
    return found is not negated


def model(pattern: bytes, string: bytes, nocase: bool) -> bool:
    if not string:
        return not pattern
    elements = parsed(pattern)

    @cache
    def matches(at: int, here: int) -> bool:
        if at == len(elements):
            return here == len(string)
        kind, detail = elements[at]
        if kind == "star":
            return any(matches(at + 1, there) for there in range(here, len(string) + 1))
        if here == len(string):
            return False
        byte = string[here]
        if kind == "byte":
            assert isinstance(detail, int)
            fits = fold(detail, nocase) == fold(byte, nocase)
        else:
            fits = kind == "any" or in_class(detail, byte, nocase)
        return fits and matches(at + 1, here + 1)

    return matches(0, 0)


@given(patterns, strings, st.booleans())
@example(b"[^", b"a", False)
@example(b"[a-", b"-", False)
@example(b"[c-a]", b"b", False)
@example(b"[\x80-\xff]", b"\x90", False)
@example(b"[Z-a]", b"z", True)
@example(b"*a*b", b"aabab", False)
def test_the_kernel_agrees_with_the_model(pattern: bytes, string: bytes, nocase: bool) -> None:
    assert match(pattern, string, nocase) is model(pattern, string, nocase)


def test_an_abusive_pattern_costs_no_more_than_its_size_allows() -> None:
    started = time.process_time()
    assert not match(b"a*" * 500 + b"b", b"a" * 20_000)
    assert time.process_time() - started < 2


def test_more_than_a_thousand_stars_match_nothing() -> None:
    assert match(b"*a" * 1000, b"a" * 1000)
    assert not match(b"*a" * 1001, b"a" * 1001)
    assert match(b"*a" * 1000 + b"*", b"a" * 1001)


def test_the_empty_string_matches_only_the_empty_pattern() -> None:
    assert match(b"", b"")
    assert not match(b"*", b"")


def test_a_lone_star_takes_every_key_even_the_empty_one() -> None:
    assert matching(b"*", [b"", b"a"]) == [b"", b"a"]
    assert matching(b"**", [b"", b"a"]) == [b"a"]
