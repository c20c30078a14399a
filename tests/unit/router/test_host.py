"""The host's slow paths: commands over several shards, whose deaths the test decides."""

from __future__ import annotations

from typing import Any

import pytest

from actors.boot import Topology
from protocol.replies import replies
from router.host import Host
from tests.sim.clock import VirtualLoop
from tests.support.envelopes import Run
from tests.support.resp_client import bulk, encode, parse
from tests.support.rig import TABLE, Client, Shard, reply_to
from tests.support.slots import slot

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"


class PlayedHost(Host):
    """A host whose shards the test plays."""

    def __init__(self) -> None:
        self.virtual = VirtualLoop()  # type: ignore[abstract]
        super().__init__(TABLE, 3, {"databases": 16}, self.virtual)
        self.played: dict[int, Shard] = {}
        self.version = 0
        self.topology({0: 1, 1: 1, 2: 1})

    def connect(self, shard: int, epoch: int) -> tuple[Any, Any]:
        self.played[shard] = Shard(epoch)
        return self.played[shard].link_of_worker, self.played[shard].bulk_of_worker

    def disconnect(self, link: Any) -> None:
        link.close()

    def topology(self, epochs: dict[int, int]) -> None:
        """Shards that are up, with their epochs."""
        self.version += 1
        slots = [(0, 5460, 0), (5461, 10922, 1), (10923, 16383, 2)]
        shards = [(shard, epochs.get(shard, 9), shard in epochs) for shard in range(3)]
        self.install(Topology(self.version, shards, [(0, 1), (1, 1)], slots))

    def tick(self) -> None:
        self.dispatcher.collect()
        self.reactor.tick()
        self.virtual.run_ready()

    def key(self, shard: int) -> bytes:
        keys = (b"k%d" % i for i in range(1000))
        return next(key for key in keys if self.dispatcher.shard_of(slot(key)) == shard)

    def runs(self, shard: int) -> list[Run]:
        return self.played[shard].runs()

    def answer(self, shard: int, data: bytes) -> bytes:
        """Answer the one run that this shard has; what it asked."""
        (run,) = self.runs(shard)
        self.played[shard].answer(reply_to(run, data))
        self.tick()
        return run.raw


@pytest.fixture
def host() -> PlayedHost:
    return PlayedHost()


def client_of(host: PlayedHost, *commands: list[bytes | str | int]) -> Client:
    client = Client(host, 1)  # type: ignore[arg-type]
    client.session.push(b"".join(encode(*command) for command in commands))
    host.tick()
    return client


def test_a_split_command_is_refused_whole_when_one_shard_is_down(host: PlayedHost) -> None:
    """Its parts on the other shards were executed, although the client was told LOADING."""
    host.topology({0: 1, 2: 1})
    keys = [host.key(shard) for shard in range(3)]
    client = client_of(
        host, ["MSET", keys[0], "a", keys[1], "b"], ["DEL", *keys], ["FLUSHALL"], ["PING"]
    )
    assert client.take() == LOADING * 3 + b"+PONG\r\n"
    assert host.runs(0) == host.runs(2) == []


def test_nothing_behind_a_lost_write_is_executed(host: PlayedHost) -> None:
    """The pipeline went on before its client was disconnected."""
    client = client_of(host, ["RENAME", host.key(1), host.key(0)], ["SET", host.key(2), "v"])
    hop(host, 0, CLOCK + b":0\r\n")
    hop(host, 1, CLOCK + b"$6\r\nparcel\r\n", b"")
    host.topology({1: 1, 2: 1})
    host.tick()
    assert client.closed
    assert host.runs(2) == []
    assert [one for one in host.dispatcher.sessions if one is client.session] == []


