# Two commands set everything up by themselves: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# `cpu` pins the CPU build of torch. On a machine with a GPU: make setup EXTRAS=train,tune,trackers,pandas,export-onnx,export-openvino,video,screen,dev
EXTRAS ?= cpu,train,tune,trackers,pandas,export-onnx,export-openvino,video,screen,dev

.PHONY: setup demo test test-long test-export check bench clean

# Export formats whose packages have an environment each, under .venv-export/.
EXPORT_FORMATS := ncnn coreml executorch litert

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $(STAMP)

demo: setup
	$(BIN)/vedette demo --exist-ok

# Real data sets beside the project are used where they exist; tests that need them skip where they do not.
test: setup
	@if [ -z "$$VEDETTE_DATA_DIR" ] && [ -d ../shared/data ]; then export VEDETTE_DATA_DIR="$$(cd ../shared/data && pwd)"; fi; \
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --quiet $(PYTEST_ARGS)

test-long: setup
	@if [ -z "$$VEDETTE_DATA_DIR" ] && [ -d ../shared/data ]; then export VEDETTE_DATA_DIR="$$(cd ../shared/data && pwd)"; fi; \
	$(BIN)/python -m pytest --long --numprocesses 2 --dist worksteal --quiet $(PYTEST_ARGS)

test-export: $(EXPORT_FORMATS:%=test-export-%)

# A format that cannot keep to constraints.txt has a file of its own.
.venv-export/%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-export/$*
	.venv-export/$*/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(firstword $(wildcard constraints-$*.txt) constraints.txt) \
	  --editable ".[cpu,train,export-$*]" pytest hypothesis
	@touch $@

# Plugins that such packages bring are not loaded: they warn, and warnings are errors.
.PRECIOUS: .venv-export/%/.installed
test-export-%: .venv-export/%/.installed
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 .venv-export/$*/bin/python -m pytest --long --quiet tests/export/test_$*.py $(PYTEST_ARGS)

check: setup
	$(BIN)/ruff format --check src tests benchmarks hubconf.py
	$(BIN)/ruff check src tests benchmarks hubconf.py
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) .venv-export build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
