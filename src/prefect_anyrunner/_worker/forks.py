"""A process that a body forks ends where the body ends, because the rest belongs to the process that got the run.

Otherwise the worker, or the flow's process itself, would go on in two processes.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress


def end_if_forked(process: int, error: BaseException | None = None) -> None:
    """End the calling process unless it is `process`, with the exit code that Python uses for `error`."""
    if os.getpid() == process:
        return
    code = 0 if error is None else 1
    try:
        with suppress(Exception):  # the body may have broken stdout or stderr
            if isinstance(error, SystemExit):
                if error.code is None or isinstance(error.code, int):
                    code = error.code or 0
                else:
                    print(error.code, file=sys.stderr)
            elif error is not None:
                traceback.print_exception(error)
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)
