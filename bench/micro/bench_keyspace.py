"""What a lookup, an insert, an overwrite and a delete cost, and what a key costs in memory.

    python -m bench.micro.bench_keyspace [keys ...]        (default: 100000 2000000)

The loops are C (keyspace_loops.pyx, built into a temporary folder); each measurement is the best
of several rounds. RSS is taken before and after filling an empty store. The last lines are the
longest single operations, in CPU time, on a million keys of one slot: no resize may show.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from Cython.Build import cythonize
from setuptools import Distribution, Extension  # type: ignore[import-untyped]

from shards.keyspace.keyspace import Keyspace, tune_allocator

ROOT = Path(__file__).parents[2]
LOOKUPS = 1_000_000
ROUNDS = 3


def build_loops(folder: str, name: str = "keyspace_loops") -> ModuleType:
    """Compile and import a file of loops; the kernels themselves must have been built."""
    source = str(Path(__file__).with_name(f"{name}.pyx"))
    extensions = cythonize(  # type: ignore[no-untyped-call]
        [Extension(name, [source], extra_compile_args=["-O3", "-fno-strict-aliasing"])],
        include_path=[str(ROOT)],
        build_dir=folder,
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
        },
    )
    command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = folder
    command.ensure_finalized()
    command.run()
    path = command.get_ext_fullpath(name)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rss_bytes() -> int:
    """The memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def report(name: str, value: float, unit: str) -> None:
    print(f"  {name:<40}{value:>10.1f} {unit}", flush=True)


def measure(loops: ModuleType, count: int) -> None:
    """All figures for a store of `count` keys."""
    print(f"{count} keys of 16 bytes, values of 10 bytes")
    keyspace = Keyspace()
    ordered = loops.Keys(keyspace, count)
    before = rss_bytes()
    report("insert", ordered.set(10, False), "ns")
    report("RSS per key", (rss_bytes() - before) / count, "bytes")
    report("used_memory per key", keyspace.used_memory / count, "bytes")
    some = loops.Keys(keyspace, LOOKUPS, count)
    for ahead in (False, True):
        name = ", prefetch of 16" if ahead else ""
        report("find" + name, min(some.find(ahead) for _ in range(ROUNDS)), "ns")
        report("overwrite" + name, min(some.set(10, ahead) for _ in range(ROUNDS)), "ns")
    report(
        "hash, slot and find, prefetch of 16",
        min(some.hash_and_find() for _ in range(ROUNDS)),
        "ns",
    )
    hot = loops.Keys(keyspace, LOOKUPS, min(count, 1000))
    report("find, hot (1000 keys)", min(hot.find(False) for _ in range(ROUNDS)), "ns")
    report("overwrite, hot (1000 keys)", min(hot.set(10, False) for _ in range(ROUNDS)), "ns")
    report("delete, prefetch of 16", ordered.delete(True), "ns")
    assert keyspace.size(0) == 0


def measure_one_slot(loops: ModuleType, count: int) -> None:
    """The longest operations while one slot grows to `count` keys and shrinks to none."""
    print(f"{count} keys in one slot: the three longest operations, CPU time")
    keyspace = Keyspace()
    keys = loops.Keys(keyspace, count, 0, True)
    for name, delete in (("insert", False), ("delete", True)):
        worst = keys.longest_us(10, delete, time.CLOCK_THREAD_CPUTIME_ID)
        report(name, worst[0], "us   (" + ", ".join(f"{us:.1f}" for us in worst[1:]) + ")")


def main() -> None:
    tune_allocator()
    counts = [int(arg) for arg in sys.argv[1:]] or [100_000, 2_000_000]
    with tempfile.TemporaryDirectory() as folder:
        loops = build_loops(folder)
        for count in counts:
            measure(loops, count)
        measure_one_slot(loops, 1_000_000)


if __name__ == "__main__":
    main()
