# The platform's commands. `make` alone lists them.

# Those of dg.toml in this repository.
LOCATIONS := $(shell sed -nE 's,^path = "([^/"]+)"$$,\1,p' dg.toml)
PROJECTS  := . $(LOCATIONS)
PYTHON    ?= >=3.11,<3.14
# uv of this machine, or one in .tools.
UV        := $(if $(shell command -v uv),,.tools/bin/uv)
export PATH := $(PATH):$(CURDIR)/.tools/bin

ifneq ($(findstring :,$(CURDIR)),)
$(error "$(CURDIR)" has a colon, which separates paths in PATH and PYTHONPATH: move the folder to a path without one)
endif

export UV_COMPILE_BYTECODE := 1
export UV_NO_PROGRESS ?= 1
export DAGSTER_HOME ?= $(CURDIR)/.dagster
# Bytecode beside the packages is what makes a run start fast.
unexport PYTHONDONTWRITEBYTECODE

RUN := .venv/bin/python -m taxi_platform
PORTS := $(if $(PORT),--port $(PORT)) $(if $(PORTAL_PORT),--portal-port $(PORTAL_PORT))
STAMPS := $(PROJECTS:%=%/.venv/.installed)

.DEFAULT_GOAL := help
.PHONY: help setup demo pipeline dev status history rollback location generate images deploy test test-system \
  test-browser test-containers test-next test-spark test-stress faults check bench spark spark-environment lock clean

help: ## List the commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

setup: $(STAMPS) ## Make the environments from their locks, of the host and each location; nothing where nothing changed

demo: setup ## Sample data through the whole platform, then the UI; EXIT=1 ends after success, PORT=3000, PORTAL_PORT=8000
	@$(RUN) demo $(if $(EXIT),--exit) $(PORTS)

pipeline: setup ## Load months FROM=2023-01 TO=2023-03 and make every result from them, without a UI; SERVICES=green,fhvhv with their trips
	@$(RUN) pipeline --from "$(FROM)" --to "$(TO)" --services "$(SERVICES)"

dev: setup ## The UI, the daemon and all locations on the configured source; PORT=3000, PORTAL_PORT=8000
	@$(RUN) dev $(PORTS)

status: setup ## The running instance at a look: assets, sensors, what failed; PORT=3000
	@$(RUN) status $(if $(PORT),--port $(PORT))

history: setup ## Versions of a table of the lake: what was loaded, when and from where; TABLE=trips MONTH=2023-03
	@$(RUN) history "$(or $(TABLE),trips)" $(if $(MONTH),--month "$(MONTH)")

rollback: setup ## Put a month back as it was in a version, on the running instance; TABLE=trips MONTH=2023-03 TO=12
	@$(RUN) rollback "$(or $(TABLE),trips)" --month "$(MONTH)" --to "$(TO)" $(if $(PORT),--port $(PORT))

# What depends on the list of locations in files of other tools, each of which has the template in comments.
GENERATED := workspace.yaml docker-compose.yml deploy/workspace/workspace.yaml deploy/helm/values.yaml .github/CODEOWNERS
COG := .venv/bin/cog -p "from os.path import relpath; from taxi_platform.workspace import *"

# Both need the host's environment only: that of a location may not exist yet, or fail to install.
location: .venv/.installed ## Add a code location: NAME=fares, OWNER=revenue, PYTHON=3.13; REMOVE=1 takes one away, FORCE=1 with changes
	@$(RUN) location "$(NAME)" $(if $(OWNER),--owner "$(OWNER)") $(if $(REMOVE),--remove) $(if $(FORCE),--force) \
	  $(if $(findstring command,$(origin PYTHON)),--python "$(PYTHON)")
	@$(if $(REMOVE),,$(MAKE) --no-print-directory lock LOCATION="$(NAME)")
	@$(MAKE) --no-print-directory generate
	@$(if $(REMOVE),,$(MAKE) --no-print-directory "$(NAME)/.venv/.installed")

generate: .venv/.installed ## Renew what is derived from the locations of dg.toml: workspaces, compose, Helm, CODEOWNERS
	@$(COG) -r --verbosity=1 $(GENERATED)

