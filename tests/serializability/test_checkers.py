"""The checkers find each kind of anomaly, and none where there is none."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serializability.checker import check
from tests.serializability.history import Append, Operation, Outcome, Read, Transaction
from tests.serializability.registers import Access, violations

LARGE = 100_000
LARGE_SECONDS = 15.0  # a few; more is not near to linear


def kinds(*transactions: Transaction) -> set[str]:
    return {anomaly.kind for anomaly in check(transactions)}


def done(
    start: float, end: float, *operations: Operation, outcome: Outcome = Outcome.COMMITTED
) -> Transaction:
    return Transaction(0, start, end, operations, outcome)


def at_once(*operations: Operation, outcome: Outcome = Outcome.COMMITTED) -> Transaction:
    """A transaction beside all others, so that only data tells of an order."""
    return done(0.0, 100.0, *operations, outcome=outcome)


def last(*reads: Read) -> Transaction:
    return done(200.0, 201.0, *reads)


def test_nothing_is_wrong_with_a_good_history() -> None:
    assert not check([])
    assert not kinds(
        done(0, 1, Append("x", 1), Read("x", (1,))),
        done(2, 5, Read("x", (1,)), Append("y", 1), Append("y", 2), Read("y", (1, 2))),
        done(3, 6, Append("x", 2), Read("y", (1, 2))),
        last(Read("x", (1, 2)), Read("y", (1, 2))),
    )


def test_g0_is_found() -> None:
    """Two transactions, each before the other."""
    found = kinds(
        at_once(Append("x", 1), Append("y", 1)),
        at_once(Append("x", 2), Append("y", 2)),
        last(Read("x", (1, 2)), Read("y", (2, 1))),
    )
    assert found == {"G0"}


def test_g1a_is_found() -> None:
    aborted = at_once(Append("x", 1), outcome=Outcome.ABORTED)
    assert kinds(aborted, at_once(Read("x", (1,)))) == {"G1a"}


def test_g1b_is_found() -> None:
    found = kinds(
        at_once(Append("x", 1), Append("x", 2)), at_once(Read("x", (1,))), last(Read("x", (1, 2)))
    )
    assert "G1b" in found


def test_g1c_is_found() -> None:
    """Each sees what the other wrote."""
    found = kinds(
        at_once(Append("x", 1), Read("y", (1,))),
        at_once(Append("y", 1), Read("x", (1,))),
        last(Read("x", (1,)), Read("y", (1,))),
    )
    assert found == {"G1c"}


def test_a_lost_update_is_found() -> None:
    """Both read the same state, and wrote by it."""
    found = kinds(
        at_once(Read("x", ()), Append("x", 1)),
        at_once(Read("x", ()), Append("x", 2)),
        last(Read("x", (1, 2))),
    )
    assert found == {"G-single"}


def test_read_skew_is_found() -> None:
    """One half of a transaction is seen: this is what a torn MSET looks like."""
    found = kinds(
        at_once(Append("x", 1), Append("y", 1)),
        at_once(Read("x", (1,)), Read("y", ())),
        last(Read("x", (1,)), Read("y", (1,))),
    )
    assert found == {"G-single"}


def test_write_skew_is_found() -> None:
    found = kinds(
        at_once(Read("x", ()), Append("y", 1)),
        at_once(Read("y", ()), Append("x", 1)),
        last(Read("x", (1,)), Read("y", (1,))),
    )
    assert found == {"G2"}


def test_two_readers_who_disagree_are_found() -> None:
    """Each transaction of a single key; the order of the two writes differs by who looks."""
    found = kinds(
        at_once(Append("x", 1)),
        at_once(Append("y", 1)),
        at_once(Read("x", (1,)), Read("y", ())),
        at_once(Read("x", ()), Read("y", (1,))),
        last(Read("x", (1,)), Read("y", (1,))),
    )
    assert found == {"G2"}


def test_a_stale_read_is_found() -> None:
    history = [done(0, 1, Append("x", 1)), done(2, 3, Read("x", ())), last(Read("x", (1,)))]
    assert kinds(*history) == {"G-single-realtime"}
    history[1].start = 0.5  # it may have been first
    assert not check(history)


def test_a_write_that_goes_back_in_time_is_found() -> None:
    found = kinds(done(0, 1, Append("x", 1)), done(2, 3, Append("x", 2)), last(Read("x", (2, 1))))
    assert found == {"G0-realtime"}


def test_a_lost_append_is_found() -> None:
    history = [at_once(Append("x", 1)), at_once(Append("x", 2)), last(Read("x", (2,)))]
    assert "lost" in kinds(*history)
    history[0].outcome, history[0].end = Outcome.UNKNOWN, math.inf
    assert not check(history)


def test_a_half_of_an_unanswered_transaction_is_found() -> None:
    unknown = done(0, math.inf, Append("x", 1), Append("y", 1), outcome=Outcome.UNKNOWN)
    assert not kinds(unknown, last(Read("x", ()), Read("y", ())))
    assert not kinds(unknown, last(Read("x", (1,)), Read("y", (1,))))
    assert "G-single" in kinds(unknown, last(Read("x", (1,)), Read("y", ())))
    # Who has been seen has happened, so that later reads must see all of it.
    assert "torn" in kinds(unknown, done(1, 2, Read("x", (1,))), last(Read("y", ())))


def test_other_elements_within_those_of_a_transaction_are_found() -> None:
    found = kinds(
        at_once(Append("x", 1), Append("x", 2)), at_once(Append("x", 3)), last(Read("x", (1, 3, 2)))
    )
    assert {"torn", "G0"} <= found


def test_what_is_not_even_a_list_is_found() -> None:
    one = at_once(Append("x", 1))
    two = at_once(Append("x", 2))
    assert "duplicate" in kinds(one, last(Read("x", (1, 1))))
    assert "garbage" in kinds(one, last(Read("x", (1, 7))))
    assert "incompatible order" in kinds(
        one, two, at_once(Read("x", (2, 1))), last(Read("x", (1, 2)))
    )
    assert "internal" in kinds(at_once(Append("x", 1), Read("x", ())), last(Read("x", (1,))))
    assert "internal" in kinds(one, at_once(Read("x", ()), Read("x", (1,))), last(Read("x", (1,))))


# --- Against all orders there are ---------------------------------------------------------------


def some_order_explains(history: Sequence[Transaction]) -> bool:
    """Whether any order of all transactions that time allows gives each its reads."""

    def explains(rest: frozenset[int], state: dict[str, tuple[int, ...]]) -> bool:
        if not rest:
            return True
        for number in rest:
            if any(history[other].end < history[number].start for other in rest):
                continue
            after = dict(state)
            for operation in history[number].operations:
                value = after.get(operation.key, ())
                if isinstance(operation, Append):
                    after[operation.key] = (*value, operation.value)
                elif operation.values != value:
                    break
            else:
                if explains(rest - {number}, after):
                    return True
        return False

    return explains(frozenset(range(len(history))), {})


@st.composite
def small_histories(draw: st.DrawFn) -> list[Transaction]:
    """A few transactions in some order, with times that may not fit it, and reads that may not."""
    state: dict[str, list[int]] = {"x": [], "y": []}
    history = []
    for number in range(draw(st.integers(2, 5))):
        operations: list[Operation] = []
        for _ in range(draw(st.integers(1, 3))):
            key = draw(st.sampled_from("xy"))
            if draw(st.booleans()):
                state[key].append(10 * number + len(operations))
                operations.append(Append(key, state[key][-1]))
            else:
                stale = draw(st.integers(0, 1))
                operations.append(Read(key, tuple(state[key][: len(state[key]) - stale])))
        start = number + draw(st.integers(-2, 1))
        history.append(done(start, start + draw(st.integers(1, 3)) + 0.5, *operations))
    return [*history, last(*(Read(key, tuple(values)) for key, values in state.items()))]


def test_the_verdict_is_that_of_trying_all_orders() -> None:
    verdicts: Counter[bool] = Counter()

    @settings(max_examples=600)
    @given(small_histories())
    def compare(history: list[Transaction]) -> None:
        verdict = some_order_explains(history)
        verdicts[verdict] += 1
        assert (not check(history)) == verdict

    compare()
    assert min(verdicts[True], verdicts[False]) > 50, verdicts


# --- Large histories ----------------------------------------------------------------------------


def serial_history(count: int, seed: int, *, clients: int = 20) -> list[Transaction]:
    """Transactions over 12 lists at a time that took effect one after another.

    Those of a client follow each other; those of different clients overlap.
    """
    draw = random.Random(seed)
    lists: dict[str, list[int]] = {}
    names = [f"k{number}" for number in range(12)]
    free = [0.0] * clients
    history = []
    for number in range(count):
        client = draw.randrange(clients)
        moment = max(float(number), free[client] + 0.5)
        operations: list[Operation] = []
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(12)
            values = lists.setdefault(names[place], [])
            if len(values) == 100:
                operations.append(Read(names[place], tuple(values)))
                names[place] += "'"
            elif draw.random() < 0.5:
                values.append(number * 4 + len(operations))
                operations.append(Append(names[place], values[-1]))
            else:
                operations.append(Read(names[place], tuple(values)))
        history.append(Transaction(client, moment - 0.4, moment + 0.05, tuple(operations)))
        free[client] = moment + 0.05
    # Ends move to where the client's next begins, so that much overlaps.
    later = [math.inf] * clients
    for transaction in reversed(history):
        transaction.end = min(
            transaction.end + draw.random() * 10, later[transaction.client] - 0.01
        )
        later[transaction.client] = transaction.start
    ending = count * 2.0 + 100
    reads = tuple(Read(name, tuple(values)) for name, values in lists.items())
    return [*history, Transaction(clients, ending, ending + 1, reads)]


def test_a_hundred_thousand_transactions_are_checked_in_seconds() -> None:
    history = serial_history(LARGE, 1)
    started = time.perf_counter()
    assert not check(history)
    took = time.perf_counter() - started
    assert took < LARGE_SECONDS, took


@pytest.mark.parametrize("seed", range(6))
def test_one_stale_read_among_thousands_is_found(seed: int) -> None:
    history = serial_history(10_000, seed)
    draw = random.Random(seed)
    while True:
        transaction = history[draw.randrange(len(history) - 1)]
        at = draw.randrange(len(transaction.operations))
        read = transaction.operations[at]
        own = {other.key for other in transaction.operations if isinstance(other, Append)}
        if isinstance(read, Read) and len(read.values) > 40 and read.key not in own:
            break
    operations = list(transaction.operations)
    operations[at] = Read(read.key, read.values[:-30])
    transaction.operations = tuple(operations)
    assert check(history)


def test_two_appends_that_changed_places_are_found() -> None:
    """In all reads alike, so that only the order in time is broken."""
    history = serial_history(2_000, 5)
    one, other = "k3", 50

    def swapped(values: tuple[int, ...]) -> tuple[int, ...]:
        if len(values) <= other:
            return values
        changed = list(values)
        changed[10], changed[other] = changed[other], changed[10]
        return tuple(changed)

    for transaction in history:
        transaction.operations = tuple(
            Read(operation.key, swapped(operation.values))
            if isinstance(operation, Read) and operation.key == one
            else operation
            for operation in transaction.operations
        )
    assert check(history)


# --- Registers ----------------------------------------------------------------------------------


def test_a_register_that_takes_turns_is_found() -> None:
    good = [
        Access(0, 1, "a", True),
        Access(2, 3, "a", False),
        Access(2.5, 4, "b", True),
        Access(5, 6, "b", False),
    ]
    assert not violations(good)
    assert violations([*good, Access(7, 8, "a", False)])
    assert violations([*good, Access(7, 8, "never written", False)])
    assert violations([Access(0, 1, "a", False), Access(2, 3, "a", True)])
    assert not violations([Access(0, 1, "before all", False), *good[2:]])
    assert not violations([*good, Access(0, math.inf, "unanswered", True)])


def linearizable(accesses: Sequence[Access]) -> bool:
    def goes_on(rest: frozenset[int], value: object) -> bool:
        return not rest or any(
            goes_on(rest - {number}, accesses[number].value)
            for number in rest
            if not any(accesses[other].end < accesses[number].start for other in rest)
            and (accesses[number].is_write or accesses[number].value == value)
        )

    return goes_on(frozenset(range(len(accesses))), "none")


@st.composite
def small_registers(draw: st.DrawFn) -> list[Access]:
    def times() -> Iterator[tuple[int, float]]:
        while True:
            start = draw(st.integers(0, 12))
            yield start, start + draw(st.integers(1, 6)) + 0.5

    written = [str(value) for value in range(draw(st.integers(1, 3)))]
    moments = times()
    writes = [Access(*next(moments), value, True) for value in written]
    read = draw(st.lists(st.sampled_from([*written, "none"]), max_size=4))
    return [*writes, *(Access(*next(moments), value, False) for value in read)]


def test_the_verdict_on_a_register_is_that_of_trying_all_orders() -> None:
    verdicts: Counter[bool] = Counter()

    @settings(max_examples=600)
    @given(small_registers())
    def compare(accesses: list[Access]) -> None:
        verdict = linearizable(accesses)
        verdicts[verdict] += 1
        assert (not violations(accesses)) == verdict

    compare()
    assert min(verdicts[True], verdicts[False]) > 50, verdicts
