"""Tests of flows on every runner: a test that takes `any_runner` runs once per runner.

    def test_etl(any_runner):
        assert etl(["mon", "tue"]) == 42

Loaded by pytest itself. It imports Prefect only when a test that takes the fixture runs.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ._beside import beside

if TYPE_CHECKING:
    from ._pytest_runner import AnyRunner, Runners

DEFAULT = ("thread", "process", "dask", "ray")
_DISTRIBUTIONS = {"thread": "prefect", "process": "prefect", "dask": "distributed", "ray": "ray"}


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


def _specs(config: pytest.Config) -> list[str]:
    given: str | None = config.getoption("--anyrunner")
    texts = given.split(",") if given is not None else config.getini("anyrunner")
    specs = [text.strip() for text in texts if text.strip()]
    if not specs:
        raise pytest.UsageError("--anyrunner names no runner")
    return list(dict.fromkeys(specs))


def _backend_of(spec: str) -> str:
    return spec.partition("://")[0].partition("+tls")[0]


def pytest_report_header(config: pytest.Config) -> str:
    """Say what runs where, with versions."""
    from ._secrets import hide_in_text

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


def _named(spec: str) -> str:
    """Return the backend of a runner that a file names, as far as it can be told; empty for any other spec."""
    from ._errors import SpecError
    from ._specfile import read_nearest

    try:
        entry = read_nearest(Path.cwd()).runners.get(spec)
    except SpecError:  # told in full by the first test that needs it
        return ""
    if entry is None:
        return ""
    backend = entry.value.get("backend") if isinstance(entry.value, dict) else entry.value
    return _backend_of(backend) if isinstance(backend, str) else ""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `any_runner` once per runner."""
    if "any_runner" not in metafunc.fixturenames:
        return
    specs = _chosen(metafunc.config, metafunc.definition)
    metafunc.parametrize("any_runner", specs, indirect=True, ids=_ids(specs))


def _chosen(config: pytest.Config, test: pytest.Item) -> list[str]:
    """Return the specs that a test runs on: all, or those that its marker picks."""
    specs = _specs(config)
    marker = test.get_closest_marker("anyrunner")
    if marker is None or not marker.args:
        return specs
    return [spec for spec in specs if not {spec, _backend_of(spec), _named(spec)}.isdisjoint(marker.args)]


def _ids(specs: list[str]) -> list[str]:
    """Return readable ids: the backend's name where one spec has it, else the whole spec."""
    names = [_backend_of(spec) for spec in specs]
    return [name if names.count(name) == 1 else spec for name, spec in zip(names, specs, strict=True)]


@pytest.fixture(scope="session")
def _anyrunner_engines() -> Iterator[Runners]:
    from ._pytest_runner import Runners

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


def _test_and_runner(item: Any, spec: str) -> list[str]:
    specs = _chosen(item.config, item)
    runner = dict(zip(specs, _ids(specs), strict=True))[spec]
    others = list(item.callspec._idlist)  # the parts of the test's id, whose text may hold "-" itself
    others.remove(runner)
    rest = f"[{'-'.join(others)}]" if others else ""
    return [item.nodeid.partition("[")[0] + rest, runner]


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
    from ._pytest_runner import compact

    report = outcome.get_result()
    if report.failed:
        report.longrepr = compact(call.excinfo, item)


class _Records:
    """Compares what tests recorded on each runner, once all have run: on xdist's controller, too."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], dict[str, str]] = {}  # (test, name) -> runner -> text

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            told: Any
            for kind, told in report.user_properties:
                if kind == "anyrunner":
                    test, runner, name, text = told
                    self._records.setdefault((test, name), {})[runner] = text

    def _different(self) -> dict[tuple[str, str], dict[str, str]]:
        return {key: texts for key, texts in self._records.items() if len(set(texts.values())) > 1}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._different() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for (test, name), texts in self._different().items():
            terminalreporter.section(f"{test}: {name!r} differs between runners", sep="-", red=True)
            for line in beside(texts, shutil.get_terminal_size().columns):
                terminalreporter.line(line)
