"""Sequences that once showed a difference, or that chance would seldom make.

What test_differential.py prints on a failure is pasted here, with a name that says what was wrong.
"""

from __future__ import annotations

from tests.differential.conftest import Replay
from tests.differential.grammar import Command
from tests.differential.machine import Step
from tests.support.servers import Configuration, ServerPool


def command(*args: bytes) -> Command:
    return Command(args)


def test_an_unknown_command_leaves_the_pipeline_in_step(replay: Replay) -> None:
    step = (command(b"SET", b"a", b"1"), command(b"NOSUCH", b"\r\n"), command(b"GET", b"a"))
    replay(2, Step(0, step), Step(0, step, cuts=3))


def test_a_name_is_forgotten_with_its_connection(replay: Replay) -> None:
    replay(
        3,
        Step(0, (command(b"CLIENT", b"SETNAME", b"me"), command(b"QUIT"))),
        Step(0, (command(b"CLIENT", b"GETNAME"),)),
    )


def test_keys_of_many_slots_in_one_command_keep_their_order(replay: Replay) -> None:
    keys = [b"key%d" % number for number in range(200)]
    pairs = [word for key in keys for word in (key, b"value of " + key)]
    replay(
        2,
        Step(0, (command(b"MSET", *pairs),)),
        Step(0, (command(b"MGET", *reversed(keys)), command(b"DBSIZE"))),
        Step(0, (command(b"MSETNX", b"new", b"1", b"key7", b"2"), command(b"EXISTS", b"new"))),
        Step(0, (command(b"DEL", *keys[:150]), command(b"EXISTS", *keys), command(b"DBSIZE"))),
        Step(0, (command(b"SCAN", b"COUNT", b"7"),), iterate=True),
    )


def test_a_swapped_database_shows_in_both_connections(replay: Replay) -> None:
    replay(
        2,
        Step(0, (command(b"SET", b"a", b"0"), command(b"SET", b"b", b"0"))),
        Step(1, (command(b"SELECT", b"1"), command(b"SET", b"a", b"1"))),
        Step(0, (command(b"SWAPDB", b"0", b"1"), command(b"MGET", b"a", b"b"))),
        Step(1, (command(b"MGET", b"a", b"b"), command(b"DBSIZE"), command(b"INFO", b"keyspace"))),
    )


def test_a_list_keeps_its_encoding_on_the_way_to_another_shard(replay: Replay) -> None:
    """A lower limit holds for what is pushed, not for what is copied."""
    replay(
        2,
        Step(0, (command(b"RPUSH", b"m5", b"1", b"2", b"3", b"4", b"10"),)),
        Step(0, (command(b"CONFIG", b"SET", b"list-max-listpack-size", b"1"),)),
        Step(
            0,
            (
                command(b"COPY", b"m5", b"m6"),
                command(b"RENAME", b"m5", b"m4"),
                command(b"OBJECT", b"ENCODING", b"m6"),
                command(b"OBJECT", b"ENCODING", b"m4"),
            ),
        ),
    )


def test_a_cursor_clears_what_an_earlier_timeout_left(replay: Replay) -> None:
    """redis-server's SORT takes the ERANGE of any earlier command for one of its weights.

    So the grammar of SORT reads a cursor first; without it, redis-server refuses this SORT.
    """
    case = (
        command(b"RPUSH", b"m1", b"1", b"2"),
        command(b"SET", b"w_1", b"2.5"),
        command(b"BRPOPLPUSH", b"nosuch", b"m2", b"1e-5000"),
        command(b"HSCAN", b"h_1", b"0"),
        command(b"SORT", b"m1", b"BY", b"w_*", b"STORE", b"m6"),
        command(b"LRANGE", b"m6", b"0", b"-1"),
    )
    replay(2, Step(0, case))


def test_a_sorted_set_keeps_its_encoding_on_the_way_to_another_shard(replay: Replay) -> None:
    """One whose scores are equal is not taken over as it is, but member by member."""
    replay(
        3,
        Step(0, (command(b"ZADD", b"{x}lex", b"7", b"9999", b"7", b"a", b"7", b"b"),)),
        Step(0, (command(b"CONFIG", b"SET", b"zset-max-listpack-value", b"2"),)),
        Step(0, (command(b"ZUNIONSTORE", b"z\x00\xff\r\n", b"2", b"{x}lex", b"{x}lex"),)),
    )


def test_the_greatest_time_to_live_is_rounded_without_overflow(replay: Replay) -> None:
    for time in (2**63 - 1, 2**63 - 500, 2**63 - 501):
        deadline = command(b"PEXPIREAT", b"a", b"%d" % time)
        shown = (command(b"EXPIRETIME", b"a"), command(b"PEXPIRETIME", b"a"))
        replay(2, Step(0, (command(b"SET", b"a", b"1"), deadline, *shown)))


def test_a_list_keeps_its_limits_on_the_way_to_another_shard(server_pool: ServerPool) -> None:
    """Only DEBUG OBJECT shows it, and only a redis-server 7.2 has the same nodes."""
    with server_pool.get(Configuration(shards=3)).client() as client:
        try:
            client.call("CONFIG", "SET", "list-max-listpack-size", "2")
            client.call("RPUSH", "l1", *range(9))
            client.call("CONFIG", "SET", "list-max-listpack-size", "-2")
            assert client.call("RPOPLPUSH", "l1", "l3") == b"$1\r\n8\r\n"
            assert b" ql_nodes:4 ql_avg_node:2.00 ql_listpack_max:2 " in client.call(
                "DEBUG", "OBJECT", "l1"
            )
        finally:
            client.call("CONFIG", "SET", "list-max-listpack-size", "-2")
