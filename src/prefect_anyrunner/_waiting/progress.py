"""How far a wait has come, told to a function or drawn as a bar."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, cast

from prefect.logging.handlers import PrefectConsoleHandler

if TYPE_CHECKING:
    from rich.console import Console


Progress = Callable[[int, int, int | None], object]
"""Called with (done, failed, total); `total` is None when it is not known."""


ProgressArgument = Progress | bool | None


_watching: ContextVar[Progress | None] = ContextVar("prefect_anyrunner_watching", default=None)


@contextmanager
def watching(follow: Progress) -> Iterator[None]:
    """Follow every wait inside the `with` block that asks for no progress of its own, in this context and its tasks."""
    token = _watching.set(follow)
    try:
        yield
    finally:
        _watching.reset(token)


@contextmanager
def following(progress: ProgressArgument, total: int | None) -> Iterator[Progress]:
    """Yield what to call as runs end, for the `progress` argument of `settle`."""
    if callable(progress):
        yield progress
    elif progress is True and sys.stderr.isatty():
        with _bar(total) as draw:
            yield draw
    elif progress is None or isinstance(progress, bool):
        yield (_watching.get() if progress is None else None) or _nothing
    else:
        raise TypeError(f"progress must be a function of (done, failed, total), True or None, not {progress!r}")


def _nothing(done: int, failed: int, total: int | None) -> None:
    pass


@contextmanager
def _bar(total: int | None) -> Iterator[Progress]:
    # Here, for most waits draw nothing and rich takes its time to import.
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
    # What a flow prints stays on its way to a file, though rich would take it to the terminal.
    with (
        _logs_above(console),
        Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as bar,
    ):
        line = bar.add_task("", total=total, failed=0, rate=0.0)

        def draw(done: int, failed: int, total: int | None) -> None:
            rate = bar.tasks[0].speed or 0.0
            bar.update(line, completed=done, failed=failed, total=total, rate=rate)

        yield draw


@contextmanager
def _logs_above(bar: Console) -> Iterator[None]:
    """Have Prefect's log lines of this process written above the bar instead of into it."""
    from rich.file_proxy import FileProxy

    class Above(FileProxy):
        @property
        def rich_proxied_file(self) -> Above:  # type: ignore[override]  # a console would look through it
            return self

    # Prefect's handler has kept the stderr of when it was made, which is not the one that rich puts in its place.
    consoles = [
        handler.console for handler in logging.getLogger().handlers if isinstance(handler, PrefectConsoleHandler)
    ]
    written = [(console, console.file) for console in consoles if console.file is bar.file]
    for console, file in written:
        console.file = cast("IO[str]", Above(bar, file))
    try:
        yield
    finally:
        for console, file in written:
            console.file = file
