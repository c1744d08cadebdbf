"""`anyrunner show`: the runner in effect, where its settings come from, and which backends are installed."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_anyrunner._base.errors import AnyRunnerError
from prefect_anyrunner._base.secrets import hide
from prefect_anyrunner._base.versions import running
from prefect_anyrunner._choosing.files import Entry, read_nearest
from prefect_anyrunner._choosing.runner import resolve
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner._driver.hooks import RunnerHooks
from prefect_anyrunner._driver.settings import Settings
from prefect_anyrunner.backends import _registry

_DEPENDENCIES = ("prefect_dask", "dask", "distributed", "prefect_ray", "ray", "cloudpickle", "loky", "pebble")
"""Modules whose versions a bug report needs, beside Python, Prefect and this package."""


def show(text: str | None = None, *, check: bool = False, as_json: bool = False) -> int:
    """Print the runner in effect, or the one that `text` describes, and return the exit code.

    `check`: also print all of its options, start it, and print its workers. Raises SpecError when the configuration is
    wrong, BackendUnavailable when a class that it names cannot be imported, and what a start of the runner raises.
    """
    spec = RunnerSpec.load(text, place="argument SPEC") if text is not None else resolve()
    _check_class(spec)
    parts: dict[str, Any] = {"backend": spec.backend, "address": spec.address, **spec.options}
    settings = {name: value for name, value in parts.items() if value is not None}
    named = read_nearest(Path.cwd()).runners
    if as_json:
        print(json.dumps(_facts(spec, settings, named), indent=2, default=str))
        return 0
    _print(
        ("runner", str(spec), f"chosen by {spec.source}"),
        *(
            (name, str(hide(value, name)), f"from {spec.origins.get(name, spec.source)}")
            for name, value in settings.items()
        ),
    )
    if check:
        _check(spec)
    if text is not None:
        return 0
    if named:
        print("\nnamed runners")
        _print(*((f"  {name}", entry.place, _problem(name)) for name, entry in named.items()))
    print("\nbackends")
    _print(*((f"  {name}", *_state(name)) for name in _registry.names()))
    return 0


def _check(spec: RunnerSpec) -> None:
    """Start a runner, and print the options that it was not given and its workers."""
    backend = _registry.get(spec.backend)
    assert backend is not None, "a spec names a known backend"
    runner: Any = spec.runner()
    settings = runner.current_settings() if isinstance(runner, Settings) else {}
    print("\nother options")
    _print(
        ("  option", "value", ""),
        *(
            (f"  {name}", _default(settings.get(name), name), option.help)
            for name, option in backend.options.items()
            if name not in spec.options
        ),
    )
    with runner:
        workers = runner.workers() if isinstance(runner, RunnerHooks) else ""
    print(f"\nit starts{': ' if workers else ''}{workers}")


def _default(value: Any, name: str) -> str:
    return "-" if value is None or value == {} or value == sys.maxsize else str(hide(value, name))


def _facts(spec: RunnerSpec, settings: Mapping[str, Any], named: Mapping[str, Entry]) -> dict[str, Any]:
    """Return what a bug report needs: versions, platform, and the same as without `--json`; secrets are hidden."""
    return {
        "versions": {**running(*_DEPENDENCIES)},
        "platform": platform.platform(),
        "runner": str(spec),
        "chosen_by": spec.source,
        "settings": {
            name: {"value": hide(value, name), "from": spec.origins.get(name, spec.source)}
            for name, value in settings.items()
        },
        "named_runners": {name: {"place": entry.place, "problem": _problem(name)} for name, entry in named.items()},
        "backends": {name: dict(zip(("state", "detail"), _state(name), strict=True)) for name in _registry.names()},
    }


def _check_class(spec: RunnerSpec) -> None:
    """Import the class that a spec names, as a flow run would. Raises SpecError, BackendUnavailable."""
    if "cluster_class" in spec.options:
        spec.runner()


def _problem(name: str) -> str:
    """Return what is wrong with a named runner, or nothing."""
    try:
        _check_class(RunnerSpec.load(name))
    except AnyRunnerError as error:
        return f"cannot be used: {error}"
    return ""


def _state(name: str) -> tuple[str, str]:
    """Return whether a backend is installed, and its versions or the command that installs it."""
    try:
        backend = _registry.get(name)
    except AnyRunnerError as error:
        return "broken", str(error)
    assert backend is not None, "names() returns known backends only"
    if missing := backend.missing():
        return "not installed", _registry.unavailable(backend, missing).partition("install it with: ")[2]
    return "installed", ", ".join(_version(module) for module in backend.requires or ("prefect",))


def _version(module: str) -> str:
    distribution = module.replace("_", "-")
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return module


def _print(*rows: tuple[str, ...]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
