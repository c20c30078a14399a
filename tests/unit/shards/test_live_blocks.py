"""The count of live blocks, by which the suite finds leaks, knows the blocks of every structure."""

from __future__ import annotations

import gc

import pytest

from shards.memory.allocation import live_blocks
from tests.support.longest import Driver, Word, message

NUMBERS = range(1000)

COLLECTIONS: dict[str, tuple[list[Word], int]] = {  # a command, and the blocks it makes at least
    "string": (["SET", "key", "value"], 1),
    "blob": (["SET", "key", "x" * 100_000], 1),
    "listpack": (["RPUSH", "key", "a"], 2),
    "quicklist": (["RPUSH", "key", *(f"element:{n:0200}" for n in NUMBERS)], 40),
    "intset": (["SADD", "key", 1, 2, 3], 2),
    "dict of a set": (["SADD", "key", *(f"m{n}" for n in NUMBERS)], 100),
    "dict of a hash": (["HSET", "key", *(word for n in NUMBERS for word in (f"f{n}", "v"))], 100),
    "far members": (["SADD", "key", *(f"{n:0300}" for n in NUMBERS)], 1000),
    "tree of scores": (["ZADD", "key", *(word for n in NUMBERS for word in (n, f"m{n}"))], 1100),
    "stream": (["XADD", "key", "1-1", "field", "value"], 3),
}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_blocks_of_every_structure_are_counted(name: str) -> None:
    driver = Driver(native_lane=True)
    driver.execute(message("SET", "other", "x"))  # the database is there
    before = live_blocks()
    if before == 0:
        pytest.skip("release builds count no blocks")
    words, blocks = COLLECTIONS[name]
    driver.execute(message(*words))
    assert live_blocks() >= before + blocks
    driver.execute(message("DEL", "key"))
    driver.wait_for_reaper()
    gc.collect()
    # A slot's table may have come with the key, and may stay.
    assert live_blocks() <= before + 1
