"""What only native code calls of the keyspace, through a kernel compiled for the tests."""

from __future__ import annotations

import importlib.util
import random
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from Cython.Build import cythonize
from setuptools import Distribution, Extension  # type: ignore[import-untyped]

from shards.keyspace.keyspace import Keyspace
from shards.memory.allocation import live_blocks

ROOT = Path(__file__).parents[3]
MIB = 1024 * 1024
MASK = 2**64 - 1


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = str(tmp_path_factory.mktemp("keyspace_native"))
    source = str(Path(__file__).with_name("keyspace_native.pyx"))
    extensions = cythonize(  # type: ignore[no-untyped-call]
        [
            Extension(
                "keyspace_native", [source], extra_compile_args=["-O1", "-fno-strict-aliasing"]
            )
        ],
        include_path=[str(ROOT)],
        build_dir=folder,
        quiet=True,
        compiler_directives={"language_level": 3, "wraparound": False, "cdivision": True},
    )
    command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = folder
    command.ensure_finalized()
    command.run()
    path = command.get_ext_fullpath("keyspace_native")
    spec = importlib.util.spec_from_file_location("keyspace_native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def siphash(seed: tuple[int, int], data: bytes, rounds: tuple[int, int]) -> int:
    """SipHash from its paper, with any number of rounds."""
    v = [
        seed[0] ^ 0x736F6D6570736575,
        seed[1] ^ 0x646F72616E646F6D,
        seed[0] ^ 0x6C7967656E657261,
        seed[1] ^ 0x7465646279746573,
    ]

    def rotate(x: int, bits: int) -> int:
        return (x << bits | x >> (64 - bits)) & MASK

    def mix() -> None:
        v[0] = (v[0] + v[1]) & MASK
        v[1] = rotate(v[1], 13) ^ v[0]
        v[0] = rotate(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK
        v[1] = rotate(v[1], 17) ^ v[2]
        v[2] = rotate(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        for _ in range(rounds[0]):
            mix()
        v[0] ^= word
    v[2] ^= 255
    for _ in range(rounds[1]):
        mix()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_hash_is_siphash_1_3(native: ModuleType) -> None:
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    # The example of the paper's appendix holds the model; the model holds the kernel.
    assert siphash(key, bytes(range(15)), (2, 4)) == 0xA129CA6149BE45E5
    chance = random.Random(1)
    for length in range(70):
        data = chance.randbytes(length)
        seed = (chance.getrandbits(64), chance.getrandbits(64))
        assert native.hash13(*seed, data) == siphash(seed, data, (1, 3))


def test_homes_are_visited_so_that_larger_tables_only_split_them(native: ModuleType) -> None:
    for bits in range(2, 12):
        size = 2**bits
        order = native.homes(size - 1)
        assert sorted(order) == list(range(size))
        assert order == [int(f"{n:0{bits}b}"[::-1], 2) for n in range(size)]
    assert native.reversed_bits(1) == 2**63
    assert native.reversed_bits(0xF0F0 << 32) == 0x0F0F0000


def test_the_tree_counts_and_finds(native: ModuleType) -> None:
    tree = native.Tree()
    assert tree.next(0) == 16384
    chance = random.Random(2)
    counts: dict[int, int] = {}
    for slot in [0, 16383, *chance.sample(range(16384), 50)]:
        counts[slot] = chance.randrange(1, 5)
        tree.add(slot, counts[slot])
    ranks = [slot for slot in sorted(counts) for _ in range(counts[slot])]
    assert [tree.find(rank) for rank in range(len(ranks))] == ranks
    assert tree.find(len(ranks)) == 16384
    for slot in range(0, 16384, 97):
        assert tree.before(slot) == sum(n for at, n in counts.items() if at < slot)
        assert tree.next(slot) == min((at for at in counts if at >= slot), default=16384)
    for slot, count in counts.items():
        tree.add(slot, -count)
    assert tree.next(0) == 16384


def test_a_reply_keeps_the_bytes_it_was_given(native: ModuleType) -> None:
    blocks = live_blocks()
    keyspace = Keyspace()
    value = random.Random(3).randbytes(100_000)
    keyspace.set_string(0, b"key", value)
    reply = native.Reply(keyspace, b"key")
    assert keyspace.append(0, b"key", b"more") == 100_004
    assert keyspace.set_range(0, b"key", 0, b"head") == 100_004
    assert reply.data == value
    assert reply.references == 1
    second = native.Reply(keyspace, b"key")
    keyspace.set_string(0, b"key", b"z" * 100_004)
    assert second.data == b"head" + value[4:] + b"more"
    third = native.Reply(keyspace, b"key")
    keyspace.delete(0, b"key")
    assert third.data == b"z" * 100_004
    keyspace.check()
    del reply, second, third, keyspace
    assert live_blocks() == blocks


def test_a_received_blob_is_stored_as_it_is_and_copied_when_it_changes(native: ModuleType) -> None:
    keyspace = Keyspace()
    native.set_foreign(keyspace, b"key", b"a" * 70_000)
    keyspace.check()
    assert keyspace.read_string(0, b"key") == b"a" * 70_000
    keyspace.copy(0, b"key", b"copy", 1)
    keyspace.rename(0, b"key", b"other")
    keyspace.check()
    assert native.foreign_blobs() == 1
    keyspace.append(0, b"other", b"b")
    keyspace.set_range(1, b"copy", 1, b"c")
    assert native.foreign_blobs() == 0
    assert keyspace.read_string(0, b"other") == b"a" * 70_000 + b"b"
    keyspace.check()
    native.set_foreign(keyspace, b"other", b"d" * 100)
    assert keyspace.encoding(0, b"other") == b"raw"
    assert keyspace.read_string(0, b"other") == b"d" * 100
    keyspace.check()
    del keyspace
    assert native.foreign_blobs() == 0


def test_a_detached_database_is_freed_on_another_thread(native: ModuleType) -> None:
    blocks = live_blocks()
    keyspace = Keyspace()
    idle = keyspace.used_memory
    for n in range(5000):
        keyspace.set_string(3, b"%d" % n, b"x" * (n % 100), 2 * n)
    keyspace.set_string(3, b"blob", bytes(2 * MIB))
    detached: Any = native.Detached(keyspace, 3)
    assert keyspace.used_memory == idle
    assert keyspace.size(3) == 0
    thread = threading.Thread(target=detached.free)
    thread.start()
    for n in range(5000):
        keyspace.set_string(3, b"%d" % n, b"again")
    thread.join()
    keyspace.check()
    del keyspace
    assert live_blocks() == blocks
    native.Detached(Keyspace(), 0).free()


def test_large_blobs_are_handed_over_instead_of_freed(native: ModuleType) -> None:
    keyspace = Keyspace()
    native.hand_over_large_blobs(keyspace)
    keyspace.set_string(0, b"small", bytes(MIB))
    keyspace.set_string(0, b"large", bytes(MIB + 1))
    keyspace.copy(0, b"large", b"copy", 0)
    keyspace.delete(0, b"small")
    assert native.handed_over_length() is None
    keyspace.set_string(0, b"large", b"")
    assert native.handed_over_length() is None
    keyspace.delete(0, b"copy")
    assert native.handed_over_length() == MIB + 1
    keyspace.check()


def test_opening_a_string_never_shortens_it(native: ModuleType) -> None:
    keyspace = Keyspace()
    native.open_string(keyspace, b"new", 3, 1, 7)
    assert keyspace.read_string(0, b"new") == b"\0\x07\0"
    keyspace.set_string(0, b"number", b"1234567890")
    native.open_string(keyspace, b"number", 2, 0, ord("9"))
    assert keyspace.read_string(0, b"number") == b"9234567890"
    keyspace.set_string(0, b"blob", b"b" * 100_000)
    native.open_string(keyspace, b"blob", 2, 0, ord("B"))
    assert keyspace.read_string(0, b"blob") == b"B" + b"b" * 99_999
    native.open_string(keyspace, b"new", 70_000, 69_999, 1)
    assert keyspace.read_string(0, b"new") == b"\0\x07" + bytes(69_997) + b"\x01"
    keyspace.check()


def test_a_string_of_digits_is_an_integer_however_it_is_encoded(native: ModuleType) -> None:
    keyspace = Keyspace()
    for value, raw, number in (
        (b"12", False, 12),
        (b"12", True, 12),
        (b"-9223372036854775808", True, -(2**63)),
        (b"9223372036854775808", False, None),
        (b"012", False, None),
        (b"", False, None),
        (b"1" * 70_000, False, None),
    ):
        keyspace.set_string(0, b"key", value, raw=raw)
        assert native.integer(keyspace, b"key") == number


def test_prefetching_changes_nothing(native: ModuleType) -> None:
    keyspace = Keyspace()
    keyspace.set_string(0, b"{a}1", b"x")
    used = keyspace.used_memory
    for key in (b"{a}1", b"{a}2", b"other", b""):
        for database in (0, 1):
            native.prefetch(keyspace, key, database)
    assert keyspace.used_memory == used
    assert keyspace.hits == keyspace.misses == 0


def test_a_list_changes_its_encoding_at_the_limit_and_at_half_of_it(native: Any) -> None:
    keyspace = Keyspace()
    assert native.push(keyspace, 0, b"list", [b"%d" % n for n in range(8)], 8) == 8
    assert (keyspace.type(0, b"list"), keyspace.encoding(0, b"list")) == (b"list", b"listpack")
    assert native.push(keyspace, 0, b"list", [b"8"] * 5, 8) == 13
    assert keyspace.encoding(0, b"list") == b"quicklist"
    assert not native.trim_front(keyspace, 0, b"list", 8, 8)
    assert keyspace.encoding(0, b"list") == b"quicklist"
    assert not native.trim_front(keyspace, 0, b"list", 1, 8)
    assert keyspace.encoding(0, b"list") == b"listpack"
    assert native.trim_front(keyspace, 0, b"list", 4, 8)
    assert not keyspace.exists(0, b"list")
    keyspace.check()


def test_collections_are_moved_copied_overwritten_and_counted_like_strings(native: Any) -> None:
    """Random operations on a few keys in two databases; the memory is recounted after each."""
    random.seed(6)
    blocks = live_blocks()
    keyspace = Keyspace()
    keyspace.tune(incremental_min=4, step=1)
    keyspace.now_ms = 1000
    keyspace.start_reaper()
    model: list[dict[bytes, int | None]] = [{}, {}]  # the length of a list; None for a string
    keys = [b"{x}%d" % n for n in range(6)]
    for _ in range(3000):
        here = random.randrange(2)
        key, other = random.choice(keys), random.choice(keys)
        data = model[here]
        choice = random.randrange(9)
        if choice <= 2 and data.get(key, 0) is not None:
            some = [random.choice([b"1", b"x" * 30, b"y" * 300])] * random.randrange(1, 80)
            length = data[key] = (data.get(key) or 0) + len(some)
            assert native.push(keyspace, here, key, some, 10) == length
        elif choice == 3 and data.get(key):
            count = random.randrange(1, 100)
            left = (data[key] or 0) - count
            assert native.trim_front(keyspace, here, key, count, 10) == (left <= 0)
            if left <= 0:
                del data[key]
            else:
                data[key] = left
        elif choice == 4 and key in data:
            keyspace.rename(here, key, other)
            data[other] = data.pop(key)
        elif choice == 5 and key in data:
            keyspace.copy(here, key, other, 1 - here)
            model[1 - here][other] = data[key]
        elif choice == 6 and key in data:
            keyspace.move(here, key, 1 - here)
            model[1 - here][key] = data.pop(key)
        elif choice == 7:
            if random.random() < 0.5:
                keyspace.set_string(here, key, b"string")
                data[key] = None
            else:
                keyspace.delete(here, key)
                data.pop(key, None)
        elif choice == 8 and random.random() < 0.05:
            keyspace.flush(here, random.random() < 0.5)
            data.clear()
        keyspace.check()
        for database in range(2):
            assert set(keyspace.keys(database)) == set(model[database])
        for name, length in data.items():
            assert keyspace.type(here, name) == (b"string" if length is None else b"list")
            assert (keyspace.memory_usage(here, name) or 0) > 20
    assert keyspace.lazyfreed > 0
    empty = Keyspace().used_memory
    for database in range(2):
        keyspace.flush(database)
    assert keyspace.used_memory <= empty + 4096
    del keyspace
    assert live_blocks() == blocks


def test_a_large_collection_is_freed_by_the_reaper(native: Any) -> None:
    keyspace = Keyspace()
    keyspace.start_reaper()
    empty = keyspace.used_memory
    native.push(keyspace, 0, b"list", [random.randbytes(100) for _ in range(30_000)], -2)
    full = keyspace.used_memory
    assert full - empty > 3_000_000
    assert keyspace.memory_usage(0, b"list") == pytest.approx(full - empty, rel=0.1)
    keyspace.delete(0, b"list")
    assert keyspace.used_memory < empty + 300_000
    limit = time.monotonic() + 30
    while keyspace.lazyfree_pending:
        assert time.monotonic() < limit, "the reaper does not free"
    assert keyspace.lazyfreed == 1
