"""sdist -> wheel -> run: what is published has to build and serve without this tree.

Slow (it compiles every kernel and installs the dependencies anew), so it runs in `make soak`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import pytest

from tests.meta.sources import ROOT, tracked
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

BUILD_SECONDS_MAX = 900


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for path in tracked():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tree / path)
    run(sys.executable, "setup.py", "-q", "sdist", cwd=tree)
    (archive,) = (tree / "dist").glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", target, sdist, cwd=target)
    (archive,) = target.glob("*.whl")
    return archive


def test_the_sdist_holds_every_kernel_source_and_nothing_generated(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    packages = {path.parts[0] for path in tracked() if path.suffix == ".pyx"}
    wanted = {
        str(path)
        for path in tracked()
        if path.parts[0] in packages and path.suffix in (".py", ".pyx", ".pxd", ".pyi")
    }
    assert wanted <= names, sorted(wanted - names)
    assert not [name for name in names if name.endswith((".c", ".so"))]


def test_the_wheel_holds_every_kernel_built(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        built = {name.partition(".")[0] for name in archive.namelist() if name.endswith(".so")}
    kernels = {str(path.with_suffix("")) for path in tracked() if path.suffix == ".pyx"}
    assert built == kernels


def test_the_wheel_holds_the_documentation_of_the_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("protocol/docs/")}
    kept = {str(path) for path in tracked() if path.parts[:2] == ("protocol", "docs")}
    assert packed == kept
    assert kept


def test_the_wheel_serves_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    run(home / "bin/python", "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    assert (home / "bin/shardctl").exists()
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(home / "bin/shardis-server"), "--port", str(port)],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        assert answer(port, server) == b"+PONG\r\n", log.read_text()
    finally:
        server.terminate()
        server.wait(30)
    assert server.returncode == 0, log.read_text()


def answer(port: int, server: subprocess.Popen[bytes]) -> bytes:
    """The server's answer to a PING, as soon as it listens; empty when it ends instead."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100)
        except OSError:
            time.sleep(0.1)
    return b""
