# The project's commands. POSIX make, so that GNU's, macOS' and BSD's all read it.
#
#   make demo                 a hub with binder on 127.0.0.1, until Ctrl-C
#   make demo ARGS=--check    the whole job by itself, then an exit status
#   make test                 the test suite;  make test ARGS="tests/utils -q" a part of it
#   make test-quick           the tests that start no process
#   make test-postgres        what reaches the database, on PostgreSQL
#   make test-hub5            what touches the hub, on JupyterHub 5.5
#   make test-cluster         the chart on the cluster that KUBECONFIG leads to
#   make bench                what the service costs;  make bench ARGS=watchers a part of it
#   make check                linters, types, layers, migrations, docs
#   make openapi             the description of the REST API
#   make messages             the pages' texts into the catalogues of each language
#   make lock                 newer versions of the service image's packages
#   make audit                known vulnerabilities of these packages

PYTHON = python3
VENV = .venv
ARGS =
# Which JupyterHub `make test` installs, if not the newest.
HUB =
HUB5 = jupyterhub>=5.5.1,<6
# Workers of `make test`: several a core, as most tests wait for programs; 0 runs all in one process.
WORKERS = auto
BIN = $(VENV)/bin

.PHONY: help demo test test-quick test-postgres test-hub5 install-hub5 test-cluster bench check chart openapi docs messages lock audit format clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed-demo ## run a hub with binder and an example; ARGS=--check checks it all
	@$(BIN)/jupyterhub-binder demo --state .demo $(ARGS)

test: $(VENV)/.installed-test ## run the tests; REQUIRE_ALL=1 makes a skipped test a failure
	@unset PYTHONDONTWRITEBYTECODE; \
	TEST_BUDGET_MINUTES=$${TEST_BUDGET_MINUTES:-10} $(BIN)/python -m pytest \
	  -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=20 $(ARGS)

test-quick: ## run the tests that start no process
	$(MAKE) test WORKERS=2 ARGS="@tests/in_process.txt $(ARGS)"

# The tests of tests/store run on both databases in `make test`.
test-postgres: ## run what reaches the database on PostgreSQL
	$(MAKE) test ARGS="--database=postgres tests/admin tests/builds tests/environments \
	  tests/maintenance --ignore=tests/maintenance/archive/test_storage.py \
	  tests/web --ignore=tests/web/i18n --ignore=tests/web/metrics \
	  --ignore=tests/web/pages/test_templates.py --ignore=tests/web/test_browser_auth.py \
	  --ignore=tests/web/api/test_openapi.py \
	  --ignore=tests/web/binderhub/test_javascript_client.py $(ARGS)"

test-hub5: ## run what touches the hub on JupyterHub 5.5, in .venv-hub5
	$(MAKE) test VENV=.venv-hub5 HUB="$(HUB5)" ARGS="tests/spawner tests/launches \
	  tests/web/test_browser_auth.py tests/web/binderhub/test_handlers.py \
	  tests/browser/test_whole_job.py --ignore=tests/launches/test_whole_docker.py $(ARGS)"

install-hub5: ## install what test-hub5 needs
	@$(MAKE) .venv-hub5/.installed-test VENV=.venv-hub5 HUB="$(HUB5)"

test-cluster: $(VENV)/.installed-test ## try the chart on the cluster of KUBECONFIG, in a namespace of its own
	BINDER_TEST_CLUSTER=1 $(BIN)/python -m pytest tests/cluster $(ARGS)

bench: $(VENV)/.installed-test ## measure: one JSON line a figure, goals and peers beside; ARGS=NAME a part
	@$(BIN)/python -m bench $(ARGS)

check: $(VENV)/.installed-dev ## lint, format, types, layers, migrations, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/python helm/schema.py --check
	$(BIN)/python -m jupyterhub_binder.web.api.openapi --check
	$(BIN)/python -m pytest -q tests/test_layers.py tests/store/test_migrations.py
	$(MAKE) docs

chart: $(VENV)/.installed-dev ## make the chart's values.schema.json of values.schema.yaml
	$(BIN)/python helm/schema.py

openapi: $(VENV)/.installed-dev ## make the REST API's openapi.json of its shapes and routes
	$(BIN)/python -m jupyterhub_binder.web.api.openapi

docs: $(VENV)/.installed-dev ## build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

messages: $(VENV)/.installed-dev ## bring the pages' texts into the catalogues of each language
	@BIN=$(BIN) ./.ci/messages

LOCK = helm/images/service/requirements.txt
VENDOR = share/jupyterhub-binder/static/vendor

lock: $(VENV)/bin/uv ## choose newer versions of the service image's packages
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --extra binderhub --extra conda --extra postgres --extra s3 --custom-compile-command "make lock" \
	  --output-file $(LOCK) pyproject.toml

audit: $(VENV)/bin/uv ## look for known vulnerabilities of the service image's packages
	@$(PYTHON) .ci/audit $(BIN)/uv $(LOCK)

format: $(VENV)/.installed-dev ## let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what these commands made, .venv and .demo included
	rm -rf $(VENV) .venv-hub5 .demo docs/_build docs/reference/generated $(VENDOR)

# A stamp for each set of extras: older than one of these files means stale.
BUILT_FROM = pyproject.toml hatch_build.py package-lock.json
$(VENV)/.installed-demo: $(BUILT_FROM) $(VENV)/bin/uv
	@./.ci/install $(VENV) demo
$(VENV)/.installed-test: $(BUILT_FROM) $(VENV)/bin/uv
	@./.ci/install $(VENV) test "$(HUB)"
$(VENV)/.installed-dev: $(BUILT_FROM) $(VENV)/bin/uv
	@./.ci/install $(VENV) dev

# uv, from PyPI like all else, installs in seconds what takes pip a minute.
$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: make PYTHON=python3.12 ..., for example." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
