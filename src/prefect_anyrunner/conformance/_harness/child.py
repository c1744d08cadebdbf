"""The process that holds the engine and runs cases: `python -m prefect_anyrunner.conformance._harness.child FD`.

Told the runner first, then one case id after the other, and None at the end; answers each.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from prefect_anyrunner import RunnerSpec, SpecError, gather
from prefect_anyrunner._provisioning.engine import Engine, shared_engine
from prefect_anyrunner.backends import _registry
from prefect_anyrunner.backends._record import Backend
from prefect_anyrunner.conformance import CASES, SharedFlow, Subject, tasks
from prefect_anyrunner.conformance._harness.case_runner import Said
from prefect_anyrunner.conformance._harness.diagnose import told
from prefect_anyrunner.conformance.checks import lines, until
from prefect_anyrunner.conformance.open_flow import set_limit

SHARE = 0.4
"""Part of a case's time that it waits for one thing, so that it can still tell what did not come."""
PROBE_SECONDS = 10.0
"""How long the workers get to show that they are free."""
SETTINGS: dict[str, Any] = {
    "portable": True,
    "rerun_lost": 3,
    "max_workers": 3,
    "client_kwargs": {"name": "other"},
    "init_kwargs": {"namespace": "other"},
}
"""Options that are no part of where tasks run, each with a value that is not the default."""


def main(pipe: Connection[Any, Any]) -> None:
    """Do what the pipe asks until it asks for nothing more."""
    spec, seconds, folder = pipe.recv()
    set_limit(seconds * SHARE)
    backend = _registry.get(spec.backend)
    assert backend is not None, "the other end has checked it"
    try:
        holding = shared_engine(spec)
        engine = holding.__enter__()
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    try:
        _serve(pipe, engine, backend, Path(folder))
    finally:
        holding.__exit__(None, None, None)


def _serve(pipe: Connection[Any, Any], engine: Engine, backend: Backend, folder: Path) -> None:
    spec = engine.spec

    def make(**options: Any) -> Any:
        return RunnerSpec(spec.backend, spec.address, {**spec.options, **options}).runner()

    shared = SharedFlow(make)
    cases = {case.id: case for case in CASES}
    setting = next(({name: value} for name, value in SETTINGS.items() if name in backend.options), {})
    pipe.send(None)
    while (asked := pipe.recv()) is not None:
        case = cases[asked]
        subject = Subject(
            backend.name,
            make,
            shared,
            Path(tempfile.mkdtemp(prefix=f"{case.id}-", dir=folder)),
            backend.lacks,
            workers=engine.workers,
            setting=setting,
        )
        try:
            case.body(subject)
        except SpecError as error:  # it asked for a runner that there is not: nothing has run
            pipe.send(Said(False, str(error)))
        except BaseException as error:  # a stock runner may raise into the flow what a body raised
            text = "".join(traceback.format_exception(error))
            said = told(error).replace(str(folder), "...")  # a new one each time: reports can be compared
            pipe.send(Said(False, said, text, clean=_is_clean(error, subject)))
        else:
            pipe.send(Said(True))
    shared.close()


def _is_clean(error: BaseException, subject: Subject) -> bool:
    """Tell whether all workers are free again after a case that failed, so that the next one can have the engine."""
    if not isinstance(error, AssertionError | AttributeError):
        return False
    started, go = subject.path("all-started"), subject.path("all-go")

    def all_work() -> None:
        futures = [tasks.hold.submit(started, go) for _ in range(subject.workers)]
        try:
            until(lambda: lines(started) == subject.workers, within=PROBE_SECONDS)
        finally:
            Path(go).touch()
        gather(futures, timeout=PROBE_SECONDS)

    try:
        subject.inside(all_work)
    except BaseException:  # whatever it is: the engine is started anew
        return False
    return True


if __name__ == "__main__":
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    main(Connection(descriptor))
