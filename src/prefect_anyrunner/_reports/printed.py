"""The printed form of a combined failure: a traceback per group of alike failures, and the summary last.

Python prints the first 15 members of a group, each with the frames of Prefect, and a note only above them. The module
`traceback` has no setting for this, but it reads `exceptions`. So a `TaskRunsFailed` gives `traceback` and `rich`, and
no other code, exceptions that are made to be printed: one for each group of alike failures, without the frames that led
to the body, and a last one whose text is the summary. Loggers and IPython print through these two modules.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import prefect

import prefect_anyrunner
from prefect_anyrunner._base.errors import AnyRunnerError
from prefect_anyrunner._base.safe_text import clipped, described, full_text, printable, readable
from prefect_anyrunner._base.secrets import hide_in_prose
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._reports.render import MAX_GROUPS, alike, group_lines, recorded

VARIABLE = "ANYRUNNER_TRACEBACKS"
"""The environment variable that makes all members print, with all frames, if it is `all`."""
MAX_PRINTED = 2000
"""Maximum number of characters of one text or note."""
MAX_TRACEBACK = 60
"""Maximum number of lines of one traceback on a page."""
MAX_WIDTH = 300
"""Maximum number of characters of one such line."""
RECORDED_TRACEBACK = "_anyrunner_traceback"
"""Attribute of an error that was read from the API: its traceback, as the log of the run has it."""
WIDTH = 15
"""Number of members of one group that Python prints."""

_PRINTERS = ("traceback", "rich.traceback")
_MACHINERY = tuple(f"{Path(inspect.getfile(package)).parent}{os.sep}" for package in (prefect, prefect_anyrunner))
_INSTALLED = tuple(f"-packages{os.sep}{name}{os.sep}" for name in ("prefect", "prefect_anyrunner"))


class Summary(Exception):
    """Prints the summary of a combined failure; it is never raised."""

    __module__ = "builtins"  # so that only its name is printed


class _Printed(Exception):
    """Prints like another exception, which itself is never changed. Each has a class with the name of the original."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def all_is_printed() -> bool:
    """Return whether the user wants all members, with all frames."""
    return os.environ.get(VARIABLE, "").strip().lower() == "all"


def is_printer(caller: FrameType) -> bool:
    """Return whether the calling code prints exceptions.

    pytest does not count, although it prints through `traceback`: it compares the exceptions that `traceback` has read
    with `exceptions`, and ends the whole test run if they differ. Our plugin makes it print something else.
    """
    frame: FrameType | None = caller
    while frame is not None and _module_of(frame) in _PRINTERS:
        frame = frame.f_back
    return frame is not caller and not (frame is not None and _module_of(frame).startswith("_pytest."))


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def printed_members(
    members: Sequence[Exception], outcomes: Sequence[Outcome], message: str
) -> tuple[BaseException, ...]:
    """Return the exceptions to print in the place of `members`."""
    if all_is_printed():
        return (*_nested(members), *_summary(members, outcomes, message))
    of_member = {id(outcome.error): outcome for outcome in outcomes}
    if not all(id(member) in of_member for member in members):  # parts of a group that a body raised, or a user's group
        return tuple(members)
    groups = alike([of_member[id(member)] for member in members])
    shown = [_printed(group[0].error, others=len(group) - 1) for group in groups[:MAX_GROUPS]]
    return (*(error for error in shown if error is not None), *_summary(members, outcomes, message))


def _summary(members: Sequence[Exception], outcomes: Sequence[Outcome], message: str) -> list[Summary]:
    if len(members) < 2 or not outcomes:
        return []
    return [Summary("\n".join([message.partition(": ")[0], *(f"  {line}" for line in group_lines(outcomes))]))]


def _nested(members: Sequence[Exception]) -> list[Exception]:
    """Return `members` in groups, because Python prints no more than `WIDTH` of one group."""
    nodes = [(number, number, member) for number, member in enumerate(members, 1)]
    width = WIDTH - 1  # leaves a place for the summary
    while len(nodes) > width:
        parts = [nodes[start : start + width] for start in range(0, len(nodes), width)]
        nodes = [
            (part[0][0], part[-1][1], ExceptionGroup(f"{part[0][0]} to {part[-1][1]}", [node[2] for node in part]))
            for part in parts
        ]
    return [node[2] for node in nodes]


def _printed(error: BaseException | None, *, others: int = 0, depth: int = 0) -> BaseException | None:
    """Return an exception that prints like `error`, but shorter. `others`: the number of other failures like it."""
    if error is None or isinstance(error, BaseExceptionGroup) or depth > WIDTH:
        return error
    kind = type(error)
    try:
        made = type(kind.__name__, (_Printed,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
        printed: BaseException = made(clipped(full_text(error), MAX_PRINTED))
        for note in getattr(error, "__notes__", ()):
            printed.add_note(clipped(str(note), MAX_PRINTED))
    except Exception:  # a class may refuse, and the original can be printed instead
        return error
    if others:
        printed.add_note(f"and {others} more like it")
    printed.__cause__ = _printed(error.__cause__, depth=depth + 1)
    if error.__cause__ is None and not error.__suppress_context__:
        printed.__context__ = _printed(error.__context__, depth=depth + 1)
    printed.__suppress_context__ = error.__suppress_context__
    return printed.with_traceback(_from_body(error.__traceback__))


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an error in at most `MAX_TRACEBACK` lines, from the first frame of the body on.

    Everything that looks like a secret is hidden, because more people read a page than a terminal.
    """
    try:
        text = recorded(error, RECORDED_TRACEBACK) or "".join(traceback.format_exception(_printed(error)))
    except Exception as problem:  # it reads source files and the error's own attributes
        text = f"{described(error)}\n<its traceback cannot be shown: {type(problem).__name__}>"
    lines = [clipped(line, MAX_WIDTH) for line in hide_in_prose(readable(printable(text))).strip().splitlines()]
    if len(lines) > MAX_TRACEBACK:
        head, tail = MAX_TRACEBACK // 3, MAX_TRACEBACK - MAX_TRACEBACK // 3 - 1
        lines[head : len(lines) - tail] = [f"… {len(lines) - head - tail} more lines"]
    return "\n".join(lines)


def _is_machinery(step: TracebackType) -> bool:
    file = step.tb_frame.f_code.co_filename
    return file.startswith(_MACHINERY) or any(part in file for part in _INSTALLED)


def _from_body(steps: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame on that is not Prefect's or ours; all of it if there is none."""
    step = steps
    while step is not None and _is_machinery(step):
        step = step.tb_next
    return step or steps


def _without_machinery(steps: TracebackType | None) -> TracebackType | None:
    """Return a traceback without any frames of Prefect and ours; all of it if there are no others."""
    kept = []
    step = steps
    while step is not None:
        if not _is_machinery(step):
            kept.append(step)
        step = step.tb_next
    short: TracebackType | None = None
    for step in reversed(kept):
        short = TracebackType(short, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return short or steps


def print_by_traceback() -> None:
    """Make `sys.excepthook` print combined failures through `traceback`, unless another hook has been set.

    Up to Python 3.12, the interpreter's own hook prints members without reading `exceptions`.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook


def _excepthook(kind: type[BaseException], error: BaseException, steps: TracebackType | None) -> Any:
    if not _holds_failure(error):
        return sys.__excepthook__(kind, error, steps)
    if not all_is_printed():
        steps = _without_machinery(steps)
    traceback.print_exception(kind, error, steps)


def _holds_failure(error: BaseException) -> bool:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        if isinstance(each, AnyRunnerError) and isinstance(each, BaseExceptionGroup):
            return True
        seen.add(id(each))
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return False
