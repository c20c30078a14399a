"""The state of the tree itself: no stray files, no undocumented module, no leftover print."""

from __future__ import annotations

import ast
import re

from tests.meta.sources import ROOT, modules, tracked

FILE_BYTES_MAX = 256 * 1024
RESULT_BYTES_MAX = 1024 * 1024  # raw samples of a benchmark
LINE_CHARACTERS_MAX = 100  # as ruff holds for .py
WITH_LONG_LINES = re.compile(  # to shrink, never to grow
    r"shards/execution/.*|router/(dispatch|batches|coordinator)\.p..|sessions/session\.p..|"
    r"shards/process/dispatcher\.p..|protocol/envelope\.pxd"
)
MAY_PRINT = ("shardctl/", "router/main.py")
MAY_SLEEP = {  # they wait for another process or thread, and look again and again
    "tests/unit/bench/test_macro.py",
    "tests/unit/protocol/conftest.py",
    "tests/unit/shards/keyspace/test_keyspace.py",
}
SLEEP = re.compile(r"\bsleep\((?!0\))")
PRINT = re.compile(r"(?<![\w.\"'])print\(")
STRINGS_AND_COMMENTS = re.compile(r'"""[\s\S]*?"""|#[^\n]*')


def test_no_file_is_large() -> None:
    large = [
        str(path)
        for path in tracked()
        if (ROOT / path).stat().st_size
        > (RESULT_BYTES_MAX if path.parts[:2] == ("bench", "results") else FILE_BYTES_MAX)
    ]
    assert not large, large


def test_no_line_of_a_kernel_is_long() -> None:
    long = [
        f"{path}:{number}"
        for path in modules(".pyx", ".pxd")
        if not WITH_LONG_LINES.fullmatch(str(path))
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if len(line) > LINE_CHARACTERS_MAX
    ]
    assert not long, long


def test_unit_tests_move_clocks_and_do_not_sleep() -> None:
    found = [
        str(path)
        for path in tracked()
        if path.parts[:2] == ("tests", "unit") and path.suffix == ".py"
        if SLEEP.search((ROOT / path).read_text()) and str(path) not in MAY_SLEEP
    ]
    assert not found, found


def test_no_build_product_is_in_the_tree() -> None:
    products = [str(path) for path in tracked() if path.suffix in (".so", ".o", ".pyc", ".whl")]
    generated = [str(path) for path in modules(".c") if path.with_suffix(".pyx") in tracked()]
    assert not products + generated


def test_every_kernel_that_python_imports_has_types_for_mypy() -> None:
    imported: set[str] = set()
    for path in modules(".py", ".pyi"):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    untyped = [
        str(path)
        for path in modules(".pyx")
        if ".".join(path.with_suffix("").parts) in imported
        and not (ROOT / path).with_suffix(".pyi").exists()
    ]
    assert not untyped, untyped


def test_every_module_opens_with_what_it_is_for() -> None:
    silent = [
        str(path)
        for path in modules(".py")
        if not ast.get_docstring(ast.parse((ROOT / path).read_text()))
    ]
    silent += [
        str(path)
        for path in modules(".pyx")
        if not (ROOT / path).read_text().lstrip().startswith(('"""', 'r"""'))
    ]
    assert not silent, silent


def test_nothing_prints_but_the_command_lines() -> None:
    found = [
        f"{path}:{number}"
        for path in modules(".py", ".pyx")
        if not str(path).startswith(MAY_PRINT)
        for number, line in enumerate(
            STRINGS_AND_COMMENTS.sub(
                lambda match: "\n" * match[0].count("\n"), (ROOT / path).read_text()
            ).splitlines(),
            1,
        )
        if PRINT.search(line)
    ]
    assert not found, found


def test_no_kernel_overrides_the_build_mode() -> None:
    """A directive line in a file beats the debug build's directives, and checks nothing there."""
    found = [
        str(path)
        for path in modules(".pyx", ".pxd")
        if re.search(r"^#\s*cython:", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert not found, found
