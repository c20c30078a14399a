"""Every command of the data types, each with data and arguments that a benchmark can repeat."""

from __future__ import annotations

from bench.macro.cases import Case

COMMANDS: tuple[Case, ...] = ()
