# The two commands of the README are `make demo` and `make test`; each does its own set-up.
SHELL := /bin/sh
BIN := .venv/bin
PREPARE := tests/tools/prepare.sh
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: demo test check test-full bench docs lock format clean environment packages

demo: packages environment
	@$(BIN)/python -m tests.demo

# One worker more than the smallest machine that this runs on has cores: one of them waits for a server.
test: packages environment check
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not full" --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --fail-under=$(COVERAGE_FLOOR) --format=total

COVERAGE_FLOOR := 80

check: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-full: test
	@$(PREPARE) packages_full
	$(BIN)/python -m pytest -n 2 --dist worksteal -m full $(ARGS)
	$(BIN)/nox

bench: packages environment
	@$(BIN)/python -m tests.bench $(ARGS)

# docs/commands.md from the commands, and the codes in docs/health.md from the checks themselves.
docs: environment
	$(BIN)/python -m tests.tools.command_pages
	$(BIN)/python -m tests.tools.code_table

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pinned with hashes, build backend included, and no index address: the installer's own is used.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-strip-extras --upgrade --extra dev -o requirements-dev.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-strip-extras --upgrade -o requirements.txt pyproject.toml

environment:
	@$(PREPARE) environment

packages:
	@$(PREPARE) packages

clean:
	rm -rf .venv .nox .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist .coverage .coverage.*