images: ## Build all images under a version that never moves, for `docker compose up`; or that of LOCATION=fares
	@chmod -R go+rX deploy/*/ # which containers read as another user
	@version=$$(deploy/version.sh) && set -- $$version && \
	TAXI_VERSION=$$1 TAXI_COMMIT=$$2 docker compose build --quiet $(if $(LOCATION),"$(LOCATION)") && echo "built $$1"

deploy: ## Test, build and swap one location of the compose project: LOCATION=analytics
	$(if $(filter $(LOCATION),$(LOCATIONS)),,$(error LOCATION is "$(LOCATION)"; expected one of $(LOCATIONS), as in make deploy LOCATION=analytics))
	@$(MAKE) --no-print-directory .venv/.installed "$(LOCATION)/.venv/.installed"
	@$(RUN) deploy "$(LOCATION)" $(if $(TESTED),--tested)

# An environment's own tests, with what they cover of the project's code.
PYTEST := .venv/bin/python -m pytest -q
COVER := --cov=src --cov="$(CURDIR)/shared/src" --cov-config="$(CURDIR)/pyproject.toml" --cov-report= --cov-fail-under=0

test: setup ## Tests of every location and of what they share; coverage by branches, 90 % at least
	@rm -f .coverage .coverage.*
	@for location in $(LOCATIONS); do echo "tests of $$location" && (cd $$location && \
	  COVERAGE_FILE="$(CURDIR)/.coverage.$$location" $(PYTEST) -n 2 --dist worksteal $(COVER)) || exit 1; done
	@echo "tests of the host and the shared package"
	@COVERAGE_FILE=.coverage.host $(PYTEST) -n 2 --dist loadfile $(COVER) -m "not system and not browser and not spark" \
	  shared/tests tests
	@.venv/bin/coverage combine --quiet && .venv/bin/coverage report

test-system: setup ## Tests on started instances: daemon, sensors, backfills, alerts, S3
	@$(PYTEST) -n 3 --dist loadgroup --no-loadscope-reorder -m "system and not browser" tests

test-stress: setup ## 1,000 reads of the lake while months are replaced, and 200 writers killed
	@LAKE_STRESS=10 $(PYTEST) shared/tests/test_table_log.py

test-browser: setup ## Tests of the UI and the portal in Chromium
	@$(PYTEST) -n 2 --dist loadgroup --no-loadscope-reorder -m browser tests

test-containers: setup ## Tests of images, deploys, networks and backups, on a Docker Engine with Compose
	@$(PYTEST) tests/containers

check: setup ## Format, lint, types, SQL, and Dagster's own check of the definitions
	@$(COG) --check --diff --verbosity=1 --check-fail-msg="make generate renews it" $(GENERATED)
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy src shared/src shared/testing/src bench docs/pictures.py
	@.venv/bin/mypy shared/tests tests
	@for location in $(LOCATIONS); do .venv/bin/mypy --python-executable $$location/.venv/bin/python \
	  $$location/src $$location/tests || exit 1; done
	@git ls-files --cached --others --exclude-standard '*.sql' | grep -v ^deploy/ | xargs .venv/bin/sqlfluff lint --disable-progress-bar
	@.venv/bin/dg check defs

NEXT_DUCKDB := .tools/next-duckdb
NEXT_TESTS := test_trips.py test_layouts.py test_trips_by_week.py test_manhattan.py test_adhoc_request.py

faults: setup ## Faults injected into started instances; FAST=1 without those over a minute, WRITE=1 renews the table of docs/reliability.md
	@$(PYTEST) -n 3 --dist worksteal tests/faults $(if $(FAST),-m "not slow") $(if $(WRITE),--write-faults)

test-next: $(NEXT_DUCKDB)/.installed ## What reads and writes tables, with the DuckDB line after the locked one
	@export PYTHONPATH="$(CURDIR)/$(NEXT_DUCKDB)"; \
	.venv/bin/python -c 'import duckdb; print("DuckDB", duckdb.__version__)' && \
	.venv/bin/python -m pytest -q -k "not S3" shared/tests/test_lake.py && \
	for location in $(LOCATIONS); do (cd $$location && .venv/bin/python -m pytest -q -k "not real" \
	  $$(cd tests && ls $(NEXT_TESTS) 2>/dev/null | sed 's,^,tests/,')) || exit 1; done

SPARK := .tools/spark .tools/spark-3

spark: .tools/spark/.installed setup ## Weeks, zones and a report by a small cluster of Spark and by DuckDB, compared; ROWS=300000 per month
	@$(RUN) spark $(if $(ROWS),--rows $(ROWS))

spark-environment: $(SPARK:%=%/.installed) ## Environments with Spark 4 and 3.5, for `make spark` and tests; needs Java 17

test-spark: setup spark-environment ## Tests of the engines that run jobs of Spark
	@$(PYTEST) -m spark tests shared/tests
	@cd adhoc_reports && $(PYTEST) -m spark

bench: setup ## Speed and memory beside two rivals; FULL=1 for 36 months, ROWS=20000 to try it out
	@.venv/bin/python -m bench $(if $(FULL),--full) $(if $(ROWS),--rows $(ROWS))

lock: $(UV) ## Renew the locks of all environments, or of LOCATION=analytics; UPGRADE=1 takes newer versions
	@for project in $(or $(LOCATION),$(PROJECTS) deploy/host); do (cd $$project && \
	  echo "locking $$project" && \
	  uv pip compile $(LOCK_OPTIONS) pyproject.toml -o requirements.lock) || exit 1; done
	@for project in $(or $(LOCATION),$(PROJECTS)); do (cd $$project && \
	  uv pip compile $(LOCK_OPTIONS) -c requirements.lock --group pyproject.toml:dev -o requirements-dev.lock) \
	  || exit 1; done
	@for group in $(if $(LOCATION),,next-duckdb spark spark-3); do \
	  uv pip compile $(LOCK_OPTIONS) --group shared/pyproject.toml:$$group -o shared/$$group.lock || exit 1; done
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-package taxi-shared --no-emit-package taxi-testing --no-header $(if $(UPGRADE),--upgrade)

clean: ## Remove data, instance and environments
	rm -rf data .dagster .tools $(PROJECTS:%=%/.venv)

# An environment is its locks, and the project and the shared package by path.
define ENVIRONMENT
$(1)/.venv/.installed: $(1)/requirements.lock $(1)/requirements-dev.lock $(1)/pyproject.toml shared/pyproject.toml shared/testing/pyproject.toml $(wildcard $(1)/.python-version) | $(UV)
	@echo "environment of $(2)"
	@uv venv --quiet --allow-existing --python "$(or $(shell cat $(1)/.python-version 2> /dev/null),$(PYTHON))" $(1)/.venv
	@uv pip sync --quiet --python $(1)/.venv/bin/python $(1)/requirements.lock $(1)/requirements-dev.lock
	@uv pip install --quiet --python $(1)/.venv/bin/python --no-deps -e shared -e shared/testing -e $(1)
	@touch $$@
endef
# uv does not read pip's configuration: an index that is set there alone is passed on.
INDEX := $(or $(UV_DEFAULT_INDEX),$(UV_INDEX_URL),$(PIP_INDEX_URL))
$(STAMPS) lock test-system: export UV_DEFAULT_INDEX = $(or $(INDEX),$(shell python3 -m pip config list 2>/dev/null | sed -n "s/^[a-z]*\.index-url='\(.*\)'$$/\1/p" | tail -n 1))
$(eval $(call ENVIRONMENT,.,the host))
$(foreach location,$(LOCATIONS),$(eval $(call ENVIRONMENT,$(location),$(location))))

# Found by PYTHONPATH before the DuckDB of an environment.
$(NEXT_DUCKDB)/.installed: shared/next-duckdb.lock $(STAMPS)
	@rm -rf $(NEXT_DUCKDB)
	@uv pip install --quiet --python .venv/bin/python --no-deps --require-hashes \
	  --target $(NEXT_DUCKDB) -r $<
	@touch $@

$(SPARK:%=%/.installed): .tools/%/.installed: shared/%.lock | $(UV)
	@"$${JAVA_HOME:+$$JAVA_HOME/bin/}java" -version > /dev/null 2>&1 || { echo "There is no Java here. Spark needs Java 17 \
	or newer: install Debian's openjdk-17-jre-headless, or set JAVA_HOME" >&2; exit 1; }
	@echo "environment of $*"
	@uv venv --quiet --allow-existing --python ">=3.11,<3.12" .tools/$*
	@uv pip sync --quiet --python .tools/$*/bin/python $<
	@touch $@

# uv, where the machine has none.
.tools/bin/uv:
	@python3 -m venv .tools || { rm -rf .tools; echo "Python cannot make environments here: install uv \
	(https://docs.astral.sh/uv/getting-started/installation) or, on Debian, the package python3-venv" >&2; exit 1; }
	@.tools/bin/python -m pip install --quiet "uv>=0.13,<0.14"
