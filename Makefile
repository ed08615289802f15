# make demo: the main job on the shipped model, in an environment of its own.    make test: the whole suite, in another.

PYTHON ?= python3.11
EXAMPLE := examples/fashion_mnist_vit
BUILD ?= build/fashion_mnist_vit
SOURCES := $(shell find edgeflow hw sw quant sim models -type f -not -path '*/__pycache__/*')
PACKAGING := pyproject.toml constraints.txt
DEMO := .venv-demo/bin
TEST := .venv-test/bin

.PHONY: demo test coverage lint types clean
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

# The demo installs the package as a user would; setuptools leaves build/lib behind, which must not outlive deleted modules.
.venv-demo/.installed: $(PACKAGING) $(SOURCES)
	$(PYTHON) -m venv .venv-demo
	rm -rf build/lib build/bdist.*
	$(DEMO)/python -m pip install --quiet -c constraints.txt .
	rm -rf build/lib build/bdist.*
	touch $@

.venv-test/.installed: $(PACKAGING)
	$(PYTHON) -m venv .venv-test
	$(TEST)/python -m pip install --quiet -c constraints.txt -e '.[all,test]'
	touch $@

clean:
	rm -rf .venv-demo .venv-test build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
