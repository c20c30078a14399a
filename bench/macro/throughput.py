"""Figures of throughput samples: medians over rounds, and ratios within a round."""

from __future__ import annotations

import math
import statistics
from typing import Any

from bench.macro.targets import BASELINE, PROXY, THROUGHPUT

TESTS = ("SET", "GET", "INCR")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column left-aligned and the others right-aligned."""
    rule = ["---", *["---:" for _ in header[1:]]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


class Throughput:
    """Medians and ratios of one throughput result. Every figure is a median over rounds."""

    def __init__(self, result: dict[str, Any]) -> None:
        samples = result["samples"]
        self.failed: dict[str, str] = result["failed"]
        self.by_key = {(s["row"], s["depth"], s["test"], s["round"]): s for s in samples}
        self.rows: list[str] = result["rows"]
        self.depths: list[int] = sorted({s["depth"] for s in samples})
        self.rounds: list[int] = sorted({s["round"] for s in samples})

    def values(self, row: str, depth: int, test: str, field: str) -> list[float]:
        found = (self.by_key.get((row, depth, test, number)) for number in self.rounds)
        return [sample[field] for sample in found if sample is not None]

    def median(self, row: str, depth: int, test: str, field: str) -> float | None:
        values = self.values(row, depth, test, field)
        return statistics.median(values) if values else None

    def ratios(self, row: str, depth: int, test: str) -> list[float]:
        """This row's throughput over redis-server's, round by round."""
        pairs = (
            (
                self.by_key.get((row, depth, test, number)),
                self.by_key.get((BASELINE, depth, test, number)),
            )
            for number in self.rounds
        )
        return [own["rps"] / base["rps"] for own, base in pairs if own and base]

    def ratio(self, row: str, depth: int, test: str) -> float | None:
        ratios = self.ratios(row, depth, test)
        return statistics.median(ratios) if ratios else None

    def mean_ratio(self, row: str, depth: int) -> float | None:
        """The geometric mean of the three commands' ratios; None unless all three were measured."""
        ratios = [self.ratio(row, depth, test) for test in TESTS]
        known = [ratio for ratio in ratios if ratio is not None]
        if len(known) < len(TESTS):
            return None
        return math.exp(statistics.fmean(math.log(ratio) for ratio in known))

    def verdicts(self) -> list[str]:
        """One line for each goal: target, must or missed. A failed row misses all of its goals."""
        lines = []
        for row, goals in THROUGHPUT.items():
            if row not in self.rows:
                continue
            for depth, goal in goals.items():
                if depth not in self.depths:
                    continue
                mean = None if row in self.failed else self.mean_ratio(row, depth)
                verdict = "missed" if mean is None else goal.verdict(mean)
                shown = "failed" if mean is None else f"{mean:.2f} of redis-server"
                lines.append(
                    f"- {row}, P={depth}: {shown} "
                    f"(must {goal.must:.2f}, target {goal.target:.2f}): **{verdict}**"
                )
            if PROXY in self.rows and PROXY not in self.failed:
                lines.append(f"- {row}, ahead of {PROXY} at every depth: {self._ahead(row)}")
        return lines

    def _ahead(self, row: str) -> str:
        means = {d: (self.mean_ratio(row, d), self.mean_ratio(PROXY, d)) for d in self.depths}
        behind = [
            f"P={depth}"
            for depth, (own, proxy) in means.items()
            if row in self.failed or own is None or (proxy is not None and own <= proxy)
        ]
        return f"**missed** ({', '.join(behind)})" if behind else "**target**"

    def markdown(self) -> str:
        parts = []
        for depth in self.depths:
            header = [f"P={depth}"]
            header += [f"{test} k/s (ratio)" for test in TESTS]
            header += ["geometric mean", "CPU us/command", "p50 / p99 ms (SET)"]
            parts.append(table(header, [self._row(row, depth) for row in self.rows]))
        return "\n\n".join(parts)

    def _row(self, row: str, depth: int) -> list[str]:
        if row in self.failed:
            return [row, *["failed"] * (len(TESTS) + 3)]
        cells = [row]
        for test in TESTS:
            rps, ratio = self.median(row, depth, test, "rps"), self.ratio(row, depth, test)
            cells.append("-" if rps is None or ratio is None else f"{rps / 1e3:,.0f} ({ratio:.2f})")
        mean = self.mean_ratio(row, depth)
        cells.append("-" if mean is None else f"**{mean:.2f}**")
        used = [self.median(row, depth, test, "cpu_us") for test in TESTS]
        cells.append(" / ".join("-" if value is None else f"{value:.2f}" for value in used))
        p50 = self.median(row, depth, "SET", "p50_ms")
        p99 = self.median(row, depth, "SET", "p99_ms")
        cells.append("-" if p50 is None or p99 is None else f"{p50:.2f} / {p99:.2f}")
        return cells
