"""What to say of a case that failed."""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prefect_anyrunner import Outcome
from prefect_anyrunner._base.safe_text import clipped, error_text, short_repr
from prefect_anyrunner.conformance import Subject


def told(error: BaseException) -> str:
    """Return in a line or two what went wrong: the error, and the line of the case with the values in it."""
    said = error_text(error, 300)
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


def _steps_of_cases(error: BaseException) -> Iterator[types.TracebackType]:
    """Yield the steps of the traceback that are in a case, the innermost first; helpers and flows are none."""
    steps: list[types.TracebackType] = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    for each in reversed(steps):
        path = Path(each.tb_frame.f_code.co_filename)
        if path.parent == Path(__file__).parents[1] / "cases":
            yield each


def _values(line: str, frame: types.FrameType) -> Iterable[str]:
    try:
        names = [node.id for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)]
    except SyntaxError:
        return
    for name in dict.fromkeys(names):
        value = frame.f_locals.get(name)
        if value is not None and not isinstance(value, types.ModuleType | types.FunctionType | type | Subject):
            yield f"{name} = {clipped(_shown(value), 200)}"


def _shown(value: Any) -> str:
    if not isinstance(value, Outcome):
        return short_repr(value)
    return value.status.value if value.error is None else f"{value.status.value}, {short_repr(value.error)}"
