"""Why a case failed, in a line or two."""

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

TEXT_LENGTH = 300
"""Maximum number of characters of an error's text that are shown."""
VALUE_LENGTH = 200
"""Maximum number of characters of a value that are shown."""


def explain_failure(error: BaseException) -> str:
    """Return the error and, if it has no text, the line of the case that raised it with the values in that line."""
    text = error_text(error, TEXT_LENGTH)
    if isinstance(error, TimeoutError) and isinstance(error.__context__, Exception):
        return explain_failure(error.__context__)  # the case failed first, and then its flow run did not end either
    if isinstance(error, TimeoutError) and not text:
        text = "the flow run did not end"
    step = next(iter(_steps_of_cases(error)), None)
    name = type(error).__name__
    if step is None:
        return f"{name}: {text}" if text else name
    if isinstance(error, AssertionError) and text:
        return text
    line = linecache.getline(step.tb_frame.f_code.co_filename, step.tb_lineno).strip()
    return " | ".join(filter(None, [f"{name}: {text}" if text else line, *describe_values(line, step.tb_frame)]))


def describe_values(line: str, frame: types.FrameType) -> Iterable[str]:
    """Yield `name = value` for each local variable of `frame` that `line` mentions; never raises."""
    try:
        names = [node.id for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)]
    except SyntaxError:
        return
    for name in dict.fromkeys(names):
        value = frame.f_locals.get(name)
        if value is not None and not isinstance(value, types.ModuleType | types.FunctionType | type | Subject):
            yield f"{name} = {clipped(_text_of_value(value), VALUE_LENGTH)}"


def _steps_of_cases(error: BaseException) -> Iterator[types.TracebackType]:
    """Yield the steps of the traceback that are in a case, the innermost first; helpers and flows are left out."""
    steps: list[types.TracebackType] = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    for each in reversed(steps):
        path = Path(each.tb_frame.f_code.co_filename)
        if path.parent == Path(__file__).parents[1] / "cases":
            yield each


def _text_of_value(value: Any) -> str:
    if not isinstance(value, Outcome):
        return short_repr(value)
    return value.status.value if value.error is None else f"{value.status.value}, {short_repr(value.error)}"
