"""The limit of open files: what is reserved of it, and for how many clients it suffices."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable
from typing import Any

import pytest

from actors import descriptors
from actors.descriptors import (
    TooFewDescriptors,
    allow_clients,
    clients_at_start,
    reserved_descriptors,
    router_descriptors,
)

SETTINGS: dict[str, Any] = {
    **{"shards": 2, "io-workers": 2, "cluster-enabled": False},
    **{"bind": "127.0.0.1 -::1", "port": 6379, "tls-port": 0},
}
Limit = Callable[[int, int], None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Gives this process a soft and a hard limit that it cannot exceed, in appearance only."""
    limits = [0, 0]

    def setrlimit(_: int, wanted: tuple[int, int]) -> None:
        if wanted[1] > limits[1] or wanted[0] > wanted[1]:
            raise ValueError("not allowed to raise maximum limit")
        limits[:] = wanted

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(descriptors.resource, "setrlimit", setrlimit)
    return lambda soft, hard: limits.__setitem__(slice(None), [soft, hard])


def test_what_is_reserved_grows_with_the_processes() -> None:
    """128 were reserved whatever the number of shards, of which each takes four."""
    many = {**SETTINGS, "shards": 48}
    assert reserved_descriptors(many) - reserved_descriptors(SETTINGS) >= 4 * 46
    assert reserved_descriptors({**SETTINGS, "io-workers": 48}) == reserved_descriptors(many)


def test_the_router_needs_some_for_every_process_and_every_port_of_a_shard() -> None:
    many = {**SETTINGS, "shards": 48, "io-workers": 40}
    assert router_descriptors(many) - router_descriptors(SETTINGS) >= 4 * 84
    cluster = {**many, "cluster-enabled": True, "tls-port": 6380}
    assert router_descriptors(cluster) == router_descriptors(many) + 48 * 2 * 2


def test_the_soft_limit_is_raised_as_far_as_the_hard_one(limit: Limit) -> None:
    limit(100, 10_000)
    assert allow_clients(500, SETTINGS) == 500
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 500 + reserved_descriptors(SETTINGS)
    limit(100, 200)
    assert allow_clients(500, SETTINGS) == 200 - reserved_descriptors(SETTINGS)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, 200)


def test_a_limit_that_suffices_is_left_alone(limit: Limit) -> None:
    limit(5000, 10_000)
    assert allow_clients(500, SETTINGS) == 500
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (5000, 10_000)
    limit(resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert allow_clients(1 << 31, SETTINGS) == 1 << 31


def test_a_server_whose_router_could_not_hold_its_sockets_does_not_start(
    limit: Limit, caplog: pytest.LogCaptureFixture
) -> None:
    """It would serve a few clients, but could never start all of its processes."""
    many = {**SETTINGS, "shards": 64, "io-workers": 64}
    assert reserved_descriptors(many) < 512 < router_descriptors(many)
    limit(512, 512)
    with caplog.at_level(logging.WARNING, "shardis"), pytest.raises(TooFewDescriptors):
        clients_at_start(10_000, many)
    assert "'ulimit -n' of 512 is not enough for the server to start" in caplog.text


def test_few_clients_do_not_lower_the_limit_below_the_router_s_need(limit: Limit) -> None:
    many = {**SETTINGS, "shards": 64, "io-workers": 64}
    limit(100, 10_000)
    assert clients_at_start(1, many) == 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == router_descriptors(many)
