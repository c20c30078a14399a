"""Build the Cython kernels. Every .pyx below a package folder is an extension of its own.

SHARDIS_BUILD selects the mode:
  release  -O3, no bounds checks (the default)
  debug    bounds checks, assertions and live-node counters
  asan     debug under AddressSanitizer and UBSan; run with LD_PRELOAD=libasan
  trace    debug with line tracing, for coverage
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
PACKAGES = ("protocol", "actors", "sessions", "shards", "router", "persistence", "replication",
            "cluster", "lua")
MODE = os.environ.get("SHARDIS_BUILD", "release")
FLAGS = {
    "release": ["-O3"],
    "debug": ["-O1", "-g", "-UNDEBUG", "-DSHARDIS_DEBUG=1"],
    "asan": ["-O1", "-g", "-UNDEBUG", "-DSHARDIS_DEBUG=1", "-fno-omit-frame-pointer",
             "-fsanitize=address,undefined"],
    "trace": ["-O0", "-g", "-DSHARDIS_DEBUG=1", "-DCYTHON_TRACE=1"],
}[MODE]
LINK = ["-fsanitize=address,undefined"] if MODE == "asan" else []
CHECKED = MODE != "release"


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
        for path in sorted((ROOT / package).rglob("*.pyx"))
    ]


setup(
    ext_modules=cythonize(
        kernels(),
        include_path=[str(ROOT)],
        compiler_directives={
            "language_level": 3,
            "boundscheck": CHECKED,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": CHECKED,
            "linetrace": MODE == "trace",
            "embedsignature": True,
        },
    )
)
