"""What becomes of the transactions of a coordinator that has died: `end_transactions`.

Its participants (shards) are asked first, all of them: each closes the links to the dead process,
so that nothing it has sent can be executed any more, and then reports the transactions that it
holds locks for, and whether it has executed its part. A part executed anywhere means that all have
to be; every participant holds its part by then (router/transactions.py). Without one, nobody has
seen anything, and all is dropped.

Until they hear the verdict, participants keep what is locked. One that dies meanwhile has nothing
left to be settled: it counts as having reported nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

Report = dict[int, bool]
"""Transaction id -> whether this participant has executed its part."""


class Participant(Protocol):
    """A control link (actors/control)."""

    def start_request(self, message: dict[str, Any]) -> asyncio.Future[Any]: ...
    def notify(self, message: dict[str, Any]) -> None: ...


def verdict(reports: Iterable[Report]) -> tuple[list[int], list[int]]:
    """The transactions to commit, and those to drop, in the order of their ids."""
    committed: dict[int, bool] = {}
    for report in reports:
        for id, done in report.items():
            committed[id] = committed.get(id, False) or done
    return (
        sorted(id for id, done in committed.items() if done),
        sorted(id for id, done in committed.items() if not done),
    )


async def leave_participant(participant: Participant, worker: int, epoch: int) -> int:
    """A living worker will not speak to this shard any more: drop what is locked there for it.

    The coordinator does the rest, as if the shard had died. How many transactions there were.
    """
    question = {"op": "fence", "worker": worker, "epoch": epoch}
    report = await participant.start_request(question)
    ids = sorted(id for id, _ in report)
    if ids:
        participant.notify({"op": "resolve", "commit": [], "drop": ids})
    return len(ids)


async def end_transactions(
    participants: Sequence[Participant], worker: int, epoch: int
) -> tuple[int, int]:
    """Settle what this incarnation of a worker has left; how many were committed and dropped."""
    question = {"op": "fence", "worker": worker, "epoch": epoch}
    answers = [one.start_request(question) for one in participants]
    reports = await asyncio.gather(*answers, return_exceptions=True)
    commit, drop = verdict(
        {id: bool(done) for id, done in report}
        for report in reports
        if not isinstance(report, BaseException)
    )
    if commit or drop:
        for one in participants:
            one.notify({"op": "resolve", "commit": commit, "drop": drop})
    return len(commit), len(drop)
