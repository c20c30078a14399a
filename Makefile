PYTHON ?= python3
build:
	$(PYTHON) setup.py build_ext --inplace -j2
.PHONY: build
