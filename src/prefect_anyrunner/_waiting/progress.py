"""The progress of a wait, passed to a function or drawn as a bar."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from prefect_anyrunner._waiting.logs_above import logs_above
from prefect_anyrunner._waiting.notebook_bar import in_notebook, notebook_bar

Progress = Callable[[int, int, int | None], object]
"""A function that is called with (done, failed, total); `total` is None while it is not known."""


ProgressArgument = Progress | bool | None


_watching: ContextVar[Progress | Literal[True] | None] = ContextVar("prefect_anyrunner_watching", default=None)


_drawing = threading.Lock()
"""Lock that is held while a bar is drawn: a terminal has room for one, and a task may wait while the flow waits."""


@contextmanager
def watching(follow: Progress | Literal[True]) -> Iterator[None]:
    """Use `follow` for every wait in the `with` block without a `progress` argument, in this context and its tasks."""
    token = _watching.set(follow)
    try:
        yield
    finally:
        _watching.reset(token)


@contextmanager
def following(progress: ProgressArgument, total: int | None) -> Iterator[Progress]:
    """Yield the function to call as runs end, for the `progress` argument of `settle`."""
    if progress is None:
        progress = _watching.get()
    if callable(progress):
        yield progress
    elif progress is True and in_notebook():
        with notebook_bar(total) as draw:
            yield draw
    elif progress is True and sys.stderr.isatty() and _drawing.acquire(blocking=False):
        try:
            with _bar(total) as draw:
                yield draw
        finally:
            _drawing.release()
    elif progress is None or isinstance(progress, bool):
        yield _nothing
    else:
        raise TypeError(f"progress must be a function of (done, failed, total), True or None, not {progress!r}")


def _nothing(done: int, failed: int, total: int | None) -> None:
    pass


@contextmanager
def _bar(total: int | None) -> Iterator[Progress]:
    # Imported here, because rich is slow to import and most waits draw nothing.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Otherwise rich would write what a flow prints to the terminal, even if stdout is a file.
    with (
        logs_above(console),
        Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as bar,
    ):
        line = bar.add_task("", total=total, failed=0, rate=0.0)

        def draw(done: int, failed: int, total: int | None) -> None:
            rate = bar.tasks[0].speed or 0.0
            bar.update(line, completed=done, failed=failed, total=total, rate=rate)

        yield draw
