# make demo: the main job on the shipped model, in an environment of its own.    make test: the whole suite, in another.

# The Python that is there, of the versions that EdgeFlow supports; make PYTHON=... takes another.
SUPPORTED := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $$python && break; done)
EXAMPLE := examples/fashion_mnist_vit
BUILD ?= builds/fashion_mnist_vit
SOURCES := $(shell find edgeflow hw sw quant sim models -type f -not -path '*/__pycache__/*')
PACKAGING := pyproject.toml constraints.txt
DEMO := .venv-demo/bin
TEST := .venv-test/bin

.PHONY: demo test coverage lint types python clean
.DELETE_ON_ERROR:

demo: .venv-demo/.installed
	$(DEMO)/edgeflow compile $(EXAMPLE)/model.onnx --board kv260 --calib $(EXAMPLE)/calibration.npz --test $(EXAMPLE)/test.npz --labels label -o $(BUILD)
	$(DEMO)/edgeflow verify $(BUILD) --inputs $(EXAMPLE)/test.npz --labels label --samples 8
	$(DEMO)/edgeflow simulate $(BUILD) --inputs $(EXAMPLE)/test.npz --labels label
	$(DEMO)/edgeflow cycles $(BUILD)
	@echo "The report: $(abspath $(BUILD))/report.html"

test: lint
	$(TEST)/python -m pytest -n 2

# The suite again, with what it leaves unused: on the terminal and, line by line, in build/coverage.
coverage: .venv-test/.installed
	$(TEST)/python -m pytest -n 2 --cov --cov-report=term --cov-report=html:build/coverage

lint: .venv-test/.installed
	$(TEST)/ruff check .
	$(TEST)/ruff format --check .
	$(MAKE) --no-print-directory types

types: .venv-test/.installed
	$(TEST)/mypy

# The Python that environments are made with.
python:
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null && echo $(PYTHON) || \
		{ echo 'there is no Python 3.11 to 3.13 with venv here: install one, or say which it is, make PYTHON=...' >&2; exit 2; }

# The demo installs the package as a user would; what setuptools leaves in .setuptools must not outlive deleted modules.
.venv-demo/.installed: $(PACKAGING) $(SOURCES)
	@$(MAKE) --no-print-directory python >/dev/null
	$(PYTHON) -m venv .venv-demo
	rm -rf .setuptools
	$(DEMO)/python -m pip install --quiet -c constraints.txt .
	touch $@

.venv-test/.installed: $(PACKAGING)
	@$(MAKE) --no-print-directory python >/dev/null
	$(PYTHON) -m venv .venv-test
	$(TEST)/python -m pip install --quiet -c constraints.txt -e '.[all,test]'
	touch $@

clean:
	rm -rf .venv-demo .venv-test .setuptools builds edgeflow-build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
