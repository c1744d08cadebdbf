"""All known backends: four built in, the stock runners beneath them, more through entry points.

Listing them imports none of them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prefect_anyrunner._base.errors import BackendUnavailable, SpecError
from prefect_anyrunner.backends._builtin import BUILT_IN, OWN
from prefect_anyrunner.backends._record import Backend, SharedEngine

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

GROUP = "prefect_anyrunner.backends"


def names() -> tuple[str, ...]:
    """Return the names to choose from, the built-in ones first; loads no entry point.

    The stock runners are left out, because they only serve for comparison.
    """
    return (*BUILT_IN, *sorted({point.name for point in _entry_points()} - OWN.keys()))


def knows(name: str) -> bool:
    """Return whether a backend of that name exists; loads no entry point."""
    return name in OWN or name in names()


def of_scheme(scheme: str) -> str:
    """Return the name of the backend that a URL scheme belongs to: the longest name before a `+` that is one."""
    parts = scheme.split("+")
    candidates = ("+".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next(filter(knows, candidates), parts[0])


def get(name: str) -> Backend | None:
    """Return the backend of that name, or None when there is none.

    Raises SpecError when two packages registered the name, or a package registered something other than a `Backend`
    under it; BackendUnavailable when its record cannot be imported.
    """
    points = [point for point in _entry_points() if point.name == name]
    owners = ["prefect-anyrunner"] * (name in OWN) + [_owner(point) for point in points]
    if len(owners) > 1:
        raise SpecError(f"backend {name!r} is registered by several packages: {', '.join(owners)}; keep one of them")
    if not points:
        return OWN.get(name)
    try:
        backend = points[0].load()
    except Exception as error:
        raise BackendUnavailable(
            f"backend {name!r} of package {owners[0]} cannot be imported ({points[0].value}): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(backend, Backend) or backend.name != name:
        raise SpecError(
            f"entry point {name!r} of package {owners[0]} ({points[0].value}) is not a Backend record named {name!r}"
        )
    return backend


def build(backend: Backend, address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the backend's task runner, not started.

    Raises BackendUnavailable, with the install line, when a package it needs is not installed or cannot be imported.
    """
    runner: TaskRunner[Any] = _function(backend, backend.build)(address, options)
    return runner


def share(backend: Backend, options: Mapping[str, Any], workers: int) -> AbstractContextManager[SharedEngine]:
    """Return the context manager that starts an engine which many flow runs can use.

    `workers`: the number of workers to start unless `options` say otherwise. Raises BackendUnavailable as `build` does.
    """
    assert backend.share is not None, "the caller has checked that the backend can share an engine"
    engine: AbstractContextManager[SharedEngine] = _function(backend, backend.share)(options, workers)
    return engine


def _function(backend: Backend, function: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the backend's record, imported if it is given as text."""
    if missing := backend.missing():
        raise BackendUnavailable(unavailable(backend, missing))
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        hint = f"; to install what it needs: {backend.install}" if backend.install else ""
        raise BackendUnavailable(f"backend {backend.name!r} cannot be imported: {error}{hint}") from error
    return found


def unavailable(backend: Backend, missing: tuple[str, ...]) -> str:
    """Return the sentence that says what is not installed and how to install it."""
    how = backend.install or f"pip install {' '.join(name.replace('_', '-') for name in missing)}"
    return f"backend {backend.name!r} is not installed ({', '.join(missing)} missing); install it with: {how}"


def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    return _entry_points_on(tuple(sys.path))


@lru_cache(maxsize=1)
def _entry_points_on(_: tuple[str, ...]) -> tuple[importlib.metadata.EntryPoint, ...]:
    # This reads a file of every installed distribution, and each start of a runner asks for it several times.
    points = importlib.metadata.entry_points(group=GROUP)
    # The same distribution can be found twice, by an editable install and on the path.
    return tuple({(_owner(point), point.name): point for point in points}.values())


def _owner(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
