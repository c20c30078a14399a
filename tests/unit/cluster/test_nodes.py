"""The nodes file: identities survive, whatever happens while it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.nodes import NodesFile, NodesFileError, parse

PORTS = [(7001, 17001), (7002, 17002)]
SLOTS = [(0, 8191, 0), (8192, 16383, 1)]


def opened(path: Path, ports: list[tuple[int, int]] = PORTS) -> list[str]:
    file = NodesFile(str(path))
    try:
        return [identity.id for identity in file.open(ports, SLOTS)]
    finally:
        file.close()


def test_identities_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "nodes.conf"
    first = opened(path)
    text = path.read_text()
    assert opened(path) == first
    assert path.read_text() == text
    assert [len(name) for name in first] == [40, 40]
    lines = text.splitlines()
    assert lines[0].startswith(f"{first[0]} :7001@17001,,shard-id=")
    assert lines[0].endswith(" master - 0 0 1 connected 0-8191")
    assert lines[-1] == "vars currentEpoch 2 lastVoteEpoch 0"


def test_more_or_fewer_shards_keep_the_ids_of_those_that_stay(tmp_path: Path) -> None:
    path = tmp_path / "nodes.conf"
    two = opened(path)
    three = opened(path, [*PORTS, (7003, 17003)])
    assert three[:2] == two
    assert opened(path, PORTS[:1]) == two[:1]
    assert len(path.read_text().splitlines()) == 2


def test_a_file_of_redis_is_read(tmp_path: Path) -> None:
    text = (
        f"{'a' * 40} 127.0.0.1:7001@17001,,tls-port=0,shard-id={'c' * 40} myself,master - 0 0 1"
        " connected 0-8191 [5-<-bbb]\n"
        f"{'b' * 40} 127.0.0.1:7002@17002 master - 0 1700000000000 2 connected 8192-16383\n"
        "vars currentEpoch 2 lastVoteEpoch 0\n"
    )
    found = parse(text)
    assert [one.id for one in found] == ["a" * 40, "b" * 40]
    assert found[0].shard_id == "c" * 40
    assert len(found[1].shard_id) == 40


@pytest.mark.parametrize(
    "text",
    [
        "rubbish\n",
        f"{'a' * 39} :1@2 master - 0 0 1 connected\n",
        f"{'a' * 40} :1@2 master\n",
        f"{'a' * 40} :1@2 master - 0 0 1 connected\n" * 2,
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "nodes.conf"
    path.write_text(text)
    with pytest.raises(NodesFileError):
        opened(path)
    assert path.read_text() == text


def test_a_file_in_use_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "nodes.conf")
    first, second = NodesFile(path), NodesFile(path)
    first.open(PORTS, SLOTS)
    with pytest.raises(NodesFileError, match="another server"):
        second.open(PORTS, SLOTS)
    first.close()
    second.open(PORTS, SLOTS)
    second.close()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nodes.conf"
    first = opened(path)
    text = path.read_text()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(NodesFileError, match="No space"):
        opened(path, [*PORTS, (7003, 17003)])
    monkeypatch.undo()
    assert path.read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == ["nodes.conf"]
    assert opened(path) == first
