"""A pytest plugin: the stock runners' own tests, with this package's classes in place of the stock ones.

After a test module is imported, every name in it that stands for a stock task runner stands for ours: what a user does
by changing one import line. Nothing but the namespaces of the test modules is touched. `expected.toml` lists which
tests must fail, each with its reason, and which need more CPUs than a machine may have.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Generator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXPECTED = Path(__file__).with_name("expected.toml")
RUNNERS = {
    "prefect.task_runners.ThreadPoolTaskRunner": "prefect_anyrunner.backends.thread.ThreadPoolTaskRunner",
    "prefect.task_runners.ProcessPoolTaskRunner": "prefect_anyrunner.backends.process.ProcessPoolTaskRunner",
    "prefect_dask.DaskTaskRunner": "prefect_anyrunner.backends.dask.DaskTaskRunner",
    "prefect_ray.RayTaskRunner": "prefect_anyrunner.backends.ray.RayTaskRunner",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    parser.addoption("--suite", required=True, help="the suite's name in expected.toml")
    parser.addoption("--leave-out", help="leave out tests with this in their name")


def pytest_plugin_registered(plugin: object) -> None:
    """Give the server of a suite's own conftest more than 30 seconds to start, on a machine that may be busy."""
    if isinstance(plugin, ModuleType) and (harness := vars(plugin).get("prefect_test_harness")) is not None:
        vars(plugin)["prefect_test_harness"] = partial(harness, server_startup_timeout=240)


def _load(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> Generator[None, Any, Any]:
    """Swap the runners in the namespace of each test module."""
    collector: Any = yield
    ours = {_load(stock): our for stock, our in RUNNERS.items() if find_spec(stock.partition(".")[0])}
    for name, value in list(vars(collector.obj).items()):
        if isinstance(value, type) and value in ours:
            setattr(collector.obj, name, _load(ours[value]))
    return collector


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what must fail; a line of the table that matches no test is an error."""
    if left_out := config.getoption("--leave-out"):
        gone = [item for item in items if left_out in item.nodeid]
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=gone)
    entries = tomllib.loads(EXPECTED.read_text()).get(config.getoption("--suite"), [])
    found: set[str] = set()
    for item in items:
        name = item.nodeid.partition("::")[2]
        for entry in entries:
            if not re.fullmatch(entry["tests"], name):
                continue
            found.add(entry["tests"])
            cpus = entry.get("cpus")
            if cpus is None:
                item.add_marker(pytest.mark.xfail(reason=entry["reason"], strict=True))
            elif (os.cpu_count() or 1) < cpus:
                item.add_marker(pytest.mark.skip(reason=f"needs {cpus} CPUs: {entry['reason']}"))
    missing = [entry["tests"] for entry in entries if entry["tests"] not in found]
    if missing and not config.option.keyword and not any("::" in each for each in config.args):
        raise pytest.UsageError(f"expected.toml names tests that there are not: {', '.join(missing)}")
