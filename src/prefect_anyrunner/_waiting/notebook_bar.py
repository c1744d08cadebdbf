"""The progress of a wait, drawn below the cell of a notebook, where IPython is always installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PAUSE = 0.1
"""Seconds between two updates of the bar, because each update is a message to the browser."""


def in_notebook() -> bool:
    """Return whether this code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


@contextmanager
def notebook_bar(total: int | None) -> Iterator[Callable[[int, int, int | None], None]]:
    """Draw a bar; yield the function that is called with (done, failed, total) as runs end."""
    from IPython.display import HTML, display  # type: ignore[import-not-found]

    began = time.monotonic()
    drawn = began
    last = (0, 0, total)
    handle = display(HTML(_html(*last, seconds=0)), display_id=True)

    def draw(done: int, failed: int, total: int | None) -> None:
        nonlocal drawn, last
        last = done, failed, total
        if (now := time.monotonic()) - drawn >= _PAUSE:
            drawn = now
            handle.update(HTML(_html(*last, seconds=now - began)))

    try:
        yield draw
    finally:
        handle.update(HTML(_html(*last, seconds=time.monotonic() - began)))


def _html(done: int, failed: int, total: int | None, *, seconds: float) -> str:
    share = f'value="{done}" max="{total}"' if total else ""
    of = f" of {total:,}" if total is not None else ""
    rate = f", {done / seconds:,.1f}/s" if done and seconds else ""
    text = f"{done:,}{of} task runs have ended, {failed:,} failed, {seconds:,.0f} s{rate}"
    return f'<progress {share} aria-label="task runs"></progress> {text}'
