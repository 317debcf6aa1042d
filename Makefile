# Everything here needs only Python 3.11+ and make; the first target that runs makes .venv and installs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test check bench clean
help:
	@echo "make demo    train, measure, explain, export and use a recogniser of handwritten digits"
	@echo "make test    the tests        make check   ruff, mypy, import-linter, doctests"
	@echo "make bench   speed beside the usual ways        make clean   remove .venv and what demo made"

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[train,tables,openvino,faces,video,blind]' --group dev
	@touch $@

demo: setup
	$(BIN)/python examples/demo.py

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --doctest-modules src/sightline -q

bench: setup
	$(BIN)/python benchmarks/classify.py

clean:
	rm -rf .venv demo
