"""The process that holds the engine and runs cases: `python -m prefect_anyrunner.conformance._child FILE_DESCRIPTOR`.

Told the runner first, then one case id after the other, and None at the end; answers each.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
import tempfile
import traceback
import types
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .. import Outcome, RunnerSpec, SpecError, gather
from .._engine import Engine, shared_engine
from ..backends import _registry
from ..backends._base import Backend
from . import CASES, SharedFlow, Subject, tasks
from ._bench import Said
from ._subject import lines, set_limit, until

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


def told(error: BaseException) -> str:
    """Return in a line or two what went wrong: the error, and the line of the case with the values in it."""
    said = _first_line(error)
    if isinstance(error, TimeoutError) and isinstance(error.__context__, Exception):
        return told(error.__context__)  # it failed, and then the flow run did not end, either
    if isinstance(error, TimeoutError) and not said:
        said = "the flow run did not come to an end"
    step = next(iter(_steps_of_cases(error)), None)
    name = type(error).__name__
    if step is None:
        return f"{name}: {said}" if said else name
    line = linecache.getline(step.tb_frame.f_code.co_filename, step.tb_lineno).strip()
    if isinstance(error, AssertionError) and said:
        return said
    return " | ".join(filter(None, [line if said == "" else f"{name}: {said}", *_values(line, step.tb_frame)]))


def _first_line(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        return ""
    return _clipped(lines[0], 300) if lines else ""


def _steps_of_cases(error: BaseException) -> Iterator[types.TracebackType]:
    """Yield the steps of the traceback that are in a case, the innermost first; helpers and flows are none."""
    steps: list[types.TracebackType] = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    for each in reversed(steps):
        path = Path(each.tb_frame.f_code.co_filename)
        if path.parent == Path(__file__).parent and path.name not in ("_child.py", "_subject.py", "_flows.py"):
            yield each


def _values(line: str, frame: types.FrameType) -> Iterable[str]:
    try:
        names = [node.id for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)]
    except SyntaxError:
        return
    for name in dict.fromkeys(names):
        value = frame.f_locals.get(name)
        if value is not None and not isinstance(value, types.ModuleType | types.FunctionType | type | Subject):
            yield f"{name} = {_clipped(_shown(value), 200)}"


def _shown(value: Any) -> str:
    try:
        if isinstance(value, Outcome):
            return f"{value.status.value}, {value.error!r}" if value.error is not None else f"{value.status.value}"
        return repr(value)
    except Exception:  # of a case about an error that cannot be printed
        return f"a {type(value).__name__} that cannot be printed"


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


if __name__ == "__main__":
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    main(Connection(descriptor))