def test_a_lost_read_of_a_split_command_is_loading(host: PlayedHost) -> None:
    client = client_of(host, ["MGET", host.key(0), host.key(1)], ["PING"])
    host.answer(1, CLOCK + b"*1\r\n$1\r\nv\r\n")
    host.topology({1: 1, 2: 1})
    host.tick()
    assert client.take() == LOADING + b"+PONG\r\n"
    assert answered(host, 1, OK) == [[b"SHARDIS.RELEASE"]]
    assert not client.closed
    assert not host.tasks


CLOCK = b":1700000000000\r\n"  # what a shard answers to a lock
REFUSED = b"-REFUSED\r\n"
OK = b"+OK\r\n"


def words(raw: bytes) -> list[list[bytes]]:
    return [[arg.value for arg in parse(one).value] for one in replies(raw)]


def answered(host: PlayedHost, shard: int, reply: bytes) -> list[list[bytes]]:
    """Answer the one run that waits at a shard; its commands."""
    return words(host.answer(shard, reply))


def array(*items: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def with_reply(reply: bytes, used: bytes = b"*0\r\n") -> bytes:
    """What home answers to SHARDIS.WITH."""
    return array(bulk(reply), used)


def hop(host: PlayedHost, shard: int, *data: bytes) -> list[list[list[bytes]]]:
    """Answer the runs that have come to a shard; the commands of each."""
    runs = host.runs(shard)
    for run, reply in zip(runs, data, strict=True):
        host.played[shard].answer(reply_to(run, reply))
    host.tick()
    return [words(run.raw) for run in runs]


def test_a_value_is_moved_by_the_target_first_and_then_by_the_source(host: PlayedHost) -> None:
    source, target = host.key(0), host.key(1)
    client = client_of(host, ["RENAMENX", source, target])
    assert hop(host, 0, CLOCK + b"$6\r\nparcel\r\n", b"") == [
        [[b"SHARDIS.LOCK", b"try", b"keys", source, b"w"], [b"SHARDIS.LEND", source]],
        [[b"SHARDIS.DROP", source, b"rename_from"]],
    ]
    assert answered(host, 1, CLOCK + b":0\r\n") == [
        [b"SHARDIS.LOCK", b"try", b"keys", target, b"w"],
        [b"EXISTS", target],
    ]
    assert hop(host, 1, OK, OK) == [
        [[b"SHARDIS.BORROW", source, b"parcel"]],
        [[b"SHARDIS.STORE", target, b"rename_to"]],
    ]
    assert client.take() == b""
    assert answered(host, 0, OK) == [[b"SHARDIS.COMMIT"]]
    assert client.take() == b":1\r\n"
    for shard in (0, 1):
        assert answered(host, shard, OK) == [[b"SHARDIS.RELEASE"]]
    assert not any(one is not client.session for one in host.dispatcher.sessions if one)


def test_nothing_is_committed_when_a_lock_shows_that_it_can_not_be(host: PlayedHost) -> None:
    source, target = host.key(0), host.key(1)
    client = client_of(host, ["LMOVE", source, target, "LEFT", "RIGHT"])
    hop(host, 0, CLOCK + b"$1\r\nx\r\n", b"")
    hop(host, 1, CLOCK + b"+string\r\n")
    assert client.take().startswith(b"-WRONGTYPE")
    for shard in (0, 1):
        assert answered(host, shard, OK) == [[b"SHARDIS.RELEASE"]]


def test_keys_that_are_only_read_are_shared_and_told_of_their_use(host: PlayedHost) -> None:
    source, target = host.key(0), host.key(1)
    client = client_of(host, ["SUNIONSTORE", target, source])
    assert answered(host, 0, CLOCK + b"$6\r\nparcel\r\n") == [
        [b"SHARDIS.LOCK", b"try", b"keys", source, b"r"],
        [b"SHARDIS.LEND", source],
    ]
    hop(host, 1, CLOCK)
    assert hop(host, 1, OK, with_reply(b":1\r\n", array(bulk(source), bulk(b"12345")))) == [
        [[b"SHARDIS.BORROW", source, b"parcel"]],
        [[b"SHARDIS.WITH", b"SUNIONSTORE", target, source]],
    ]
    assert client.take() == b":1\r\n"
    assert answered(host, 0, OK) == [[b"SHARDIS.RELEASE", source, b"12345"]]


def test_a_command_that_is_refused_a_key_waits_at_one_shard_after_the_other(
    host: PlayedHost,
) -> None:
    source, target = host.key(1), host.key(0)
    client = client_of(host, ["RENAMENX", source, target])
    hop(host, 0, CLOCK + b":1\r\n")
    hop(host, 1, REFUSED * 2, b"")
    released, locked = hop(host, 0, OK, CLOCK + b":1\r\n")
    assert released == [[b"SHARDIS.RELEASE"]]
    assert locked[0] == [b"SHARDIS.LOCK", b"wait", b"keys", target, b"w"]
    asked = hop(host, 1, CLOCK + b"$6\r\nparcel\r\n", b"")
    assert asked[0][0][:2] == [b"SHARDIS.LOCK", b"wait"]
    assert client.take() == b":0\r\n"


def test_keys_are_let_go_when_a_shard_dies_that_holds_others(host: PlayedHost) -> None:
    client = client_of(host, ["RENAMENX", host.key(0), host.key(1)], ["PING"])
    hop(host, 1, CLOCK + b":0\r\n")
    host.topology({1: 1, 2: 1})
    host.tick()
    assert client.take() == LOADING + b"+PONG\r\n"
    assert answered(host, 1, OK) == [[b"SHARDIS.RELEASE"]]
    assert not host.tasks


def test_a_client_gets_no_reply_when_the_deciding_shard_dies(host: PlayedHost) -> None:
    client = client_of(host, ["RENAME", host.key(0), host.key(1)], ["PING"])
    hop(host, 0, CLOCK + b"$6\r\nparcel\r\n", b"")
    hop(host, 1, CLOCK + b":0\r\n")
    host.topology({0: 1, 2: 1})
    host.tick()
    assert client.closed
    assert answered(host, 0, OK) == [[b"SHARDIS.RELEASE"]]
    assert not host.tasks


def test_a_command_that_asks_for_more_keys_is_run_again(host: PlayedHost) -> None:
    source, wanted = host.key(0), host.key(1)
    client = client_of(host, ["SORT", source, "BY", "w_*"])
    hop(host, 0, CLOCK)
    asked = answered(host, 0, array(array(bulk(wanted))))
    assert asked == [[b"SHARDIS.WITH", b"SORT", source, b"BY", b"w_*"]]
    assert hop(host, 0, OK, CLOCK) == [
        [[b"SHARDIS.RELEASE"]],
        [[b"SHARDIS.LOCK", b"try", b"keys", source, b"r"]],
    ]
    assert answered(host, 1, CLOCK + b"$6\r\nparcel\r\n") == [
        [b"SHARDIS.LOCK", b"try", b"keys", wanted, b"r"],
        [b"SHARDIS.LEND", wanted],
    ]
    hop(host, 0, OK, with_reply(b"*0\r\n"))
    assert client.take() == b"*0\r\n"


def test_a_client_that_leaves_is_forgotten_when_its_command_ends(host: PlayedHost) -> None:
    client = client_of(host, ["DEL", host.key(0), host.key(1)])
    client.session.closed_by_driver()
    for shard in (0, 1):
        host.answer(shard, CLOCK)
    for reply in (b":1\r\n", OK):
        for shard in (0, 1):
            host.answer(shard, reply)
    assert not any(host.dispatcher.sessions)
    assert not host.tasks


def test_a_bug_in_a_command_is_an_error_reply(
    host: PlayedHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client waited for ever."""

    async def broken(*args: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr("router.host.run_multi_shard", broken)
    client = client_of(host, ["RENAME", host.key(0), host.key(1)], ["PING"])
    assert client.take() == b"-ERR internal error\r\n+PONG\r\n"
    assert "RENAME failed" in caplog.text
