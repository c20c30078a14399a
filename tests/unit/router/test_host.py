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
        self.install(Topology(self.version, shards, [(0, 1)], slots))

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
    client = client_of(host, ["DEL", host.key(0), host.key(1)], ["SET", host.key(2), "v"])
    host.topology({1: 1, 2: 1})
    host.tick()
    assert client.closed
    assert host.runs(2) == []
    assert [one for one in host.dispatcher.sessions if one is client.session] == []


def test_a_lost_read_of_a_split_command_is_loading(host: PlayedHost) -> None:
    client = client_of(host, ["MGET", host.key(0), host.key(1)], ["PING"])
    host.answer(1, b"*1\r\n$1\r\nv\r\n")
    host.topology({1: 1, 2: 1})
    host.tick()
    assert client.take() == LOADING + b"+PONG\r\n"
    assert not client.closed
    assert not host.tasks


LENT = b"*1\r\n$6\r\nparcel\r\n"
HELD = b"*0\r\n"  # what home answers to a lock, which lends nothing
REFUSED = b"*-1\r\n"


def answered(host: PlayedHost, shard: int, reply: bytes) -> list[list[bytes]]:
    """Answer the one run that waits at a shard; its commands."""
    raw = host.answer(shard, reply)
    return [[arg.value for arg in parse(one).value] for one in replies(raw)]


def array(*words: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(words), b"".join(words))


def with_reply(reply: bytes, changes: bytes = b"*0\r\n", used: bytes = b"*0\r\n") -> bytes:
    """What home answers to SHARDIS.WITH and the UNLOCK behind it."""
    return array(bulk(reply), changes, used) + b"+OK\r\n"


def test_a_command_runs_where_it_writes_and_is_lent_the_rest(host: PlayedHost) -> None:
    source, target = host.key(0), host.key(1)
    client = client_of(host, ["RENAMENX", source, target])
    assert answered(host, 0, LENT) == [[b"SHARDIS.TRYLOCK", b"1", b"1", source, b"w"]]
    assert answered(host, 1, HELD) == [[b"SHARDIS.TRYLOCK", b"1", b"0", target, b"w"]]
    assert answered(host, 1, with_reply(b":0\r\n")) == [
        [b"SHARDIS.WITH", b"1", source, b"parcel", b"RENAMENX", source, target],
        [b"SHARDIS.UNLOCK", b"1"],
    ]
    assert client.take() == b":0\r\n"
    assert answered(host, 0, b"+OK\r\n") == [[b"SHARDIS.UNLOCK", b"1"]]


def test_what_was_changed_of_what_was_lent_goes_back(host: PlayedHost) -> None:
    client = client_of(host, ["RENAME", host.key(0), host.key(1)])
    host.answer(0, LENT)
    host.answer(1, HELD)
    change = [host.key(0), b"", b"rename_from"]
    host.answer(1, with_reply(b"+OK\r\n", array(array(*map(bulk, change)))))
    assert client.take() == b""
    assert answered(host, 0, b"+OK\r\n+OK\r\n") == [
        [b"SHARDIS.IMPORT", *change],
        [b"SHARDIS.UNLOCK", b"1"],
    ]
    assert client.take() == b"+OK\r\n"


def test_keys_that_are_only_read_are_shared_and_told_of_their_use(host: PlayedHost) -> None:
    source, target = host.key(0), host.key(1)
    client = client_of(host, ["SUNIONSTORE", target, source])
    assert answered(host, 0, LENT) == [[b"SHARDIS.TRYLOCK", b"1", b"1", source, b"r"]]
    host.answer(1, HELD)
    host.answer(1, with_reply(b":1\r\n", used=array(bulk(source), bulk(b"12345"))))
    assert client.take() == b":1\r\n"
    assert answered(host, 0, b"+OK\r\n") == [[b"SHARDIS.UNLOCK", b"1", source, b"12345"]]


def test_a_command_that_is_refused_a_key_waits_at_one_shard_after_the_other(
    host: PlayedHost,
) -> None:
    source, target = host.key(1), host.key(0)
    client = client_of(host, ["RENAMENX", source, target])
    host.answer(0, HELD)
    host.answer(1, REFUSED)
    unlocked, locked = host.runs(0)
    assert b"SHARDIS.UNLOCK" in unlocked.raw
    assert b"$12\r\nSHARDIS.LOCK" in locked.raw
    assert host.runs(1) == []
    host.played[0].answer(reply_to(unlocked, b"+OK\r\n"))
    host.played[0].answer(reply_to(locked, HELD))
    host.tick()
    assert answered(host, 1, LENT)[0][0] == b"SHARDIS.LOCK"
    host.answer(0, with_reply(b":0\r\n"))
    assert client.take() == b":0\r\n"


def test_keys_are_let_go_when_a_shard_dies_that_holds_others(host: PlayedHost) -> None:
    client = client_of(host, ["RENAMENX", host.key(0), host.key(1)], ["PING"])
    host.answer(1, HELD)
    host.topology({1: 1, 2: 1})
    host.tick()
    assert client.take() == LOADING + b"+PONG\r\n"
    assert answered(host, 1, b"+OK\r\n") == [[b"SHARDIS.UNLOCK", b"1"]]
    assert not host.tasks


def test_a_command_that_asks_for_more_keys_is_run_again(host: PlayedHost) -> None:
    source, wanted = host.key(0), host.key(1)
    client = client_of(host, ["SORT", source, "BY", "w_*"])
    host.answer(0, HELD)
    asked = answered(host, 0, array(array(bulk(wanted))) + b"+OK\r\n")
    assert asked[0][:2] == [b"SHARDIS.WITH", b"0"]
    assert answered(host, 0, HELD) == [[b"SHARDIS.TRYLOCK", b"2", b"0", source, b"r"]]
    assert answered(host, 1, LENT) == [[b"SHARDIS.TRYLOCK", b"2", b"1", wanted, b"r"]]
    again = answered(host, 0, with_reply(b"*0\r\n"))
    assert again[0][:4] == [b"SHARDIS.WITH", b"1", wanted, b"parcel"]
    assert client.take() == b"*0\r\n"


def test_a_client_that_leaves_is_forgotten_when_its_command_ends(host: PlayedHost) -> None:
    client = client_of(host, ["DEL", host.key(0), host.key(1)])
    client.session.closed_by_driver()
    host.answer(0, b":1\r\n")
    host.answer(1, b":1\r\n")
    assert not any(host.dispatcher.sessions)
    assert not host.tasks


def test_a_bug_in_a_command_is_an_error_reply(
    host: PlayedHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client waited for ever."""

    async def broken(*args: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr("router.host.run_multi_shard", broken)
    client = client_of(host, ["DEL", host.key(0), host.key(1)], ["PING"])
    assert client.take() == b"-ERR internal error\r\n+PONG\r\n"
    assert "DEL failed" in caplog.text
