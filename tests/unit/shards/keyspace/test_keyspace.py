"""The keyspace by what Python sees of it: figures, encodings, expiry, LRU and LFU, blobs, fairness.

The property tests compare whole histories with a model; here are the facts a reader may look up.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable

import pytest

from protocol.slots import key_slot
from shards.keyspace.keyspace import Keyspace
from shards.lane.effects import Effects
from shards.memory.allocation import live_blocks

NOW_MS = 1_700_000_000_000
MIB = 1024 * 1024


@pytest.fixture
def keyspace() -> Keyspace:
    keyspace = Keyspace()
    keyspace.now_ms = NOW_MS
    return keyspace


def check_all_gone(keyspace: Keyspace, idle_memory: int) -> None:
    """Nothing but pointer arrays and trees may be left once a database is empty."""
    keyspace.check()
    assert keyspace.size(0) == 0
    keyspace.flush(0)
    assert keyspace.used_memory == idle_memory


# Values and encodings


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (b"", b"embstr"),
        (b"0", b"int"),
        (b"-1", b"int"),
        (b"9223372036854775807", b"int"),
        (b"-9223372036854775808", b"int"),
        (b"9223372036854775808", b"embstr"),
        (b"007", b"embstr"),
        (b"-0", b"embstr"),
        (b"1 ", b"embstr"),
        (b"x" * 44, b"embstr"),
        (b"x" * 45, b"raw"),
        (b"x" * 65536, b"raw"),
        (b"x" * 65537, b"raw"),
    ],
)
def test_a_value_comes_back_in_the_encoding_redis_gives_it(
    keyspace: Keyspace, value: bytes, encoding: bytes
) -> None:
    keyspace.set_string(0, b"key", value)
    assert keyspace.read_string(0, b"key") == value
    assert keyspace.encoding(0, b"key") == encoding
    assert keyspace.string_length(0, b"key") == len(value)
    keyspace.set_string(0, b"key", value, raw=True)
    assert keyspace.read_string(0, b"key") == value
    assert keyspace.encoding(0, b"key") == b"raw"
    keyspace.check()


@pytest.mark.parametrize("length", [0, 1, 23, 255, 65536, 2**24 - 1, 2**24, 2**24 + 7])
def test_a_key_may_be_of_any_length(keyspace: Keyspace, length: int) -> None:
    key = b"k" * length
    other = b"k" * max(length - 1, 0) + b"K"
    keyspace.set_string(0, key, b"value", NOW_MS + 10)
    keyspace.set_string(0, other, b"other")
    assert keyspace.read_string(0, key) == b"value"
    assert keyspace.read_string(0, other) == b"other"
    keyspace.set_expire(0, key, -1)
    keyspace.set_expire(0, other, NOW_MS + 5)
    assert sorted(keyspace.keys(0)) == sorted([key, other])
    keyspace.check()
    assert keyspace.delete(0, key)
    assert keyspace.delete(0, other)


def test_a_missing_key_is_none_or_nothing(keyspace: Keyspace) -> None:
    assert keyspace.type(3, b"no") is None
    assert keyspace.read_string(3, b"no") is None
    assert keyspace.write_string(3, b"no") is None
    assert keyspace.string_length(3, b"no") == 0
    assert keyspace.encoding(3, b"no") is None
    assert keyspace.expire_ms(3, b"no") is None
    assert keyspace.idle_seconds(3, b"no") is None
    assert keyspace.frequency(3, b"no") is None
    assert keyspace.memory_usage(3, b"no") is None
    assert keyspace.random_key(3) is None
    assert keyspace.scan(3, 0, 10) == (0, [])
    assert not keyspace.delete(3, b"no")
    assert keyspace.flush(3) == 0
    acts: list[Callable[[], None]] = [
        lambda: keyspace.rename(3, b"no", b"other"),
        lambda: keyspace.copy(3, b"no", b"other", 3),
        lambda: keyspace.move(3, b"no", 4),
        lambda: keyspace.set_expire(3, b"no", 5),
    ]
    for act in acts:
        with pytest.raises(KeyError):
            act()


def test_a_database_that_does_not_exist_is_refused(keyspace: Keyspace) -> None:
    for number in (-1, 16, 1000):
        with pytest.raises(IndexError):
            keyspace.size(number)
        with pytest.raises(IndexError):
            keyspace.set_string(number, b"key", b"value")


# Growing strings


def test_many_small_appends_cost_what_one_large_one_does(keyspace: Keyspace) -> None:
    moves = 0
    last = 0
    for n in range(200_000):
        assert keyspace.append(0, b"key", b"abcde") == 5 * (n + 1)
        usage = keyspace.memory_usage(0, b"key")
        assert usage is not None
        moves += usage != last
        last = usage
    assert keyspace.read_string(0, b"key") == b"abcde" * 200_000
    assert moves < 60
    assert last < 3 * MIB
    keyspace.check()


def test_append_to_nothing_sets_and_to_something_makes_it_raw(keyspace: Keyspace) -> None:
    assert keyspace.append(0, b"key", b"12") == 2
    assert keyspace.encoding(0, b"key") == b"int"
    assert keyspace.append(0, b"key", b"3") == 3
    assert keyspace.encoding(0, b"key") == b"raw"
    assert keyspace.read_string(0, b"key") == b"123"


def test_set_range_pads_with_zeros_and_an_empty_one_makes_no_key(keyspace: Keyspace) -> None:
    assert keyspace.set_range(0, b"key", 10, b"") == 0
    assert keyspace.size(0) == 0
    assert keyspace.set_range(0, b"key", 3, b"ab") == 5
    assert keyspace.set_range(0, b"key", 0, b"x") == 5
    assert keyspace.read_string(0, b"key") == b"x\0\0ab"
    assert keyspace.set_range(0, b"key", 100_000, b"end") == 100_003
    assert keyspace.read_string(0, b"key") == b"x\0\0ab" + bytes(99_995) + b"end"
    keyspace.check()


def test_a_copy_of_a_large_string_is_its_own_once_either_changes(keyspace: Keyspace) -> None:
    value = random.Random(1).randbytes(200_000)
    keyspace.set_string(0, b"a", value, NOW_MS + 1000)
    keyspace.copy(0, b"a", b"b", 0)
    keyspace.copy(0, b"a", b"c", 5)
    keyspace.check()
    assert keyspace.append(0, b"a", b"tail") == 200_004
    assert keyspace.set_range(5, b"c", 0, b"head") == 200_000
    assert keyspace.read_string(0, b"a") == value + b"tail"
    assert keyspace.read_string(0, b"b") == value
    assert keyspace.read_string(5, b"c") == b"head" + value[4:]
    assert keyspace.expire_ms(0, b"b") == keyspace.expire_ms(5, b"c") == NOW_MS + 1000
    keyspace.check()
    keyspace.move(5, b"c", 0)
    keyspace.rename(0, b"c", b"b")
    assert keyspace.read_string(0, b"b") == b"head" + value[4:]
    keyspace.check()


def test_overwriting_with_the_same_size_allocates_nothing(keyspace: Keyspace) -> None:
    for size in (10, 100, 60_000, 100_000):
        keyspace.set_string(0, b"key", b"a" * size)
        before = keyspace.used_memory
        keyspace.set_string(0, b"key", b"b" * size)
        assert keyspace.used_memory == before
        assert keyspace.read_string(0, b"key") == b"b" * size


def test_a_large_allocation_is_not_kept_for_a_small_value(keyspace: Keyspace) -> None:
    for large in (1000, 60_000, 1_000_000):
        keyspace.set_string(0, b"key", b"a" * large)
        keyspace.set_string(0, b"key", b"small")
        usage = keyspace.memory_usage(0, b"key")
        assert usage is not None
        assert usage < 128


# Expiry


class Removals:
    """A consumer that notes which keys go, and why."""

    def __init__(self, found: list[tuple[int, bytes, int]]) -> None:
        self.found = found

    def removed(self, database: int, key: bytes, reason: int) -> None:
        self.found.append((database, key, reason))


def test_an_expired_key_is_gone_for_whoever_asks(keyspace: Keyspace) -> None:
    keyspace.set_string(0, b"key", b"value", NOW_MS + 10)
    keyspace.now_ms = NOW_MS + 10
    assert keyspace.read_string(0, b"key") == b"value"
    keyspace.now_ms = NOW_MS + 11
    removed: list[tuple[int, bytes, int]] = []
    effects = Effects(keyspace)
    effects.attach(Removals(removed))
    assert keyspace.expire_ms(0, b"key") is None
    assert keyspace.read_string(0, b"key") is None
    assert removed == [(0, b"key", 1)]
    assert keyspace.expired == 1
    assert keyspace.misses == 1
    assert keyspace.size(0) == keyspace.expiring_size(0) == 0


def test_setting_over_an_expired_key_removes_it_first(keyspace: Keyspace) -> None:
    keyspace.set_string(0, b"key", b"old", NOW_MS - 1)
    removed: list[tuple[int, bytes, int]] = []
    effects = Effects(keyspace)
    effects.attach(Removals(removed))
    keyspace.set_string(0, b"key", b"new", -2)
    assert removed == [(0, b"key", 1)]
    assert keyspace.expire_ms(0, b"key") == -1
    keyspace.check()


def test_the_removed_hook_names_the_logical_database(keyspace: Keyspace) -> None:
    keyspace.set_string(2, b"key", b"value", NOW_MS - 1)
    keyspace.swap(2, 7)
    removed: list[tuple[int, bytes, int]] = []
    effects = Effects(keyspace)
    effects.attach(Removals(removed))
    assert not keyspace.delete(7, b"key")
    assert removed == [(7, b"key", 1)]


@pytest.mark.parametrize("effort", [1, 5, 10])
def test_active_expiry_takes_nearly_all_stale_keys_and_nothing_else(
    keyspace: Keyspace, effort: int
) -> None:
    chance = random.Random(2)
    stale = 0
    for n in range(5000):
        lives = chance.random() < 0.5
        stale += not lives
        keyspace.set_string(n % 16, b"%d" % n, b"", NOW_MS + (1000 if lives else -1))
    for n in range(1000):
        keyspace.set_string(0, b"no ttl %d" % n, b"")
    total = sum(keyspace.active_expire(0, effort) for _ in range(20))
    assert stale * 0.8 < total <= stale
    assert sum(keyspace.size(database) for database in range(16)) == 6000 - total
    assert keyspace.expired == total
    assert 900 <= keyspace.average_ttl_ms(0) <= 1000
    keyspace.check()


def test_active_expiry_stops_when_its_time_is_up_and_goes_on_later(keyspace: Keyspace) -> None:
    for n in range(20_000):
        keyspace.set_string(0, b"%d" % n, b"", NOW_MS - 1)
    first = keyspace.active_expire(1, 1)
    assert 0 < first < 1000
    assert keyspace.expired_time_cap_reached == 1
    assert 0 < keyspace.expired_stale_percent <= 5.0
    while keyspace.size(0):
        assert keyspace.active_expire(1000, 10) > 0
    assert keyspace.expired == 20_000
    keyspace.check()


# LRU and LFU


def test_idle_time_counts_from_the_last_touch(keyspace: Keyspace) -> None:
    keyspace.set_string(0, b"key", b"value")
    keyspace.now_ms += 10_000
    assert keyspace.idle_seconds(0, b"key") == 10
    assert keyspace.exists(0, b"key")
    assert keyspace.idle_seconds(0, b"key") == 10
    assert keyspace.exists(0, b"key", touch=True)
    assert keyspace.idle_seconds(0, b"key") == 0
    keyspace.now_ms += 3_000
    keyspace.set_expire(0, b"key", NOW_MS * 2)
    assert keyspace.idle_seconds(0, b"key") == 3
    keyspace.read_string(0, b"key")
    assert keyspace.idle_seconds(0, b"key") == 0


def test_the_lru_clock_may_wrap(keyspace: Keyspace) -> None:
    keyspace.now_ms = (0xFFFFFF - 2) * 1000
    keyspace.set_string(0, b"key", b"value")
    keyspace.now_ms += 5_000
    # As Redis: the wrap itself loses a second.
    assert keyspace.idle_seconds(0, b"key") == 4


def test_the_lfu_counter_grows_like_a_logarithm_and_decays_by_the_minute() -> None:
    keyspace = Keyspace(random_seed=3)
    keyspace.now_ms = NOW_MS
    keyspace.lfu = True
    keyspace.set_string(0, b"key", b"value")
    assert keyspace.frequency(0, b"key") == 5
    counts: dict[int, int] = {}
    for n in range(1, 100_001):
        keyspace.read_string(0, b"key")
        if n in (100, 1000, 100_000):
            counts[n] = keyspace.frequency(0, b"key") or 0
    # Redis documents about 10, 18 and 142 for a factor of 10.
    assert 7 <= counts[100] <= 14
    assert 14 <= counts[1000] <= 24
    assert 130 <= counts[100_000] <= 155
    keyspace.now_ms += 5 * 60_000
    assert keyspace.frequency(0, b"key") == counts[100_000] - 5
    keyspace.lfu_decay_minutes = 0
    assert keyspace.frequency(0, b"key") == counts[100_000]
    keyspace.lfu_decay_minutes = 1
    keyspace.now_ms += 1000 * 60_000
    assert keyspace.frequency(0, b"key") == 0


def test_overwriting_keeps_the_frequency_and_a_rename_begins_anew() -> None:
    keyspace = Keyspace(random_seed=3)
    keyspace.now_ms = NOW_MS
    keyspace.lfu = True
    keyspace.lfu_log_factor = 0
    keyspace.set_string(0, b"key", b"value")
    for _ in range(20):
        keyspace.read_string(0, b"key")
    assert keyspace.frequency(0, b"key") == 25
    keyspace.set_string(0, b"key", b"another value that needs a larger allocation")
    assert keyspace.frequency(0, b"key") == 25
    keyspace.rename(0, b"key", b"other")
    assert keyspace.frequency(0, b"other") == 5


# Chance


def test_random_keys_are_fair() -> None:
    """Chi-square over 200 keys, half of which share one slot; the seed is fixed."""
    keyspace = Keyspace(random_seed=4)
    keyspace.tune(incremental_min=16, step=1)
    names = [b"%d" % n for n in range(100)] + [b"{tag}%d" % n for n in range(100)]
    for name in names:
        keyspace.set_string(0, name, b"")
    draws = 40_000
    counts = dict.fromkeys(names, 0)
    for _ in range(draws):
        key = keyspace.random_key(0)
        assert key is not None
        counts[key] += 1
    expected = draws / len(names)
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    # 199 degrees of freedom: mean 199, standard deviation 20.
    assert 120 < chi_square < 300


# Figures


def test_slots_know_their_keys(keyspace: Keyspace) -> None:
    slot = key_slot(b"{tag}")
    for n in range(50):
        keyspace.set_string(0, b"{tag}%d" % n, b"")
    assert keyspace.slot_size(0, slot) == 50
    assert keyspace.slot_size(0, (slot + 1) % 16384) == 0
    assert set(keyspace.slot_keys(0, slot, 1000)) == {b"{tag}%d" % n for n in range(50)}
    assert len(set(keyspace.slot_keys(0, slot, 7))) == 7
    assert keyspace.slot_keys(0, slot, 0) == []
    with pytest.raises(IndexError):
        keyspace.slot_size(0, 16384)


def test_memory_returns_to_where_it_was(keyspace: Keyspace) -> None:
    idle = keyspace.used_memory
    chance = random.Random(5)
    for n in range(3000):
        keyspace.set_string(0, b"{a}%d" % n, chance.randbytes(chance.randrange(200)), NOW_MS + n)
    keyspace.set_string(0, b"large", bytes(3 * MIB))
    assert keyspace.used_memory > idle + 3 * MIB
    keyspace.check()
    for n in range(3000):
        assert keyspace.delete(0, b"{a}%d" % n)
    assert keyspace.delete(0, b"large")
    check_all_gone(keyspace, idle)


def test_a_key_of_16_and_a_value_of_10_bytes_take_48_bytes(keyspace: Keyspace) -> None:
    keyspace.set_string(0, b"key:%012d" % 1, b"x" * 10)
    usage = keyspace.memory_usage(0, b"key:%012d" % 1)
    assert usage is not None
    assert usage - 8 <= 40


def test_a_slot_grows_and_shrinks_past_the_bits_that_a_bucket_knows() -> None:
    """Beyond 2^20 buckets the hash is taken from the key again (an entry for each 0.75 buckets)."""
    keyspace = Keyspace()
    count = 850_000
    for n in range(count):
        keyspace.set_string(0, b"{t}%d" % n, b"")
    keyspace.check()
    chance = random.Random(6)
    for n in chance.sample(range(count), 10_000):
        assert keyspace.exists(0, b"{t}%d" % n)
        assert not keyspace.exists(0, b"{t}%d" % (count + n))
    seen: set[bytes] = set()
    cursor = 0
    while True:
        cursor, found = keyspace.scan(0, cursor, 5000)
        seen.update(found)
        if cursor == 0:
            break
    assert len(seen) == count
    for n in range(count - 1000):
        assert keyspace.delete(0, b"{t}%d" % n)
    keyspace.check()
    assert sorted(keyspace.keys(0)) == sorted(b"{t}%d" % n for n in range(count - 1000, count))


def test_nothing_is_left_when_a_keyspace_goes() -> None:
    before = live_blocks()
    keyspace = Keyspace()
    for n in range(1000):
        keyspace.set_string(n % 16, b"%d" % n, b"x" * (n * 100), NOW_MS)
    keyspace.copy(5, b"997", b"copy", 6)
    del keyspace
    assert live_blocks() == before


def test_the_same_seed_gives_the_same_order_and_another_one_does_not() -> None:
    orders = []
    for seed in (b"a" * 16, b"a" * 16, b"b" * 16):
        keyspace = Keyspace(seed=seed)
        for n in range(100):
            keyspace.set_string(0, b"{t}%d" % n, b"")
        orders.append(hashlib.sha256(b",".join(keyspace.keys(0))).digest())
    assert orders[0] == orders[1] != orders[2]


# Freeing on the helper thread


def wait_until_freed(keyspace: Keyspace, count: int) -> None:
    """The reaper has freed so many things, and has none left."""
    limit = time.monotonic() + 20.0
    while keyspace.lazyfreed < count or keyspace.lazyfree_pending:
        assert time.monotonic() < limit, "the reaper does not free"
        time.sleep(0.001)


def test_large_strings_that_are_deleted_or_overwritten_are_freed_by_the_reaper() -> None:
    keyspace = Keyspace()
    idle_memory = keyspace.used_memory
    blocks = live_blocks()
    keyspace.start_reaper()
    for number in range(6):
        keyspace.set_string(0, b"k%d" % number, b"x" * (2 * MIB))
    keyspace.set_string(0, b"small", b"x" * (MIB // 2))
    for number in range(3):
        keyspace.delete(0, b"k%d" % number)
    keyspace.set_string(0, b"k3", b"short")
    keyspace.delete(0, b"small")
    assert keyspace.used_memory < 5 * MIB  # no longer counted, freed or not
    wait_until_freed(keyspace, 4)
    keyspace.check()
    keyspace.flush(0)
    assert keyspace.used_memory == idle_memory
    assert live_blocks() == blocks


def test_a_database_flushed_lazily_is_empty_at_once_and_freed_later() -> None:
    keyspace = Keyspace()
    idle_memory = keyspace.used_memory
    blocks = live_blocks()
    keyspace.start_reaper()
    for number in range(5000):
        keyspace.set_string(0, b"k%d" % number, b"v" * 40, 1 << 50 if number % 2 else -1)
    keyspace.set_string(0, b"large", b"x" * (2 * MIB))
    assert keyspace.flush(0, lazily=True) == 5001
    assert keyspace.size(0) == 0
    assert keyspace.used_memory == idle_memory
    keyspace.set_string(0, b"k1", b"new")
    wait_until_freed(keyspace, 1)
    keyspace.check()
    assert keyspace.read_string(0, b"k1") == b"new"
    keyspace.flush(0)
    assert live_blocks() == blocks


def test_a_keyspace_that_ends_frees_what_its_reaper_has_yet_to_free() -> None:
    blocks = live_blocks()
    keyspace = Keyspace()
    keyspace.start_reaper()
    for number in range(50):
        keyspace.set_string(0, b"k", b"%d" % number + b"x" * (2 * MIB))
        keyspace.set_string(1, b"k", b"v")
        keyspace.flush(1, lazily=True)
    del keyspace
    assert live_blocks() == blocks


def test_a_string_that_must_not_be_an_int_is_kept_as_text(keyspace: Keyspace) -> None:
    keyspace.set_string(0, b"k", b"11", encode=False)
    assert keyspace.encoding(0, b"k") == b"embstr"
    keyspace.set_string(0, b"k", b"1" * 45, encode=False)
    assert keyspace.encoding(0, b"k") == b"raw"
    keyspace.copy(0, b"k", b"l", 0)
    assert keyspace.encoding(0, b"l") == b"raw"
