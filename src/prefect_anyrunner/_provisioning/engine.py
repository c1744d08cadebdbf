"""An engine that many flow runs share: started once for a spec, stopped when the block ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect_anyrunner._base.errors import BackendUnavailable
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner.backends import _registry

WORKERS = 2
"""Number of task runs that an engine of ours executes at a time unless the spec says otherwise."""


@dataclass(frozen=True)
class RunningEngine:
    """An engine in use: `spec` is where it is now, `workers` the number of task runs that it executes at a time."""

    spec: RunnerSpec
    workers: int


@contextmanager
def shared_engine(spec: RunnerSpec) -> Iterator[RunningEngine]:
    """Start the engine that `spec` asks for and yield the spec with which any number of flow runs use it.

    A backend that can share an engine of its own starts it here, with two workers unless the spec says otherwise. An
    engine that exists already is left as it is, and so is a backend whose runner starts what it needs by itself.
    Raises BackendUnavailable.
    """
    backend = _registry.get(spec.backend)
    assert backend is not None, "a spec names a known backend"
    if missing := backend.missing():
        raise BackendUnavailable(_registry.unavailable(backend, missing))
    if spec.address is None and backend.share is not None:
        with _registry.share(backend, dict(spec.options), WORKERS) as engine:
            yield RunningEngine(_with(spec, engine.options, engine.address), engine.workers)
    else:
        yield _unshared(spec, backend.options)


def _unshared(spec: RunnerSpec, known: Mapping[str, Any]) -> RunningEngine:
    if spec.address is None and "max_workers" in known:
        spec = _with(spec, {"max_workers": WORKERS, **spec.options}, None)
    return RunningEngine(spec, spec.options.get("max_workers", WORKERS))


def _with(spec: RunnerSpec, options: Mapping[str, Any], address: str | None) -> RunnerSpec:
    return RunnerSpec(spec.backend, address, dict(options), spec.source, spec.origins)
