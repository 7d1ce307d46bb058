# From nothing, with python3 (3.10 or newer, with venv) and make:
#   make demo   cuts ResNet-50 into four segments and runs them as a pipeline on four virtual Edge TPUs
#   make test   linters, type checker, import contract, tests

VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types contract unit validate docs clean

demo: $(VENV)/.core
	mkdir -p demo
	test -f demo/resnet50.tflite || $(BIN)/atoll zoo build resnet50 -o demo/resnet50.tflite
	$(BIN)/atoll run demo/resnet50.tflite --tpus 4 --inferences 20 --segments-dir demo/segments

test: lint types contract unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

contract: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2

# Ours against the vendor's compiler, pair by pair and log by log; needs ../shared/data.
validate: $(VENV)/.dev
	$(BIN)/python benchmarks/validate.py

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

$(VENV)/bin/python:
	python3 -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) demo build .mypy_cache .ruff_cache .pytest_cache .hypothesis
