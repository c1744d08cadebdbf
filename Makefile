# make demo    environment, then the example on thread, Dask and Ray
# make test    environment, then the whole test suite
# make test-all    the suite, and the tests of stock runners and of the command, which take many minutes more
# make stock-tests    the tests that prefect-dask and prefect-ray ship for their own runners, with ours in their place
#                     (STOCK='--prefect CHECKOUT' adds Prefect's own); in an environment of its own, .venv-stock
# make bench  environment, then what a task costs: stock, ours, bare engines (BENCH='--quick' for a look)
# make matrix  environment, then the table of rules on ours and on the stock runners, for tests/conformance/reports.json and
#              the README (RULES='--rule C2 --rule W1' for a part: results of other cases stay); it takes an hour
# make docker-check  docker/ for real: image, clusters, census and table of rules on each (starts an engine if none runs)
# make check   ruff, mypy --strict, and lint-imports: who may import whom
# make clean   remove the environment and all caches

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test test-all stock-tests bench matrix docker-check check clean

demo: $(STAMP)
	RAY_USAGE_STATS_ENABLED=0 DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false \
	$(BIN)/anyrunner compare examples/stdlib_census.py:census --on thread,dask,ray

# Two processes share the tests; those of one engine stay together, so that each engine starts once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup

test: $(STAMP)
	$(PYTEST)

test-all: $(STAMP)
	$(PYTEST) tests

stock-tests: .venv-stock/.installed
	.venv-stock/bin/python tests/stock_suites $(STOCK)

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCH)

MATRIX := stock+thread thread stock+process process stock+dask dask stock+ray ray

matrix: $(STAMP)  # exit code 1 says that a runner breaks a rule: stock ones do, and the tests look after ours
	$(BIN)/anyrunner conform $(MATRIX) $(RULES) --json tests/conformance/reports.json --markdown README.md || test $$? = 1

docker-check:
	docker/check

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

clean:
	rm -rf .venv .venv-stock build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,test]'
	touch $@

.venv-stock/.installed: pyproject.toml constraints.txt tests/stock_suites/requirements.txt
	$(PYTHON) -m venv .venv-stock
	.venv-stock/bin/python -m pip install --quiet -c constraints.txt -e '.[all,test]' -r tests/stock_suites/requirements.txt
	touch $@
