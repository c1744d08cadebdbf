"""Tests of flows on every runner: a test that takes `any_runner` runs once per runner.

    def test_etl(any_runner):
        assert etl(["mon", "tue"]) == 42

Loaded by pytest itself. It imports Prefect only when a test that takes the fixture runs.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from prefect_anyrunner.pytest_plugin.records import _Records
from prefect_anyrunner.pytest_plugin.selection import (
    _DISTRIBUTIONS,
    DEFAULT,
    _backend_of,
    _chosen,
    _ids,
    _named,
    _specs,
    _test_and_runner,
)

if TYPE_CHECKING:
    from prefect_anyrunner.pytest_plugin.runners import AnyRunner, Runners


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the ini setting."""
    group = parser.getgroup("anyrunner", "Prefect flows on every task runner")
    group.addoption(
        "--anyrunner",
        metavar="SPEC,SPEC",
        help="the runners that tests with `any_runner` run on: URLs, backends, or names in anyrunner.toml",
    )
    group.addoption(
        "--anyrunner-strict", action="store_true", help="fail tests of runners that are not installed, not skip them"
    )
    parser.addini("anyrunner", "the runners that tests with `any_runner` run on", type="args", default=list(DEFAULT))


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what compares the records of runners."""
    config.addinivalue_line(
        "markers",
        "anyrunner(*runners, needs=()): run a test with `any_runner` only on these of the runners, or only on those "
        "that have a capability, by its name such as 'INTERRUPT_BLOCKING'",
    )
    config.pluginmanager.register(_Records(), "anyrunner-records")


def pytest_report_header(config: pytest.Config) -> str:
    """Say what runs where, with versions."""
    from prefect_anyrunner._base.secrets import hide_in_text

    told = []
    for spec in _specs(config):
        named = _named(spec)
        distribution = _DISTRIBUTIONS.get((named or _backend_of(spec)).removeprefix("stock+"))
        try:
            version = f"{distribution} {importlib.metadata.version(distribution)}" if distribution else ""
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        facts = ", ".join(filter(None, [named, version]))
        told.append(hide_in_text(spec) + (f" ({facts})" if facts else ""))
    return f"anyrunner: {', '.join(told)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `any_runner` once per runner."""
    if "any_runner" not in metafunc.fixturenames:
        return
    specs = _chosen(metafunc.config, metafunc.definition)
    metafunc.parametrize("any_runner", specs, indirect=True, ids=_ids(specs))


@pytest.fixture(scope="session")
def _anyrunner_engines() -> Iterator[Runners]:
    from prefect_anyrunner.pytest_plugin.runners import Runners

    with ExitStack() as stack:
        yield Runners(stack)


@pytest.fixture
def any_runner(request: pytest.FixtureRequest, _anyrunner_engines: Runners) -> Iterator[AnyRunner]:
    """Run the test once per runner; inside it every `AnyTaskRunner`, subflows' too, is that runner.

    Yields an `AnyRunner`: `.name`, `.spec`, `.flow(f)` to have any other flow run on it, too, and
    `.record(name, value)` for what must be the same on all runners, as must be what the test returns. Engines, and a
    Prefect server where none is configured, start when the first test needs them and are shared by all tests of the
    process: with pytest-xdist, each of its workers has its own.
    """
    marker = request.node.get_closest_marker("anyrunner")
    needs = marker.kwargs.get("needs", ()) if marker is not None else ()
    strict = request.config.getoption("--anyrunner-strict")
    with _anyrunner_engines.ready(request.param, [needs] if isinstance(needs, str) else needs, strict) as runner:
        yield runner
    for name, text in runner.recorded.items():
        request.node.user_properties.append(("anyrunner", [*_test_and_runner(request.node, request.param), name, text]))


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Record what a test with `any_runner` returns, to be compared like what it records itself."""
    runner: Any = pyfuncitem.funcargs.get("any_runner")
    test = pyfuncitem.obj
    if runner is None or inspect.iscoroutinefunction(test):
        yield
        return

    @functools.wraps(test)
    def recorded(*args: Any, **kwargs: Any) -> None:
        answer = test(*args, **kwargs)
        if answer is not None:
            runner.record("what the test returned", answer)

    pyfuncitem.obj = recorded
    try:
        yield
    finally:
        pyfuncitem.obj = test


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show a combined failure by its groups of alike failures, instead of by the tracebacks of all members."""
    outcome: Any = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if error is None or type(error).__name__ != "TaskRunsFailed":
        return
    from prefect_anyrunner.pytest_plugin.runners import compact

    report = outcome.get_result()
    if report.failed:
        report.longrepr = compact(call.excinfo, item)
