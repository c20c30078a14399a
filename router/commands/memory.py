"""MEMORY: what the processes use memory for. MEMORY USAGE is a shard's, in server.py there."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from actors.figures import resident_bytes
from protocol.commands import Place, Request, Response, command
from router.stats import Database, allocator_resident, merged_databases, total

if TYPE_CHECKING:
    from protocol.reply import Reply
    from router.admin import Admin, Caller

SERVER: dict[str, Any] = {"group": "server", "place": Place.ADMIN}
GATHERED: dict[str, Any] = {
    "request": Request.ALL_SHARDS,
    "response": Response.SPECIAL,
    "tips": ("nondeterministic_output",),
}
SMALL_BYTES = 5 << 20
"""A server that uses less gives the doctor nothing to go by."""


async def figures(admin: Admin) -> tuple[dict[str, int | float], dict[int, Database]]:
    """The fields of MEMORY STATS, in Redis's order; and the databases, which it shows among them.

    `allocator.*` are what malloc says in all shards; `fragmentation` is what it has from the system
    to what it has given out.
    """
    request = {"op": "stats"}
    workers, shards = await asyncio.gather(admin.ask_workers(request), admin.ask_shards(request))
    used = total(shards, "used_memory")
    admin.peak_memory = max(admin.peak_memory, used)
    startup = total(shards, "startup_memory")
    overhead = startup + total(shards, "overhead_memory")
    clients = total(workers, "client_bytes")
    shard_resident = total(shards, "rss")
    resident = resident_bytes(os.getpid()) + shard_resident + total(workers, "rss")
    data = allocator_resident(shards)
    allocated = total(shards, "allocator_allocated")
    active = total(shards, "allocator_active")
    databases = merged_databases(shards)
    keys = sum(database.keys for database in databases.values())
    dataset = max(used - overhead, 0)
    result: dict[str, int | float] = {
        "peak.allocated": admin.peak_memory,
        "total.allocated": used,
        "startup.allocated": startup,
        "replication.backlog": 0,
        "clients.slaves": 0,
        "clients.normal": clients,
        "cluster.links": 0,
        "aof.buffer": 0,
        "lua.caches": 0,
        "functions.caches": 0,
    }
    result |= {
        "overhead.total": overhead,
        "keys.count": keys,
        "keys.bytes-per-key": max(used - startup, 0) // keys if keys else 0,
        "dataset.bytes": dataset,
        "dataset.percentage": dataset * 100 / max(used - startup, 1),
        "peak.percentage": used * 100 / max(admin.peak_memory, 1),
        "allocator.allocated": allocated,
        "allocator.active": active,
        "allocator.resident": active,
        "allocator-fragmentation.ratio": active / max(allocated, 1),
        "allocator-fragmentation.bytes": active - allocated,
        "allocator-rss.ratio": 1.0,
        "allocator-rss.bytes": 0,
        "rss-overhead.ratio": resident / max(shard_resident, 1),
        "rss-overhead.bytes": resident - shard_resident,
        "fragmentation": data / max(allocated, 1),
        "fragmentation.bytes": data - allocated,
    }
    return result, databases


@command("MEMORY|STATS", arity=2, **GATHERED, **SERVER)
async def memory_stats(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Show what memory is used for."""
    fields, databases = await figures(admin)
    reply.map(len(fields) + len(databases))
    for name, value in fields.items():
        if name == "overhead.total":
            for number, database in databases.items():
                _write_database(reply, number, database)
        reply.bulk(name.encode())
        if isinstance(value, float):
            reply.double(value)
        else:
            reply.integer(value)


def _write_database(reply: Reply, number: int, database: Database) -> None:
    reply.bulk(b"db.%d" % number)
    reply.map(3)
    reply.bulk(b"overhead.hashtable.main")
    reply.integer(database.table_bytes)
    reply.bulk(b"overhead.hashtable.expires")
    reply.integer(database.expiring_table_bytes)
    reply.bulk(b"overhead.hashtable.slot-to-keys")
    reply.integer(0)  # there is a table for each slot


@command("MEMORY|DOCTOR", arity=2, **GATHERED, **SERVER)
async def memory_doctor(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Explain in words whether memory is used well."""
    fields, _ = await figures(admin)
    findings: list[str] = []
    if fields["total.allocated"] < SMALL_BYTES:
        findings.append("There is too little data in here to judge.")
    else:
        if fields["peak.allocated"] > fields["total.allocated"] * 1.5:
            findings.append(
                "Once there was much more data than now: the processes may hold memory that MEMORY"
                " PURGE gives back."
            )
        if fields["allocator-fragmentation.ratio"] > 1.4:
            findings.append(
                "The shards hold much more memory than their data takes: a sign of fragmentation,"
                " or of data that was deleted. Try MEMORY PURGE."
            )
        if not findings:
            findings.append("Nothing is wrong with the use of memory.")
    reply.verbatim("\n".join(findings).encode() + b"\n", b"txt")


@command(
    "MEMORY|PURGE",
    arity=2,
    request=Request.ALL_SHARDS,
    response=Response.ALL_SUCCEEDED,
    **SERVER,
)
async def memory_purge(admin: Admin, caller: Caller, args: list[bytes], reply: Reply) -> None:
    """Give free memory back to the system."""
    await admin.broadcast({"op": "purge"})
    reply.ok()


@command("MEMORY|MALLOC-STATS", arity=2, **GATHERED, **SERVER)
async def memory_malloc_stats(
    admin: Admin, caller: Caller, args: list[bytes], reply: Reply
) -> None:
    """Show what the allocators of the shards say of themselves."""
    answers = await admin.ask_shards({"op": "malloc"})
    lines = [
        f"shard {index}: " + ", ".join(f"{name} {value}" for name, value in answer.items())
        for index, answer in enumerate(answers)
        if answer
    ]
    reply.verbatim("\n".join(lines).encode() + b"\n", b"txt")
