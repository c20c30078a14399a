"""Key extraction and name lookup against a model in plain Python."""

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.commands import Command, CommandTable, F, Keys, Place, Request, Response
from protocol.table import UNKNOWN_COMMAND, UNKNOWN_SUBCOMMAND, NativeTable

NO_FLAGS = F(0)


def declare(name: str, keys: tuple[Keys, ...] = (), flags: F = NO_FLAGS) -> Command:
    return Command(
        name=name,
        arity=-1,
        flags=flags,
        keys=keys,
        place=Place.SHARD,
        request=Request.DEFAULT,
        response=Response.DEFAULT,
        tips=(),
        acl=(),
        group="test",
        handler=None,
    )


# A range that ends before it begins is no declaration.
ranges = st.builds(
    Keys, st.integers(1, 4), st.sampled_from([None, -1, -2, 1, 2, 3, 4, 5]), st.integers(1, 3)
).filter(lambda spec: not 0 < spec.last_index < spec.first)
counted = st.integers(1, 3).flatmap(
    lambda at: st.builds(
        Keys, st.integers(at + 1, at + 2), step=st.integers(1, 2), count_at=st.just(at)
    )
)
keyword = st.builds(
    Keys,
    st.sampled_from([1, 2, 3, -1, -2]),
    st.sampled_from([None, -1, -2, 1]),
    st.integers(1, 2),
    keyword=st.sampled_from(["K", "ST"]),
)
limited = st.builds(
    Keys, st.sampled_from([1, 2]), st.just(-1), keyword=st.just("ST"), limit=st.integers(1, 3)
)
fake = st.builds(Keys, st.integers(1, 2), st.just(-1), flags=st.just("not_key"))
specs = st.lists(st.one_of(ranges, counted, keyword, limited, fake), max_size=3).map(tuple)
words = st.sampled_from([b"0", b"1", b"2", b"3", b"-1", b"01", b"k", b"K", b"st", b"ST", b"", b"x"])


def keys_of_spec(spec: Keys, args: list[bytes], none_is_fine: bool) -> list[int] | None:
    first = spec.first
    if spec.count_at:
        if spec.count_at >= len(args):
            return None
        text = args[spec.count_at]
        number = re.match(rb"[ \t-\r]*\+?0*(\d{1,9})(?!\d)", text)
        if number is None:
            return None
        if int(number[1]) == 0:
            return [] if none_is_fine and text == b"0" else None
        last = first + (int(number[1]) - 1) * spec.step
    elif spec.keyword:
        if spec.first > 0:
            start, stop = spec.first, len(args) - 1
        else:
            start, stop = len(args) + spec.first, 1
        order = range(start, stop) if start <= stop else range(start, stop, -1)
        found = [
            i for i in order if 1 <= i < len(args) and args[i].upper() == spec.keyword.encode()
        ]
        if not found or not 1 <= start < len(args):
            return []
        first = found[0] + 1
        if spec.limit > 1 and (len(args) - first) % spec.limit:
            return None
        last = spec.last or 0
        if last >= 0:
            last += first
        elif spec.limit:
            last += first + (len(args) - first) // spec.limit
        else:
            last += len(args)
    else:
        last = spec.last_index if spec.last_index > 0 else len(args) + spec.last_index
    if last >= len(args) or last < first:
        return None
    return list(range(first, last + 1, spec.step))


def joined(specs: tuple[Keys, ...]) -> bool:
    """Whether these specs make up one range without gap, which is then judged as a whole."""
    plain = all(not (s.keyword or s.count_at) and s.step == 1 for s in specs)
    return (
        len(specs) > 1
        and plain
        and all(0 < a.last_index == b.first - 1 for a, b in pairwise(specs))
    )


def keys_of(specs: tuple[Keys, ...], args: list[bytes], flags: F) -> list[int] | None:
    specs = tuple(spec for spec in specs if not spec.flags)
    if joined(specs):
        lasts = [spec.last_index for spec in specs]
        specs = (Keys(specs[0].first, lasts[-1] if lasts[-1] < 0 else max(lasts)),)
    found: list[int] = []
    for spec in specs:
        keys = keys_of_spec(spec, args, F.NO_MANDATORY_KEYS in flags)
        if keys is None:
            return None
        found += keys
    return found


@settings(max_examples=1000, deadline=None)
@given(specs, st.lists(words, max_size=8), st.sampled_from([F(0), F.NO_MANDATORY_KEYS]))
def test_keys_are_those_of_the_model(specs: tuple[Keys, ...], rest: list[bytes], flags: F) -> None:
    args = [b"X", *rest]
    native = NativeTable(CommandTable([declare("X", specs, flags)]))
    assert native.keys(0, args) == keys_of(specs, args, flags)


names = st.text(alphabet="ABZ-_19", min_size=1, max_size=15)


@settings(max_examples=300, deadline=None)
@given(
    st.sets(names, min_size=1, max_size=20),
    st.lists(st.tuples(names, names), max_size=10),
    st.lists(
        st.lists(
            st.one_of(
                names.map(str.encode),
                names.map(lambda n: n.lower().encode()),
                st.binary(max_size=40),
            ),
            min_size=1,
            max_size=2,
        ),
        max_size=10,
    ),
)
def test_names_are_looked_up_as_in_a_dictionary(
    plain: set[str], nested: list[tuple[str, str]], asked: list[list[bytes]]
) -> None:
    containers = {container for container, _ in nested}
    every = plain | containers | {f"{container}|{sub}" for container, sub in nested}
    table = CommandTable(declare(name) for name in every)
    native = NativeTable(table)
    known = [name.lower().encode().split(b"|") for name in every]
    for args in asked + known:
        folded = [arg.upper().decode("latin-1") for arg in args]
        if folded[0] not in every or "|" in folded[0]:
            expected = UNKNOWN_COMMAND
        elif folded[0] in containers and len(args) > 1:
            name = f"{folded[0]}|{folded[1]}"
            expected = table[name].id if name in table else UNKNOWN_SUBCOMMAND
        else:
            expected = table[folded[0]].id
        assert native.lookup(args) == expected
