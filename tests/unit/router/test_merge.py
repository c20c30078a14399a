"""Merging replies of shards: against a small RESP writer and reader that know only values."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import Response
from protocol.replies import ReplyError, elements, replies, reply_end
from router import merge

LEAVES = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda value: b":%d\r\n" % value),
    st.binary(max_size=20).map(lambda value: b"$%d\r\n%b\r\n" % (len(value), value)),
    st.binary(max_size=9).map(lambda value: b"=%d\r\ntxt:%b\r\n" % (len(value) + 4, value)),
    st.sampled_from(
        [b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(123\r\n", b"+OK\r\n",
         b"-ERR x\r\n", b"!3\r\nE x\r\n", b"*0\r\n", b"%0\r\n"]
    ),
)  # fmt: skip


def nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    lists = st.lists(inner, max_size=4)
    return st.one_of(
        st.tuples(st.sampled_from([b"*", b"~", b">"]), lists).map(
            lambda pair: b"%b%d\r\n%b" % (pair[0], len(pair[1]), b"".join(pair[1]))
        ),
        st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda pairs: b"%%%d\r\n%b" % (len(pairs), b"".join(k + v for k, v in pairs))
        ),
        st.tuples(inner, inner, inner).map(
            lambda three: b"|1\r\n%b%b%b" % (three[0], three[1], three[2])
        ),
    )


RAW = st.recursive(LEAVES, nested, max_leaves=12)


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def array(*items: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(items), b"".join(items))


@given(st.lists(RAW, max_size=6))
def test_replies_are_cut_where_they_were_joined(items: list[bytes]) -> None:
    assert replies(b"".join(items)) == items
    assert elements(array(*items)) == items


@given(RAW, st.data())
def test_an_incomplete_reply_is_refused(raw: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(ReplyError):
        reply_end(raw[:cut])


@given(st.binary(max_size=40))
def test_arbitrary_bytes_never_do_harm(raw: bytes) -> None:
    for action in (reply_end, replies, elements):
        try:
            action(raw)
        except ReplyError:
            continue


@pytest.mark.parametrize(
    "raw",
    [b"*999999999999999999\r\n", b"$999999999999999999\r\n", b"*1\r\n" * 50, b"$3\r\nabcd\r\n",
     b"%9223372036854775807\r\n", b"*-2\r\n", b"x\r\n", b"", b"$1", b"$1\r", b"|1\r\n"],
)  # fmt: skip
def test_lengths_are_never_trusted(raw: bytes) -> None:
    with pytest.raises(ReplyError):
        reply_end(raw)


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=6))
def test_integers_are_combined(values: list[int]) -> None:
    raw = [b":%d\r\n" % value for value in values]
    expected = {
        Response.AGG_SUM: sum(values),
        Response.AGG_MIN: min(values),
        Response.AGG_MAX: max(values),
        Response.AGG_LOGICAL_AND: int(all(values)),
        Response.AGG_LOGICAL_OR: int(any(values)),
    }
    for policy, value in expected.items():
        assert merge.merge(policy, raw) == b":%d\r\n" % value


def test_arrays_of_integers_are_combined_by_position() -> None:
    rows = [array(b":1\r\n", b":1\r\n"), array(b":1\r\n", b":0\r\n")]
    assert merge.agg_logical_and(rows) == array(b":1\r\n", b":0\r\n")
    with pytest.raises(ReplyError):
        merge.agg_sum([array(b":1\r\n"), array()])


def test_an_error_wins_where_all_must_succeed() -> None:
    raw = [b"+OK\r\n", b"-ERR first\r\n", b"-ERR second\r\n"]
    assert merge.merge(Response.ALL_SUCCEEDED, raw) == b"-ERR first\r\n"
    assert merge.merge(Response.ONE_SUCCEEDED, raw) == b"+OK\r\n"
    assert merge.merge(Response.ONE_SUCCEEDED, raw[1:]) == b"-ERR first\r\n"
    assert merge.merge(Response.AGG_SUM, [b":1\r\n", raw[1]]) == b"-ERR first\r\n"
    assert merge.interleave([array(), raw[1]], [[], [0]]) == b"-ERR first\r\n"


@given(st.lists(st.lists(LEAVES, max_size=4), min_size=1, max_size=4))
def test_arrays_are_concatenated(rows: list[list[bytes]]) -> None:
    merged = merge.merge(Response.DEFAULT, [array(*row) for row in rows])
    assert elements(merged) == [item for row in rows for item in row]


def test_sets_and_maps_keep_their_kind() -> None:
    assert merge.concatenate([b"~1\r\n:1\r\n", b"~1\r\n:2\r\n"]) == b"~2\r\n:1\r\n:2\r\n"
    merged = merge.concatenate([b"%1\r\n:1\r\n:2\r\n", b"%0\r\n", b"%1\r\n:3\r\n:4\r\n"])
    assert merged == b"%2\r\n:1\r\n:2\r\n:3\r\n:4\r\n"
    with pytest.raises(ReplyError):
        merge.concatenate([b"*0\r\n", b"~0\r\n"])


@given(st.lists(LEAVES, min_size=1, max_size=12), st.integers(1, 4), st.data())
def test_elements_return_to_their_positions(
    items: list[bytes], shards: int, data: st.DataObject
) -> None:
    owners = data.draw(st.lists(st.integers(0, shards - 1), min_size=len(items),
                                max_size=len(items)))  # fmt: skip
    positions = [[at for at, owner in enumerate(owners) if owner == s] for s in range(shards)]
    raw = [array(*(items[at] for at in places)) for places in positions]
    assert merge.interleave(raw, positions) == array(*items)


def test_positions_that_do_not_fit_are_refused() -> None:
    for positions in ([[0, 1]], [[]]):
        with pytest.raises(ReplyError):
            merge.interleave([array(b":1\r\n")], positions)


def test_random_key_follows_the_sizes_and_leaves_out_empty_shards() -> None:
    random = Random(1)
    raw = [bulk(b"a"), b"$-1\r\n", bulk(b"b")]
    counts: dict[Any, int] = {}
    for _ in range(4000):
        chosen = merge.random_key(raw, [300, 5, 100], random)
        counts[chosen] = counts.get(chosen, 0) + 1
    assert set(counts) == {raw[0], raw[2]}
    assert 2850 < counts[raw[0]] < 3150
    assert merge.random_key([b"_\r\n", b"_\r\n"], [0, 0], random) == b"_\r\n"
