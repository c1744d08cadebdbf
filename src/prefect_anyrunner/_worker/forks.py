"""A process that a body forks ends where the body ends: what follows belongs to the process that the run was given to.

Otherwise there would be two of everything that runs bodies: of the worker, or of the flow's process itself.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress


def end_if_forked(process: int, error: BaseException | None = None) -> None:
    """End the calling process unless it is `process`, with the exit code that Python has for `error`."""
    if os.getpid() == process:
        return
    code = 0 if error is None else 1
    try:
        with suppress(Exception):  # the body may have spoiled what prints
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
