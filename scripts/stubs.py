"""Print the modules whose .pyi describes a built kernel: those that stubtest can compare."""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).parents[1]
for stub in sorted(ROOT.glob("[a-z]*/**/*.pyi")):
    parts = stub.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "build" or not stub.with_suffix(".pyx").exists():
        continue
    if any(stub.with_suffix(suffix).exists() for suffix in EXTENSION_SUFFIXES):
        sys.stdout.write(".".join(parts) + "\n")
