# Needs python3 (3.11 or later, with headers), a C compiler and make; the rest installs itself into
# .venv. `make VENV=` uses the interpreter as it is instead. Options go into ARGS and TESTS:
#   make serve ARGS="--port 7000 --shards 4"      make test TESTS=tests/unit

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
TESTS ?= tests
CONFIG ?= configs/shardis.conf
SHARDIS_BUILD ?= release
JOBS ?= 2

# Tests wait as much as they compute, so as many processes as processors share them, a file at a
# time. `ARGS="-n 0"` runs them in one process, as a debugger needs it. pytest-benchmark, where it is
# installed, would warn of this.
SHARED = -n $(JOBS) --dist loadfile -p no:benchmark

# The tests start hundreds of servers, and each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

PACKAGES := $(filter-out bench tests,$(patsubst %/__init__.py,%,$(wildcard */__init__.py)))
KERNELS := $(shell find $(PACKAGES) -name '*.pyx' -o -name '*.pxd')
BUILT := .stamps/built-$(SHARDIS_BUILD)
PY = $(shell cat .stamps/python)
INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: help build serve test check check-style check-types check-stubs check-tree bench asan debug soak clean

help:
	@echo "make build | serve | test | check | bench | asan | debug | soak | clean"

build: $(BUILT)

serve: $(BUILT)
	@exec $(PY) -m router.main $(wildcard $(CONFIG)) $(ARGS)

test: $(BUILT) .stamps/test
	@$(PY) -m pytest $(SHARED) $(TESTS) $(ARGS)

soak: $(BUILT) .stamps/test
	@$(PY) -m pytest -m slow $(TESTS) $(ARGS)
	@SHARDIS_EXAMPLES=soak $(PY) -m pytest $(SHARED) tests/property tests/unit $(ARGS)

# `make -k check` goes on after the first part that fails.
check: check-style check-types check-stubs check-tree

check-style: .stamps/check
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

check-types: .stamps/check .stamps/test
	@$(PY) -m mypy

check-stubs: $(BUILT) .stamps/check
	@modules=$$($(PY) scripts/stubs.py); test -z "$$modules" || \
	    $(PY) -m mypy.stubtest --concise --allowlist scripts/stubtest-allowlist.txt \
	    --ignore-unused-allowlist --ignore-missing-stub --ignore-positional-only \
	    --ignore-disjoint-bases $$modules

check-tree: $(BUILT) .stamps/test
	@$(PY) -m pytest -q tests/meta/test_layers.py tests/meta/test_tree.py

bench: $(BUILT)
	@$(PY) -m bench.macro $(ARGS)

# Left out are the tests of commands, whose native handlers the server below runs as well.
# The sanitizers need their own objects, so they get their own copy of the tree. First the kernels'
# tests run under them, then a whole server does, of which any report is a failed test.
asan: $(BUILT) .stamps/test
	@mkdir -p build/asan && rm -rf build/asan/tests
	@git ls-files -z --cached --others --exclude-standard --deduplicate \
	    | while IFS= read -r -d '' file; do test ! -e "$$file" || printf '%s\0' "$$file"; done \
	    | xargs -0 cp --preserve=timestamps --update --parents --target-directory=build/asan
	@python=$$(command -v $(PY)); case $$python in /*) ;; *) python=$(CURDIR)/$$python ;; esac; \
	cd build/asan && SHARDIS_BUILD=asan SHARDIS_JOBS=$(JOBS) $$python setup.py -q build_ext --inplace && \
	LD_PRELOAD=$$(cc -print-file-name=libasan.so):$$(cc -print-file-name=libubsan.so) \
	PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	$$python -m pytest $(SHARED) -p no:cacheprovider -p no:faulthandler --capture=sys $(wildcard tests/unit/protocol tests/unit/actors/test_mailbox.py tests/unit/actors/test_zmtp.py tests/unit/sessions tests/unit/shards/types tests/unit/shards/execution tests/unit/shards/inspect tests/unit/shards/keyspace tests/unit/shards/process tests/unit/shards/test_*.py tests/property) $(ARGS) && \
	SHARDIS_TEST_COMMAND="env LD_PRELOAD=$$(cc -print-file-name=libasan.so):$$(cc -print-file-name=libubsan.so) \
	PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	$$python -m router.main --bind 127.0.0.1 --shards 2 --port {port}" \
	$$python -m pytest $(SHARED) -p no:cacheprovider -q tests/integration/test_pipelines.py tests/integration/test_multi_shard.py

# A debug build in a copy of the tree: a shard ends when a command breaks the contract of effects, or
# a native handler declines after it has touched something.
debug: $(BUILT) .stamps/test
	@mkdir -p build/debug && rm -rf build/debug/tests
	@git ls-files -z --cached --others --exclude-standard --deduplicate \
	    | while IFS= read -r -d '' file; do test ! -e "$$file" || printf '%s\0' "$$file"; done \
	    | xargs -0 cp --preserve=timestamps --update --parents --target-directory=build/debug
	@python=$$(command -v $(PY)); case $$python in /*) ;; *) python=$(CURDIR)/$$python ;; esac; \
	cd build/debug && SHARDIS_BUILD=debug SHARDIS_JOBS=$(JOBS) $$python setup.py -q build_ext --inplace && \
	$$python -m pytest $(SHARED) -p no:cacheprovider $(wildcard tests/differential tests/unit/shards tests/sim) $(ARGS)

clean:
	rm -rf build dist .stamps .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find $(PACKAGES) -name '*.so' -delete
	find . -name __pycache__ -prune -exec rm -rf {} +
	for kernel in $(filter %.pyx,$(KERNELS)); do rm -f "$${kernel%.pyx}.c"; done

# Which interpreter. What the build needs is looked at first, so that a missing compiler is not found
# out after a minute. `make VENV=` installs into the interpreter given, if its system lets pip do so.
.stamps/python:
	@mkdir -p .stamps
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or later"; exit 1; }
	@$(PYTHON) scripts/check_machine.py "$(VENV)"
	@if test -n "$(VENV)"; \
	then rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && echo $(VENV)/bin/python > $@; \
	else echo $(PYTHON) > $@; fi

.stamps/run: .stamps/python pyproject.toml
	@$(INSTALL) $$($(PY) scripts/dependencies.py build)
	@touch $@

.stamps/test: .stamps/run
	@$(INSTALL) $$($(PY) scripts/dependencies.py test)
	@touch $@

.stamps/check: .stamps/run
	@$(INSTALL) $$($(PY) scripts/dependencies.py check)
	@touch $@

$(BUILT): .stamps/run setup.py $(KERNELS)
	@rm -f .stamps/built-*
	@SHARDIS_BUILD=$(SHARDIS_BUILD) SHARDIS_JOBS=$(JOBS) $(PY) setup.py -q build_ext --inplace
	@touch $@
