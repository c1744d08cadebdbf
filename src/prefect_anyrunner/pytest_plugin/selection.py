"""Which runners a test runs on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    pass


DEFAULT = ("thread", "process", "dask", "ray")
_DISTRIBUTIONS = {"thread": "prefect", "process": "prefect", "dask": "distributed", "ray": "ray"}


def _specs(config: pytest.Config) -> list[str]:
    given: str | None = config.getoption("--anyrunner")
    texts = given.split(",") if given is not None else config.getini("anyrunner")
    specs = [text.strip() for text in texts if text.strip()]
    if not specs:
        raise pytest.UsageError("--anyrunner names no runner")
    return list(dict.fromkeys(specs))


def _backend_of(spec: str) -> str:
    return spec.partition("://")[0].partition("+tls")[0]


def _named(spec: str) -> str:
    """Return the backend of a runner that a file names, as far as it can be told; empty for any other spec."""
    from prefect_anyrunner._base.errors import SpecError
    from prefect_anyrunner._choosing.files import read_nearest

    try:
        entry = read_nearest(Path.cwd()).runners.get(spec)
    except SpecError:  # told in full by the first test that needs it
        return ""
    if entry is None:
        return ""
    backend = entry.value.get("backend") if isinstance(entry.value, dict) else entry.value
    return _backend_of(backend) if isinstance(backend, str) else ""


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


def _test_and_runner(item: Any, spec: str) -> list[str]:
    specs = _chosen(item.config, item)
    runner = dict(zip(specs, _ids(specs), strict=True))[spec]
    others = list(item.callspec._idlist)  # the parts of the test's id, whose text may hold "-" itself
    others.remove(runner)
    rest = f"[{'-'.join(others)}]" if others else ""
    return [item.nodeid.partition("[")[0] + rest, runner]
