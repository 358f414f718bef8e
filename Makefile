# make demo   the tour in JupyterLab
# make test   everything that has to hold, as CI runs it
# make bench  every benchmark table
# make docs   the documentation site, to be opened from .cache/site/index.html
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lock holds versions for Python 3.11 and newer; 3.10 takes what pyproject.toml allows.
LOCK := $(shell $(PYTHON) -c "import sys; print('-c requirements-lock.txt' if sys.version_info >= (3, 11) else '')" 2>/dev/null)
PIP := HATCH_JUPYTER_BUILDER_SKIP_NPM=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check $(LOCK)
# With no screen JupyterLab prints its address instead of opening a browser; it runs as root only when told.
LAB_FLAGS := $(shell [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ] || echo --no-browser) $(shell [ "$$(id -u)" != 0 ] || echo --allow-root)

.PHONY: demo test bench docs build browser lock clean

demo: $(VENV)/.installed-lab build
	$(BIN)/jupyter lab --notebook-dir=notebooks --LabApp.default_url=/lab/tree/tour.ipynb $(LAB_FLAGS)

test: $(VENV)/.installed-test build browser
	$(BIN)/python tests/check.py

bench: $(VENV)/.installed-bench build browser
	for table in benchmarks/bench_*.py; do $(BIN)/python $$table || exit 1; done

# Half an hour of random use in JupyterLab; `make soak MINUTES=5` for less.
.PHONY: soak
soak: $(VENV)/.installed-test build browser
	$(BIN)/python tests/notebook/soak.py $(MINUTES)

docs: $(VENV)/.installed-test
	$(BIN)/python tests/check.py docs

build: node_modules/.package-lock.json
	@npm run --silent build

browser: $(VENV)/.installed-test
	@sh tests/notebook/install_browser.sh $(BIN)/python

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || { echo "nbviz needs Python 3.10 or newer; name one with 'make PYTHON=python3.11 ...'"; exit 1; }
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(PYTHON) -m virtualenv $(VENV); } || { rm -rf $(VENV); echo "Python's venv module is missing: run 'apt-get install python3-venv' first"; exit 1; }

$(VENV)/.installed-lab: pyproject.toml requirements-lock.txt | $(VENV)/bin/python build
	@echo "Installing nbviz and JupyterLab (PyTorch is large: this takes a few minutes, once)"
	$(PIP) -e ".[lab]"
	@touch $@

$(VENV)/.installed-test: pyproject.toml requirements-lock.txt | $(VENV)/bin/python build
	@echo "Installing nbviz and what its tests need (PyTorch is large: this takes a few minutes, once)"
	$(PIP) -e ".[test]"
	@touch $@ $(VENV)/.installed-lab

$(VENV)/.installed-bench: $(VENV)/.installed-test
	@echo "Installing the peers that nbviz is measured against"
	HATCH_JUPYTER_BUILDER_SKIP_NPM=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	@touch $@

node_modules/.package-lock.json: package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer"; exit 1; }
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# Not after `make bench`: its peers would be locked, too.
lock: $(VENV)/.installed-test
	{ sed -n '/^#/p' requirements-lock.txt; $(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(nvidia|cuda|triton|setuptools|pip|wheel)[a-z0-9_-]*=='; } > requirements-lock.new
	mv requirements-lock.new requirements-lock.txt

clean:
	rm -rf $(VENV) node_modules nbviz/static dist .cache test-results
