"""The process that holds the engine and runs cases: `python -m prefect_anyrunner.conformance._harness.child FD`.

It receives the runner, then the ids of cases one after the other, and None at the end; it answers each message but the
last one.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from prefect_anyrunner import RunnerSpec, SpecError, gather
from prefect_anyrunner._choosing.engine import RunningEngine, shared_engine
from prefect_anyrunner._provisioning.child import Parent
from prefect_anyrunner.backends import _registry
from prefect_anyrunner.backends._record import Backend
from prefect_anyrunner.conformance import CASES, SharedFlow, Subject, tasks
from prefect_anyrunner.conformance._harness.case_runner import CaseReply
from prefect_anyrunner.conformance._harness.diagnose import explain_failure
from prefect_anyrunner.conformance.checks import lines, until
from prefect_anyrunner.conformance.open_flow import set_limit

LIMIT_SHARE = 0.4
"""Part of a case's time that one wait inside it may take, so that the case can still report which wait failed."""
PROBE_SECONDS = 10.0
"""Seconds that the workers get to show that they are free."""
SETTINGS: dict[str, Any] = {
    "portable": True,
    "rerun_lost": 3,
    "max_workers": 3,
    "client_kwargs": {"name": "other"},
    "init_kwargs": {"namespace": "other"},
}
"""Options that do not change where tasks run, each with a value that is not the default."""


def main(parent: Parent) -> None:
    """Start the engine, run the cases that are asked for, and stop the engine."""
    spec, seconds, folder = parent.receive()
    set_limit(seconds * LIMIT_SHARE)
    backend = _registry.get(spec.backend)
    assert backend is not None, "the parent process has checked the spec"
    starting = shared_engine(spec)
    try:
        engine = starting.__enter__()
    except Exception as error:
        parent.send(f"{type(error).__name__}: {error}")
        return
    try:
        _serve(parent, engine, backend, Path(folder))
    finally:
        starting.__exit__(None, None, None)


def _serve(parent: Parent, engine: RunningEngine, backend: Backend, folder: Path) -> None:
    spec = engine.spec

    def make(**options: Any) -> Any:
        return RunnerSpec(spec.backend, spec.address, {**spec.options, **options}).runner()

    shared = SharedFlow(make)
    cases = {case.id: case for case in CASES}
    setting = next(({name: value} for name, value in SETTINGS.items() if name in backend.options), {})
    parent.send(None)
    while (asked := parent.receive()) is not None:
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
        except SpecError as error:  # the case asked for a runner that does not exist, so nothing has run
            reply = CaseReply(False, str(error))
        except BaseException as error:  # a stock runner may raise an exception of a task's body inside the flow
            text = "".join(traceback.format_exception(error))
            detail = explain_failure(error).replace(str(folder), "...")  # equal reports, although the folder is new
            reply = CaseReply(False, detail, text, clean=_is_clean(error, subject))
        else:
            reply = CaseReply(True)
        parent.send(reply)
    shared.close()


def _is_clean(error: BaseException, subject: Subject) -> bool:
    """Return whether all workers are free after a case that failed, so that the next case can use the engine."""
    if not isinstance(error, AssertionError | AttributeError):
        return False
    started, go = subject.path("all-started"), subject.path("all-go")

    def occupy_all() -> None:
        futures = [tasks.hold.submit(started, go) for _ in range(subject.workers)]
        try:
            until(lambda: lines(started) == subject.workers, within=PROBE_SECONDS)
        finally:
            Path(go).touch()
        gather(futures, timeout=PROBE_SECONDS)

    try:
        subject.inside(occupy_all)
    except BaseException:  # any failure means that the engine must be replaced
        return False
    return True


if __name__ == "__main__":
    main(Parent(int(sys.argv[1])))
