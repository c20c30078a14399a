"""The tables of the scenarios about data types."""

from __future__ import annotations

from typing import Any

from bench.macro.targets import (
    BASELINE,
    MEMORY_RATIO_MAX,
    SEVERAL_KEYS,
    TYPES,
    WORST_COMMAND,
    Goal,
)
from bench.macro.throughput import Throughput, table

MEMORY_FIELDS = {"used": "used_memory", "rss": "RSS"}


def memory(result: dict[str, Any]) -> str:
    """Growth by dataset, ours and redis-server's, and the ratios with their verdicts."""
    base = result["measured"].get(BASELINE, {})
    parts = []
    for row in result["rows"]:
        if row == BASELINE:
            continue
        header = [row]
        for name in MEMORY_FIELDS.values():
            header += [f"{name} MB", "redis-server MB", "ratio"]
        cells, over = [], []
        for dataset, theirs in base.items():
            own = result["measured"].get(row, {}).get(dataset)
            line = [dataset]
            for field, name in MEMORY_FIELDS.items():
                if own is None:
                    line += ["failed", f"{theirs[field] / 1e6:.1f}", "-"]
                    over.append(f"{dataset} ({name}): failed")
                    continue
                ratio = own[field] / theirs[field]
                line += [f"{own[field] / 1e6:.1f}", f"{theirs[field] / 1e6:.1f}", f"{ratio:.3f}"]
                if ratio > MEMORY_RATIO_MAX:
                    over.append(f"{dataset} ({name}): {ratio:.3f}")
            cells.append(line)
        verdict = f"**missed** ({'; '.join(over)})" if over else "**must**"
        parts.append(
            table(header, cells)
            + f"\n\n- {row}, each at most {MEMORY_RATIO_MAX:.2f} of redis-server: {verdict}"
        )
    return "Growth by the data, each loaded into a fresh server.\n\n" + "\n\n".join(parts)


class Cases:
    """Ratios of cases, row by row; a case that broke has none."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.figures = Throughput(result)
        self.commands: dict[str, str] = result["commands"]
        self.rows = [row for row in result["rows"] if row != BASELINE]
        self.broken: dict[str, dict[str, str]] = result["broken"]

    def ratio(self, row: str, depth: int, case: str) -> float | None:
        broken = row in self.figures.failed or case in self.broken.get(row, {})
        return None if broken else self.figures.ratio(row, depth, case)

    def cell(self, row: str, depth: int, case: str) -> list[str]:
        """Thousands of commands per second of redis-server and ours, and the ratio."""
        ratio = self.ratio(row, depth, case)
        base = self.figures.median(BASELINE, depth, case, "rps")
        own = self.figures.median(row, depth, case, "rps")
        if ratio is None or base is None or own is None:
            return ["-", "-", "failed"]
        return [f"{base / 1e3:,.1f}", f"{own / 1e3:,.1f}", f"{ratio:.2f}"]

    def verdicts(self, goals: dict[int, Goal]) -> list[str]:
        """One line for each row and depth, which names the cases below the must."""
        lines = []
        for row in self.rows:
            for depth, goal in goals.items():
                if depth not in self.figures.depths:
                    continue
                ratios = {case: self.ratio(row, depth, case) for case in self.commands}
                low = sorted(
                    (ratio or 0.0, case)
                    for case, ratio in ratios.items()
                    if ratio is None or ratio < goal.must
                )
                reached = sum(r is not None and r >= goal.target for r in ratios.values())
                shown = ", ".join(f"{case} {ratio:.2f}" for ratio, case in low)
                verdict = f"**missed** by {len(low)}: {shown}" if low else "**must**"
                if reached == len(ratios):
                    verdict = "**target**"
                lines.append(
                    f"- {row}, P={depth}, must {goal.must:.2f}, target {goal.target:.2f}: "
                    f"{reached} of {len(ratios)} at the target; {verdict}"
                )
        return lines

    def failures(self) -> list[str]:
        return [
            f"- {row}, {case}: {why}"
            for row in self.broken
            for case, why in self.broken[row].items()
        ]


def by_depth(result: dict[str, Any], goals: dict[int, Goal]) -> str:
    """A line for each case, with its figures at each depth; the exact commands; the verdicts."""
    cases = Cases(result)
    parts = []
    for row in cases.rows:
        header = [row]
        for depth in cases.figures.depths:
            header += [f"P={depth} redis-server k/s", "own k/s", "ratio"]
        lines = []
        for case in cases.commands:
            line = [case]
            for depth in cases.figures.depths:
                line += cases.cell(row, depth, case)
            lines.append(line)
        parts.append(table(header, lines))
    commands = "\n".join(f"- {case}: `{command}`" for case, command in cases.commands.items())
    verdicts = "\n".join([*cases.verdicts(goals), *cases.failures()])
    return "\n\n".join([*parts, commands, verdicts])


def types(result: dict[str, Any]) -> str:
    return by_depth(result, TYPES)


def several_keys(result: dict[str, Any]) -> str:
    return by_depth(result, SEVERAL_KEYS)


def big_zset(result: dict[str, Any]) -> str:
    return by_depth(result, dict.fromkeys(result["options"]["depths"], Goal(1.0, 1.0)))


def commands(result: dict[str, Any]) -> str:
    """All cases, slowest first; the failed ones lead."""
    cases = Cases(result)
    parts = []
    goals: dict[int, Goal] = {}
    for row in cases.rows:
        for depth in cases.figures.depths:
            goals[depth] = WORST_COMMAND
            known = {case: cases.ratio(row, depth, case) for case in cases.commands}
            slowest = sorted(known, key=lambda case, known=known: known[case] or 0.0)  # type: ignore[misc]
            lines = [
                [
                    case.replace("|", " "),
                    f"`{cases.commands[case][:60]}`",
                    *cases.cell(row, depth, case),
                ]
                for case in slowest
            ]
            header = [f"{row}, P={depth}", "command", "redis-server k/s", "own k/s", "ratio"]
            parts.append(table(header, lines))
    return "\n\n".join([*parts, "\n".join([*cases.verdicts(goals), *cases.failures()])])
