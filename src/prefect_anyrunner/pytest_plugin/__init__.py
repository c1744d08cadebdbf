"""Tests of flows on every runner: a test that takes `any_runner` runs once for each runner.

    def test_etl(any_runner):
        assert etl(["mon", "tue"]) == 42

pytest loads this module at the start of every run, so it imports Prefect only when a test takes the fixture.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from prefect_anyrunner.pytest_plugin.captured import without_failures
from prefect_anyrunner.pytest_plugin.records import Records
from prefect_anyrunner.pytest_plugin.selection import (
    DEFAULT,
    check_specs,
    ids_of,
    record_key,
    specs_for,
    specs_of,
    title_of,
)

if TYPE_CHECKING:
    from prefect_anyrunner.pytest_plugin.runners import AnyRunner as AnyRunner
    from prefect_anyrunner.pytest_plugin.runners import Runners


def __getattr__(name: str) -> Any:
    if name != "AnyRunner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prefect_anyrunner.pytest_plugin.runners import AnyRunner  # imports Prefect

    return AnyRunner


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the ini setting."""
    group = parser.getgroup("anyrunner", "Prefect flows on every task runner")
    group.addoption(
        "--anyrunner",
        metavar="SPEC,SPEC",
        help="the runners for tests with `any_runner`: URLs, backends, or names in anyrunner.toml",
    )
    group.addoption(
        "--anyrunner-strict", action="store_true", help="fail tests of runners that are not installed, do not skip them"
    )
    parser.addini("anyrunner", "the runners for tests with `any_runner`", type="args", default=list(DEFAULT))


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and the comparison of records. Raises UsageError for a runner that does not exist."""
    config.addinivalue_line(
        "markers",
        "anyrunner(*runners, needs=()): run a test with `any_runner` only on these runners, or only on runners that "
        "have these capabilities, such as 'INTERRUPT_BLOCKING'",
    )
    config.pluginmanager.register(Records(), "anyrunner-records")
    check_specs(config)


def pytest_report_header(config: pytest.Config) -> str:
    """Return the line that names the runners, with the versions of their engines."""
    return f"anyrunner: {', '.join(map(title_of, specs_of(config)))}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `any_runner` once for each runner."""
    if "any_runner" not in metafunc.fixturenames:
        return
    specs = specs_for(metafunc.config, metafunc.definition)
    metafunc.parametrize("any_runner", specs, indirect=True, ids=ids_of(specs))


@pytest.fixture(scope="session")
def _anyrunner_engines() -> Iterator[Runners]:
    from prefect_anyrunner.pytest_plugin.runners import Runners

    with ExitStack() as stack:
        yield Runners(stack)


@pytest.fixture
def any_runner(request: pytest.FixtureRequest, _anyrunner_engines: Runners) -> Iterator[AnyRunner]:
    """Run the test once for each runner; inside it every `AnyTaskRunner`, also in subflows, is that runner.

    Yields an `AnyRunner`: `.name`, `.spec`, `.flow(f)` to run any other flow on it, and `.record(name, value)` for
    values that must be the same on all runners. The value that the test returns must be the same as well. Engines, and
    a Prefect server if none is configured, start when the first test needs them, and all tests of the process share
    them; with pytest-xdist, each of its workers has its own.
    """
    marker = request.node.get_closest_marker("anyrunner")
    needs = marker.kwargs.get("needs", ()) if marker is not None else ()
    strict = request.config.getoption("--anyrunner-strict")
    with _anyrunner_engines.ready(request.param, [needs] if isinstance(needs, str) else needs, strict) as runner:
        yield runner
    for name, text in runner.recorded.items():
        request.node.user_properties.append(("anyrunner", [*record_key(request.node, request.param), name, text]))


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Record the value that a test with `any_runner` returns, so that it is compared like other records."""
    runner: Any = pyfuncitem.funcargs.get("any_runner")
    test = pyfuncitem.obj
    if runner is None or inspect.iscoroutinefunction(test):
        yield
        return

    @functools.wraps(test)
    def recorded(*args: Any, **kwargs: Any) -> None:
        returned = test(*args, **kwargs)
        if returned is not None:
            runner.record("the returned value", returned)

    pyfuncitem.obj = recorded
    try:
        yield
    finally:
        pyfuncitem.obj = test


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show a combined failure as its groups of alike failures, without the tracebacks of all members."""
    outcome: Any = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if error is None or type(error).__name__ != "TaskRunsFailed":
        return
    from prefect_anyrunner._reports.printed import all_is_printed
    from prefect_anyrunner.pytest_plugin.runners import compact

    report = outcome.get_result()
    if not report.failed:
        return
    report.longrepr = compact(call.excinfo, item)
    if all_is_printed():
        return
    shorter = [(title, *without_failures(text)) for title, text in report.sections]
    report.sections = [(title, text) for title, text, left_out in shorter if text.strip() or not left_out]
    if lines := sum(left_out for _, _, left_out in shorter):
        report.longrepr += (
            f"\n{lines} lines of Prefect's log about it are left out; ANYRUNNER_TRACEBACKS=all shows them."
        )
