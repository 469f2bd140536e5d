# Everything is installed into .venv and nothing else on the machine is touched. Start with `make demo` or `make test`.

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
PICTURE := examples/pictures/harbour.png

# What the answers are worth is measured by benchmarks/nano.py; the rest measure what they cost.
SPEED := $(filter-out benchmarks/nano% benchmarks/plain% benchmarks/ways.py benchmarks/serving.py,$(wildcard benchmarks/*.py))

# Minutes for which `make bench-serve` asks with bad requests among the good ones.
SOAK ?= 10

# One thread per worker: two workers with a thread pool each are slower than two without.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

# By environment rather than by option, so that the packages which build foveal are held at their versions too.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install fix check test demo bench bench-serve page clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

.venv/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "foveal needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/.installed: .venv/.created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

install: .venv/.installed-dev ## foveal and everything to work on it, into .venv

fix: .venv/.installed-dev ## put code into the form that check wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: .venv/.installed-dev ## form and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/.installed-dev ## all tests
	$(TEST)

demo: .venv/.installed ## ask about a sample picture, with the model that ships
	@mkdir -p out
	$(BIN)/foveal ask $(PICTURE) "Is the object <1> of the image a ship or a dog?" --box 127,256,227,354 --save out/demo.png
	$(BIN)/foveal locate $(PICTURE) "the ship" --save out/demo-locate.png
	@echo "The pictures of both answers are out/demo.png and out/demo-locate.png."

bench: .venv/.installed-dev ## speed and memory beside a baseline
	@for file in $(SPEED); do $(BIN)/python $$file || exit 1; done

bench-serve: .venv/.installed-dev ## what the server bears: 1, 8 and 32 clients, 100 regions, and a soak of SOAK=10 minutes
	$(BIN)/python benchmarks/serving.py --clients 1 --clients 8 --clients 32 --regions 100 --soak-minutes $(SOAK)

page: ## the page of `foveal serve`, from web/ into the package; needs npm
	npm --prefix web ci
	npm --prefix web run build

clean: ## remove what was installed and built
	rm -rf .venv build dist out
