# make help says what there is to do.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTHONS := python3 python3.11 python3.12 python3.13 python3.14
SUITABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

# arguments of the targets: make run FOR=20, make bench ONLY=ingest, make test PYTEST="-k masking",
# make truth SEEDS=20 PYTEST="-k mariadb"
FOR ?=
ONLY ?=
PYTEST ?=
SEEDS ?= 5

.DEFAULT_GOAL := help
.PHONY: help install run test truth bench lint format sanity servers release-notes clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## a virtual environment in .venv with everything in it

$(INSTALLED): pyproject.toml
	@if ! $(BIN)/python -c '$(SUITABLE)' 2>/dev/null; then \
	  for python in $(PYTHONS); do \
	    if $$python -c '$(SUITABLE)' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Python 3.11 or later with the venv module is needed (Debian: apt-get install python3-venv)" >&2; exit 1; \
	  fi; \
	  echo "creating $(VENV) with $$($$found --version)"; \
	  $$found -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,test,dev]'
	@touch $@

run: $(INSTALLED) ## PostgreSQL, the service and a workload, with the events as they come (FOR=seconds stops by itself)
	@$(BIN)/python -m tests.demo $(FOR)

test: $(INSTALLED) ## every check and every test
	@PYTEST='$(PYTEST)' $(BIN)/python -m tests.check

truth: $(INSTALLED) ## random work on live servers against the events that came of it (SEEDS=20 for more of it)
	@DBAUDIT_TRUTH_SEEDS=$(SEEDS) DBAUDIT_MASKED_STATEMENTS=100000 \
		$(BIN)/python -m pytest tests/truth tests/core/test_second_opinions.py --timeout=3600 $(PYTEST)

bench: $(INSTALLED) ## the figures, one a line (ONLY=name for some of them)
	@$(BIN)/python -m tests.benchmarks $(ONLY)

lint: $(INSTALLED) ## ruff, mypy, ansible-lint and antsibull
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.lint_collection

format: $(INSTALLED) ## lets ruff lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sanity: $(INSTALLED) ## ansible-test sanity on the checkout and on the built collection
	$(BIN)/python -m tests.run_sanity

servers: $(INSTALLED) ## fetches the database servers that the tests start
	$(BIN)/python -m tests.servers fetch

release-notes: $(INSTALLED) ## CHANGELOG.rst of the fragments, for the version in galaxy.yml
	$(BIN)/antsibull-changelog release --reload-plugins

clean: ## removes what make run made
	rm -rf .run

distclean: clean ## removes everything that make made
	rm -rf $(VENV) .cache dist tests/output
