"""What the checks of the tree look at: the import packages and their files."""

from __future__ import annotations

import subprocess
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = tuple(
    pattern.removesuffix("*")
    for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    if pattern != "configs*"  # which holds no module
)


@cache
def tracked() -> tuple[Path, ...]:
    """Files that belong to the tree, committed or not, but not ignored; relative to ROOT."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # an unpacked archive
        skipped = {".git", ".venv", "build", "dist", "__pycache__", ".stamps", ".hypothesis"}
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        return tuple(path for path in found if not skipped.intersection(path.parts))
    names = (Path(name) for name in sorted(set(done.stdout.split("\0"))) if name)
    return tuple(path for path in names if (ROOT / path).is_file())


def modules(*suffixes: str) -> list[Path]:
    """The packages' files with one of these suffixes."""
    return [path for path in tracked() if path.parts[0] in PACKAGES and path.suffix in suffixes]
