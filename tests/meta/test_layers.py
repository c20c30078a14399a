"""Imports point down only.

Read from the syntax tree of .py and .pyi files, and from the import and cimport lines of .pyx and
.pxd files, wherever in a file they are: a late import inside a function is a dependency too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meta.sources import PACKAGES, PROJECT, ROOT, modules, tracked

# Rooms from the ground up; what is in one layer may import each other.
ROOMS = (
    ("protocol", "actors"),
    ("shards.memory",),
    ("shards.types",),
    ("sessions",),
    ("shards.keyspace",),
    ("shards.arguments", "shards.kernels"),
    ("shards.lane",),
    ("shards.views",),
    ("persistence",),
    ("shards.inspect",),
    ("shards.commands",),
    ("shards.execution",),
    ("shards.process",),
    ("router", "cluster"),
    ("shardctl",),
)
LAYERS = {room: layer for layer, rooms in enumerate(ROOMS) for room in rooms}
LAYERS["shards"] = LAYERS["shards.process"]  # the package itself, whose __init__ imports nothing
# Importer -> what it must not import although its layer would allow it, and why.
FORBIDDEN = {
    "protocol": (("actors",), "protocol does no I/O and knows no processes"),
    "router": (
        ("shards.keyspace", "shards.types"),
        "the router reads the command table, never the keyspace or types",
    ),
}
CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<source>[.\w]+)[ \t]+c?import[ \t]+(?P<names>[^\n]*)"
    r"|c?import[ \t]+(?P<direct>[^\n]*))",
    re.MULTILINE,
)
STRINGS = re.compile(r'"""[\s\S]*?"""' + r"|'''[\s\S]*?'''")


def dotted(module: str) -> tuple[str, ...]:
    return tuple(module.split("."))


def layer_of(module: str) -> str | None:
    """The most specific layer a dotted name belongs to; None: it is not ours."""
    parts = dotted(module)
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in LAYERS:
            return name
    return None


def resolve(importer: str, source: str, is_package: bool) -> str:
    """The absolute name of a possibly relative `from` source."""
    dots = len(source) - len(source.lstrip("."))
    if dots == 0:
        return source
    parts = dotted(importer)
    base = parts[: len(parts) - dots + is_package]
    return ".".join((*base, *filter(None, [source[dots:]])))


def python_imports(text: str, importer: str, is_package: bool) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve(importer, "." * node.level + (node.module or ""), is_package)
            yield source
            yield from (f"{source}.{name.name}" for name in node.names)


def cython_imports(text: str, importer: str, is_package: bool) -> Iterator[str]:
    for match in CYTHON_IMPORT.finditer(STRINGS.sub("", text)):
        if match["source"]:
            source = resolve(importer, match["source"], is_package)
            yield source
            yield from (f"{source}.{name}" for name in re.findall(r"\w+", match["names"]))
        else:
            for name in match["direct"].split(","):
                yield name.split("#")[0].split(" as ")[0].strip()


def violations(path: Path, text: str) -> list[str]:
    """What this file (relative to the root) imports against the rules."""
    parts = path.with_suffix("").parts
    is_package = parts[-1] == "__init__"
    importer = ".".join(parts[:-1] if is_package else parts)
    read = python_imports if path.suffix in (".py", ".pyi") else cython_imports
    own = layer_of(importer)
    assert own is not None, f"{path} belongs to no layer"
    refused, reason = FORBIDDEN.get(parts[0], ((), ""))
    found = []
    for target in sorted(set(read(text, importer, is_package))):
        layer = layer_of(target)
        if layer is None:
            continue
        if LAYERS[layer] > LAYERS[own]:
            found.append(f"{path} imports {target}: {layer} stands above {own}")
        elif any(dotted(target)[: len(dotted(name))] == dotted(name) for name in refused):
            found.append(f"{path} imports {target}: {reason}")
    return found


def test_every_package_has_a_layer_is_packed_and_is_checked() -> None:
    assert {name.partition(".")[0] for name in LAYERS} == set(PACKAGES)
    assert {
        path.parts[0] for path in tracked() if len(path.parts) == 2 and path.name == "__init__.py"
    } == {*PACKAGES, "bench", "tests"}
    assert set(PROJECT["tool"]["mypy"]["packages"]) == {*PACKAGES, "bench"}


def test_imports_point_down_only() -> None:
    files = modules(".py", ".pyi", ".pyx", ".pxd")
    assert len(files) > 10, "the packages were not found"
    found = [line for path in files for line in violations(path, (ROOT / path).read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("protocol/planted.py", "from shards.keyspace import Keyspace\n"),
        ("protocol/planted.py", "def late():\n    import router.main as m\n"),
        ("protocol/planted.pyx", "from shards.keyspace cimport Store\n"),
        ("protocol/planted.pxd", "cimport actors.page\n"),
        ("sessions/planted.py", "from shards import commands\n"),
        ("sessions/planted.pyx", "    from shards.commands import string\n"),
        ("shards/types/planted.py", "from .. import keyspace\n"),
        ("shards/types/planted.pyx", "from ..keyspace cimport (\n    Store,\n)\n"),
        ("shards/planted.pyi", "from router.config import Config\n"),
        ("router/planted.py", "from shards.keyspace import Keyspace\n"),
        ("router/planted.py", "from shards import types\n"),
    ],
)
def test_a_planted_violation_is_found(path: str, text: str) -> None:
    assert violations(Path(path), text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("shards/types/fine.pxd", "from shards.memory cimport Pool\n"),
        ("router/fine.py", "from shards import commands\nimport sessions.session, struct\n"),
        ("shards/fine.pyx", '"""\nfrom router.main import main\n"""\ncimport cython\n'),
        ("shards/types/fine.py", "from . import listpack\nfrom protocol.errors import SYNTAX\n"),
        ("shards/fine.pyx", "from protocol.resp cimport Span, shards\nimport os as router\n"),
    ],
)
def test_what_points_down_is_not_reported(path: str, text: str) -> None:
    assert not violations(Path(path), text)
