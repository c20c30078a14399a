"""`python -m bench.macro`: measure, print the table, keep the raw samples in bench/results/.

python -m bench.macro                        throughput, all standard rows
python -m bench.macro --quick                three rounds of short runs
python -m bench.macro --scenario keys10m     the same over ten million loaded keys
python -m bench.macro --scenario memory      bytes per key
python -m bench.macro --scenario startup     time to PONG, idle CPU, PSS
python -m bench.macro --scenario types       hot commands of every data type, depth by depth
python -m bench.macro --scenario commands    every command of the data types, slowest first
python -m bench.macro --scenario several     commands over several keys, on two shards
python -m bench.macro --scenario bigzset     a sorted set of a million members
python -m bench.macro --scenario types-memory   bytes of each kind of collection
python -m bench.macro --scenario transactions   MULTI, and clients that block
python -m bench.macro --scenario blocked     ten thousand clients that wait
python -m bench.macro --opt-in shardis-1+1@pinned
python -m bench.macro --row "spin=--some-option 1"
python -m bench.macro report FILE            the table of an earlier result
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from bench.macro import machine, report, scenarios, transactions, types
from bench.macro.cases import Case
from bench.macro.every_command import COMMANDS
from bench.macro.servers import OPT_IN, STANDARD, ServerFailed, Variant, with_options
from bench.macro.targets import BASELINE
from bench.macro.type_cases import BIG_ZSET, SEVERAL_KEYS, TYPES

Measured = TypeVar("Measured", Case, transactions.Rate)
CASES = {"types": TYPES, "commands": COMMANDS, "bigzset": BIG_ZSET, "several": SEVERAL_KEYS}
PLAIN = {
    "memory": scenarios.memory,
    "startup": scenarios.startup,
    "types-memory": types.types_memory,
    "blocked": transactions.blocked,
}
RESULTS = Path(__file__).resolve().parents[1] / "results"
# Scenario -> rounds, seconds of a run, depths: what they are unless the command line says more.
SCENARIOS: dict[str, tuple[int, float, str]] = {
    "throughput": (7, 1.5, "1,16,50"),
    "keys10m": (7, 1.5, "1,16,50"),
    "memory": (1, 0.0, ""),
    "startup": (1, 0.0, ""),
    "types": (5, 0.7, "1,16,50"),
    "commands": (3, 0.3, "16"),
    "bigzset": (5, 1.0, "16"),
    "several": (5, 1.0, "1,16"),
    "types-memory": (1, 0.0, ""),
    "transactions": (7, 1.0, ""),
    "blocked": (1, 0.0, ""),
}
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.4
ENDPOINT = "shardis-1+1"  # what the scenarios about data types compare, unless told otherwise
TWO_SHARDS = "shardis-1+2"


def arguments(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.macro", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--scenario", choices=SCENARIOS, default="throughput")
    parser.add_argument("--rounds", type=int, help="default by scenario, with --quick at most 3")
    parser.add_argument("--seconds", type=float, help="length of a run; default by scenario")
    parser.add_argument("--quick", action="store_true", help="for day-to-day work")
    parser.add_argument("--depths", help="pipeline depths")
    parser.add_argument("--rows", help="only these rows, by name (standard or opt-in)")
    parser.add_argument("--cases", help="only these cases, by name")
    parser.add_argument(
        "--opt-in",
        default="",
        help="also these rows: " + ", ".join(variant.name for variant in OPT_IN),
    )
    parser.add_argument(
        "--row",
        action="append",
        default=[],
        metavar="NAME=OPTIONS",
        help="also a row with own server options",
    )
    parser.add_argument("--seed", type=int, help="of the order within rounds")
    parser.add_argument("--keys", type=int, help="keys to draw from; default 100000")
    parser.add_argument("--memory-keys", type=int, default=2_000_000)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--idle-seconds", type=float, default=10.0)
    parser.add_argument("--no-save", action="store_true", help="print only, keep no result file")
    return parser.parse_args(args)


def select(chosen: argparse.Namespace) -> list[Variant]:
    """The rows to measure, redis-server first. Exits on an unknown name."""
    known = {variant.name: variant for variant in (*STANDARD, *OPT_IN)}
    names = [variant.name for variant in STANDARD]
    if chosen.scenario in ("types-memory", *CASES):
        names = [BASELINE, TWO_SHARDS if chosen.scenario == "several" else ENDPOINT]
    elif chosen.scenario in ("transactions", "blocked"):
        names = [BASELINE, ENDPOINT, TWO_SHARDS]
    elif shutil.which("nutcracker") is None and not Path("/usr/sbin/nutcracker").exists():
        names.remove("twemproxy")
        scenarios.say("nutcracker is not installed: no twemproxy row")
    if chosen.rows:
        names = [BASELINE, *(name for name in chosen.rows.split(",") if name != BASELINE)]
    names += [name for name in chosen.opt_in.split(",") if name and name not in names]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown rows: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] + [with_options(text) for text in chosen.row]


def select_cases(chosen: argparse.Namespace, cases: Sequence[Measured]) -> list[Measured]:
    """The cases to measure. Exits on an unknown name."""
    known = {case.name: case for case in cases}
    names = chosen.cases.split(",") if chosen.cases else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown cases: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    variants = select(chosen)
    loaded = 10_000_000 if chosen.scenario == "keys10m" else 0
    keys = chosen.keys or loaded or 100_000
    rounds, seconds, depths = SCENARIOS[chosen.scenario]
    if chosen.quick:
        rounds, seconds = min(rounds, QUICK_ROUNDS), min(seconds, QUICK_SECONDS)
    options = scenarios.Options(
        rounds=chosen.rounds or rounds,
        seconds=chosen.seconds or seconds,
        depths=tuple(int(depth) for depth in (chosen.depths or depths).split(",") if depth),
        seed=chosen.seed if chosen.seed is not None else time.time_ns() % 1_000_000,
        keys=keys,
        preload=keys if loaded else 0,
        memory_keys=chosen.memory_keys,
        starts=chosen.starts,
        idle_seconds=chosen.idle_seconds,
    )
    facts = machine.describe()
    scenarios.say(f"seed {options.seed}; rows: {', '.join(variant.name for variant in variants)}")
    result: dict[str, Any] = {
        "scenario": chosen.scenario,
        "machine": facts,
        "options": asdict(options),
        "rows": [variant.name for variant in variants],
        "about": {variant.name: variant.about for variant in variants},
    }
    if chosen.scenario in CASES:
        survey = types.case_by_case if chosen.scenario == "commands" else types.rounds_of_all
        return {**result, **survey(variants, options, select_cases(chosen, CASES[chosen.scenario]))}
    if chosen.scenario in PLAIN:
        measured = PLAIN[chosen.scenario](variants, options)
        return {**result, "measured": measured["rows"], "failed": measured["failed"]}
    if chosen.scenario == "transactions":
        rates = select_cases(chosen, transactions.RATES)
        return {**result, **transactions.transactions(variants, options, rates)}
    return {**result, **scenarios.throughput(variants, options)}


def save(result: dict[str, Any]) -> Path:
    facts = result["machine"]
    moment = re.sub(r"[^0-9T]", "", facts["time"][:19])
    name = f"{moment}-{result['scenario']}-{facts['commit']}{'-dirty' * facts['dirty']}.json"
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / name
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)  # so that every `finally` stops its servers


def main(args: list[str] | None = None) -> int:
    arguments_given = sys.argv[1:] if args is None else args
    if arguments_given[:1] == ["report"]:
        for path in arguments_given[1:]:
            sys.stdout.write(report.render(json.loads(Path(path).read_text())))
        return 0
    chosen = arguments(arguments_given)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        result = measure(chosen)
    except ServerFailed as failure:
        scenarios.say(str(failure))
        return 1
    sys.stdout.write(report.render(result))
    if not chosen.no_save:
        scenarios.say(f"raw samples: {save(result)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
