# make demo    environment, then the example on threads, Dask and Ray
# make test    environment, `make check`, then the tests that are not slow: everything that CI runs
# make test-all    the slow tests, too: broken and stock runners, clusters in namespaces, workers without memory
# make check   ruff, mypy --strict, lint-imports, which checks who may import whom, and the site of docs/
# make docs    environment, then the pages of docs/ as a site in build/docs, without the network; docs/site/mkdocs.yml
# make dist-check    builds wheel and sdist, installs the wheel into an empty environment, and checks all of it
# make stock-tests    the tests that prefect-dask and prefect-ray ship for their own runners, with ours in their place;
#                     tests/stock_suites/README.md
# make bench   environment, then what a task costs: stock, ours, bare engines; benchmarks/README.md
# make matrix  environment, then the table of rules on ours and on the stock runners; tests/conformance/README.md
# make compat  units, the table of rules and the demo on the oldest, pinned and newest packages; docs/compatibility.md
# make docker-check  image, clusters, census and table of rules in containers; docker/README.md
# make clean   remove the environment and all caches

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test test-all docs dist-check stock-tests bench matrix compat docker-check check clean

demo: $(STAMP)
	RAY_USAGE_STATS_ENABLED=0 DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false \
	$(BIN)/anyrunner compare examples/stdlib_census.py:census -p most=300 --on thread,dask,ray

# Two processes share the tests; those of one engine stay together, so that each engine starts once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup

test: check
	$(PYTEST)

test-all: check
	$(PYTEST) -m ""

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --clean --config-file docs/site/mkdocs.yml

dist-check: $(STAMP)
	$(BIN)/python -m pytest -m "" tests/release

stock-tests: .venv-stock/.installed
	.venv-stock/bin/python tests/stock_suites $(STOCK)

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCH)

matrix: $(STAMP)
	$(BIN)/python -m tests.conformance.write_matrix $(RULES)

compat: .venv-compat/.installed
	.venv-compat/bin/python tests/compat $(COMPAT)

docker-check:
	docker/check

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(MAKE) --no-print-directory docs

clean:
	rm -rf .venv .venv-stock .venv-compat build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,test,docs]'
	touch $@

.venv-stock/.installed: pyproject.toml constraints.txt tests/stock_suites/requirements.txt
	$(PYTHON) -m venv .venv-stock
	.venv-stock/bin/python -m pip install --quiet -c constraints.txt -e '.[all,test]' -r tests/stock_suites/requirements.txt
	touch $@

.venv-compat/.installed:
	$(PYTHON) -m venv .venv-compat
	.venv-compat/bin/python -m pip install --quiet uv
	touch $@
