"""An engine that many flow runs share: started once for a spec, stopped when the block ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from prefect_anyrunner._base.errors import BackendUnavailable
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner.backends import _registry

WORKERS = 2
"""Number of task runs that an engine of ours executes at a time unless the spec says otherwise."""


@dataclass(frozen=True)
class RunningEngine:
    """A running engine: `spec` says how to reach it, `workers` is the number of task runs that it runs at a time."""

    spec: RunnerSpec
    workers: int


@contextmanager
def kept_engine(spec: RunnerSpec) -> Iterator[RunnerSpec]:
    """Run the engine that `spec` asks for until the block ends, with a worker per CPU unless `spec` says otherwise.

    Yields the spec with which flow runs of this process use it. A spec that needs no engine of its own is yielded as it
    is. SIGTERM ends the block with `SystemExit` instead of killing the process. Raises BackendUnavailable.
    """
    backend = _registry.get(spec.backend)
    if backend is None or backend.share is None or spec.address is not None:
        yield spec
        return
    with _sigterm_ends_block(), shared_engine(spec, workers=os.cpu_count() or 1) as engine:
        source = f"{spec.source}, which keeps its engine"
        yield RunnerSpec(engine.spec.backend, engine.spec.address, dict(engine.spec.options), source, spec.origins)


@contextmanager
def _sigterm_ends_block() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(*_: object) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)  # as a shell reports it

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def shared_engine(spec: RunnerSpec, *, workers: int = WORKERS) -> Iterator[RunningEngine]:
    """Start the engine that `spec` asks for and yield the spec with which any number of flow runs use it.

    A backend that can share an engine of its own starts it here, with `workers` unless the spec says otherwise. An
    existing engine is left as it is, and so is a backend whose runner starts its engine itself.
    Raises BackendUnavailable.
    """
    backend = _registry.get(spec.backend)
    assert backend is not None, "a spec names a known backend"
    if missing := backend.missing():
        raise BackendUnavailable(_registry.unavailable(backend, missing))
    if spec.address is None and backend.share is not None:
        with _registry.share(backend, dict(spec.options), workers) as engine:
            yield RunningEngine(_with(spec, engine.options, engine.address), engine.workers)
    else:
        yield _unshared(spec, backend.options)


def _unshared(spec: RunnerSpec, known: Mapping[str, Any]) -> RunningEngine:
    if spec.address is None and "max_workers" in known:
        spec = _with(spec, {"max_workers": WORKERS, **spec.options}, None)
    return RunningEngine(spec, spec.options.get("max_workers", WORKERS))


def _with(spec: RunnerSpec, options: Mapping[str, Any], address: str | None) -> RunnerSpec:
    return RunnerSpec(spec.backend, address, dict(options), spec.source, spec.origins)
