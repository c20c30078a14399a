"""From raw samples to the Markdown tables of docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

from bench.macro import report_types, transactions
from bench.macro.targets import BASELINE
from bench.macro.throughput import TESTS, Throughput, table


def _head(result: dict[str, Any]) -> str:
    machine = result["machine"]
    options = result["options"]
    lines = [
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}. {machine['redis']}.",
        f"Commit {machine['commit']}{' with uncommitted changes' if machine['dirty'] else ''}, "
        f"{machine['time']}.",
    ]
    if "commands" in result:
        lines.append(
            f"redis-benchmark -c 50; medians of {options['rounds']} interleaved rounds (seed "
            f"{options['seed']}); a ratio is the median of the ratios to redis-server in the same "
            f"round."
        )
    elif result["scenario"] == "transactions":
        lines.append(
            f"Each client sends again when it is answered; medians of {options['rounds']} "
            f"interleaved rounds (seed {options['seed']}); a ratio is the median of the ratios to "
            f"redis-server in the same round; CPU is the server's, of all its processes."
        )
    elif "samples" in result:
        loaded = f", {options['preload']:,} keys loaded" if options["preload"] else ""
        lines.append(
            f"redis-benchmark -c 50 -d 3 -r {options['keys']}{loaded}; medians of "
            f"{options['rounds']} interleaved rounds (seed {options['seed']}); a ratio is the "
            f"median of the ratios to redis-server in the same round; CPU is the server's, of "
            f"all its processes and threads, for {' / '.join(TESTS)}."
        )
    return "\n".join(lines)


def _memory(result: dict[str, Any]) -> str:
    rows = []
    for name in result["rows"]:
        row = result["measured"].get(name)
        if row is None:
            rows.append([name, "failed", "failed"])
        else:
            rows.append([name, f"{row['rss_per_key']:.1f}", f"{row['used_per_key']:.1f}"])
    text = table(["", "RSS growth, bytes/key", "used_memory growth, bytes/key"], rows)
    base = result["measured"].get(BASELINE)
    lines = []
    for name in result["rows"]:
        if base is None or not name.startswith("shardis"):
            continue
        row = result["measured"].get(name)
        fields = ("rss_per_key", "used_per_key")
        fewer = row is not None and all(row[field] < base[field] for field in fields)
        lines.append(
            f"- {name}, fewer bytes per key than redis-server: "
            f"**{'target' if fewer else 'missed'}**"
        )
    keys = result["options"]["memory_keys"]
    return f"{keys:,} keys `key:%012d` with values of 10 bytes.\n\n{text}\n\n" + "\n".join(lines)


def _startup(result: dict[str, Any]) -> str:
    rows = []
    for name in result["rows"]:
        row = result["measured"].get(name)
        if row is None:
            rows.append([name, *["failed"] * 4])
        else:
            rows.append(
                [
                    name,
                    f"{row['ready_seconds'] * 1e3:.0f}",
                    f"{row['idle_cpu_percent']:.2f}",
                    f"{row['pss_bytes'] / 2**20:.1f}",
                    str(row["processes"]),
                ]
            )
    return table(["", "ready after ms", "idle CPU %", "PSS MiB", "processes"], rows)


TABLES = {
    "types": report_types.types,
    "commands": report_types.commands,
    "bigzset": report_types.big_zset,
    "several": report_types.several_keys,
    "types-memory": report_types.memory,
    "transactions": transactions.render_transactions,
    "blocked": transactions.render_blocked,
}


def render(result: dict[str, Any]) -> str:
    """The Markdown of one result file."""
    if result["scenario"] == "memory":
        body = _memory(result)
    elif result["scenario"] == "startup":
        body = _startup(result)
    elif result["scenario"] in TABLES:
        body = TABLES[result["scenario"]](result)
    else:
        figures = Throughput(result)
        body = figures.markdown() + "\n\n" + "\n".join(figures.verdicts())
    failures = [f"- {name} failed: {why}" for name, why in result["failed"].items()]
    return "\n\n".join(part for part in (_head(result), body, "\n".join(failures)) if part) + "\n"
