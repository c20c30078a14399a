"""What is said about a machine that can't build: before the build, and with what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def check(
    *arguments: str, modules: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it with these variables; `modules` hides modules of the standard library."""
    path = {"PYTHONPATH": str(modules)} if modules else {}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "check_machine.py"), *arguments],
        env={**os.environ, **path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def without_venv(tmp_path: Path) -> Path:
    """A Python as Debian has it without python3-venv."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "ensurepip.py").write_text("raise ImportError('No module named ensurepip')\n")
    return folder


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_machine_that_can_build_hears_nothing() -> None:
    done = check(".venv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_python_without_venv_is_told_what_to_install(without_venv: Path) -> None:
    done = check(".venv", modules=without_venv)
    assert done.returncode == 1
    assert "install python3-venv" in done.stderr
    assert check("", modules=without_venv).returncode == 0  # who uses no environment needs none


def test_a_missing_compiler_is_named() -> None:
    done = check(CC="no-such-cc -O2")
    assert done.returncode == 1
    assert "the C compiler no-such-cc is missing" in done.stderr


def test_a_compiler_without_headers_says_which(tmp_path: Path) -> None:
    broken = script(
        tmp_path / "broken-cc",
        "echo 'In file included from x.c:' >&2\n"
        "echo 'x.c:1: fatal error: stdlib.h: No such file or directory' >&2\nexit 1",
    )
    done = check(CC=broken)
    assert done.returncode == 1
    assert "can't compile a C program" in done.stderr
    assert "fatal error: stdlib.h: No such file" in done.stderr
    assert "included from" not in done.stderr


def test_a_compiler_of_several_words_is_called_by_all_of_them(tmp_path: Path) -> None:
    """A wrapper like ccache compiles nothing by itself, and was found to be broken."""
    wrapper = script(tmp_path / "wrapper", 'exec "$@"')
    assert check(CC=f"{wrapper} {shutil.which('cc') or 'cc'}").returncode == 0


def test_python_headers_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sysconfig\nsysconfig.get_path = lambda name, *_: '/no/such/include'\n"
    )
    done = check(modules=tmp_path)
    assert done.returncode == 1
    assert "/no/such/include/Python.h" in done.stderr
    assert "install python3-dev" in done.stderr


def test_make_stops_there_and_never_breaks_the_packages_of_the_system(
    tmp_path: Path, without_venv: Path
) -> None:
    for name in ("Makefile", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    done = subprocess.run(
        ["make", "build", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(without_venv), "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "install python3-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()
    assert not (tmp_path / ".stamps" / "python").exists()
    assert "break-system-packages" not in (ROOT / "Makefile").read_text()
