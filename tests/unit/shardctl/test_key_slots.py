"""shardctl's slots are the server's, and it needs nothing of the server that has to be built."""

from __future__ import annotations

import itertools
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from protocol import slots
from shardctl.key_slots import SLOTS, Owners, key_slot
from tests.meta.sources import PACKAGES, ROOT

KEYS = st.lists(st.one_of(st.sampled_from([b"{", b"}"]), st.binary(max_size=4))).map(b"".join)


def test_there_are_as_many_slots_as_in_the_server() -> None:
    assert slots.SLOTS == SLOTS


@given(key=KEYS)
def test_every_key_has_the_slot_that_the_server_gives_it(key: bytes) -> None:
    assert key_slot(key) == slots.key_slot(key)


@given(bounds=st.sets(st.integers(0, SLOTS - 1)), data=st.data())
def test_the_owner_of_a_slot_is_whose_range_has_it(bounds: set[int], data: st.DataObject) -> None:
    edges = sorted(bounds)
    ranges = [
        {"first": first, "last": following - 1, "shard": number}
        for number, (first, following) in enumerate(itertools.pairwise(edges))
        if data.draw(st.booleans())
    ]
    owners = Owners(data.draw(st.permutations(ranges)))
    for slot in {*edges, *(edge - 1 for edge in edges), 0, SLOTS - 1}:
        owned = [one["shard"] for one in ranges if one["first"] <= slot <= one["last"]]
        assert owners.of(slot) == (owned[0] if owned else None)


def test_shardctl_loads_none_of_the_server_s_kernels() -> None:
    script = (
        "import sys, shardctl.main\n"
        f"print([name for name, module in sys.modules.items() if"
        f" name.partition('.')[0] in {PACKAGES!r}"
        " and (getattr(module, '__file__', None) or '').endswith('.so')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
