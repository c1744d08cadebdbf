"""The runners of a test run, and those of each test."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

DEFAULT = ("thread", "process", "dask", "ray")
_DISTRIBUTIONS = {"thread": "prefect", "process": "prefect", "dask": "distributed", "ray": "ray"}


def specs_of(config: pytest.Config) -> list[str]:
    """Return the specs of a test run, from the command line, the ini file, or the default."""
    given: str | None = config.getoption("--anyrunner")
    texts = given.split(",") if given is not None else config.getini("anyrunner")
    specs = [text.strip() for text in texts if text.strip()]
    if not specs:
        raise pytest.UsageError("--anyrunner names no runner")
    return list(dict.fromkeys(specs))


def check_specs(config: pytest.Config) -> None:
    """Raise UsageError if a spec of the test run is wrong; a backend that is not installed is fine."""
    from prefect_anyrunner._base.errors import BackendUnavailable, SpecError
    from prefect_anyrunner._choosing.spec import RunnerSpec

    place = "--anyrunner" if config.getoption("--anyrunner") is not None else "ini setting anyrunner"
    for text in specs_of(config):
        if text in DEFAULT:
            continue
        try:
            RunnerSpec.load(text, place=place)
        except SpecError as error:
            raise pytest.UsageError(str(error)) from None
        except BackendUnavailable:
            pass  # each test that needs the backend is skipped, or fails if --anyrunner-strict is given


def specs_for(config: pytest.Config, test: pytest.Item) -> list[str]:
    """Return the specs that a test runs on: all, or those that its marker names."""
    specs = specs_of(config)
    marker = test.get_closest_marker("anyrunner")
    if marker is None or not marker.args:
        return specs
    return [spec for spec in specs if not {spec, _backend_of(spec), _backend_of_named(spec)}.isdisjoint(marker.args)]


def ids_of(specs: list[str]) -> list[str]:
    """Return readable ids: the backend's name where only one spec has it, else the whole spec."""
    names = [_backend_of(spec) for spec in specs]
    return [name if names.count(name) == 1 else spec for name, spec in zip(names, specs, strict=True)]


def record_key(item: Any, spec: str) -> list[str]:
    """Return the id of a test without its runner, and the id of the runner."""
    specs = specs_for(item.config, item)
    runner = dict(zip(specs, ids_of(specs), strict=True))[spec]
    others = list(item.callspec._idlist)  # the text of the test's id is no help, because its parts may hold "-"
    escaped = runner.encode("unicode_escape").decode()  # as pytest writes an id that is not ASCII
    others.remove(escaped if escaped in others else runner)
    rest = f"[{'-'.join(others)}]" if others else ""
    return [item.nodeid.partition("[")[0] + rest, runner]


def title_of(spec: str) -> str:
    """Return a spec without secrets, its backend if it is a named runner, and the version of its engine."""
    from prefect_anyrunner._base.secrets import hide_in_text

    named = _backend_of_named(spec)
    distribution = _DISTRIBUTIONS.get((named or _backend_of(spec)).removeprefix("stock+"))
    try:
        version = f"{distribution} {importlib.metadata.version(distribution)}" if distribution else ""
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    facts = ", ".join(filter(None, [named, version]))
    return hide_in_text(spec) + (f" ({facts})" if facts else "")


def _backend_of(spec: str) -> str:
    return spec.partition("://")[0].partition("+tls")[0]


def _backend_of_named(spec: str) -> str:
    """Return the backend of a named runner, or "" if the spec names none or the file is wrong."""
    from prefect_anyrunner._base.errors import SpecError
    from prefect_anyrunner._choosing.files import read_nearest

    try:
        entry = read_nearest(Path.cwd()).runners.get(spec)
    except SpecError:  # `check_specs` has raised this error if a runner of the file is used
        return ""
    if entry is None:
        return ""
    backend = entry.value.get("backend") if isinstance(entry.value, dict) else entry.value
    return _backend_of(backend) if isinstance(backend, str) else ""
