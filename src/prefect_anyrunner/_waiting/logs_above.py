"""Prefect's log lines above a progress bar: rich redirects stderr, but Prefect's console handler keeps the old one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from prefect.logging.handlers import PrefectConsoleHandler

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def logs_above(bar: Console) -> Iterator[None]:
    """Write the log lines of this process above the bar that is drawn on console `bar`, instead of into it."""
    from rich.file_proxy import FileProxy

    class Above(FileProxy):
        @property
        def rich_proxied_file(self) -> Above:  # type: ignore[override]  # a console would write to the file behind it
            return self

    # Prefect's handler writes to the stderr that it was made with, which is not the one that rich redirects.
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
