"""Build the Cython kernels. Every .pyx below a package folder is an extension of its own.

SHARDIS_BUILD selects the mode:
  release  -O3, no bounds checks (the default)
  debug    bounds checks, assertions and live-node counters
  asan     debug under AddressSanitizer and UBSan; run with LD_PRELOAD=libasan
  trace    debug with line tracing, for coverage
A tree remembers its mode in build/mode: after a switch everything is built anew.
"""

import os
import tomllib
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
MODE = os.environ.get("SHARDIS_BUILD", "release")
FLAGS = {
    "release": ["-O3", "-g0"],
    "debug": ["-O1", "-g", "-UNDEBUG", "-DSHARDIS_DEBUG=1"],
    "asan": [
        "-O0",  # compiles in half the time of -O1; tests, which are mostly Python, take as long
        "-g1",  # names and lines for the reports; with variables it takes twice as long to compile
        "-UNDEBUG",
        "-DSHARDIS_DEBUG=1",
        "-fno-omit-frame-pointer",
        "-fsanitize=address,undefined",
    ],
    "trace": ["-O0", "-g", "-DSHARDIS_DEBUG=1", "-DCYTHON_TRACE=1"],
}[MODE]
LINK = ["-fsanitize=address,undefined"] if MODE == "asan" else []
CHECKED = MODE != "release"
JOBS = int(os.environ.get("SHARDIS_JOBS", "0")) or len(os.sched_getaffinity(0))


def kernels() -> list[Extension]:
    """One extension for each .pyx, named by its path."""
    return [
        Extension(
            ".".join(path.relative_to(ROOT).with_suffix("").parts),
            [str(path.relative_to(ROOT))],
            extra_compile_args=[*FLAGS, "-fno-strict-aliasing", "-Wno-unreachable-code"],
            extra_link_args=LINK,
            libraries=["dl"],
        )
        for package in PACKAGES
        for path in sorted((ROOT / package.removesuffix("*")).rglob("*.pyx"))
    ]


def mode_has_changed() -> bool:
    """Whether the last build in this tree was of another mode; notes this one's."""
    note = ROOT / "build" / "mode"
    before = note.read_text() if note.exists() else "release"
    note.parent.mkdir(exist_ok=True)
    note.write_text(MODE)
    return before != MODE


ANEW = mode_has_changed()
setup(
    license="BSD-3-Clause",
    options={"build_ext": {"parallel": JOBS, "force": ANEW}},
    ext_modules=cythonize(
        kernels(),
        include_path=[str(ROOT)],
        nthreads=JOBS,
        force=True if ANEW else None,
        compiler_directives={
            "language_level": 3,
            "boundscheck": CHECKED,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": CHECKED,
            "linetrace": MODE == "trace",
            "embedsignature": True,
            "auto_pickle": False,
        },
    ),
)
