"""How worker processes start: without importing the script that runs the flow (rule M1).

This module uses internals of loky and of multiprocessing. `tests/unit/backends/test_engine_names.py` fails with a
message when a release moves one of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.context import BaseContext
from multiprocessing.process import current_process
from typing import Any

from loky.backend.context import LokyContext
from loky.backend.process import LokyProcess

from prefect_anyrunner.backends._fork_server import IS_SAFE, ForkedPopen, NoTemplate, enter_forked_process, is_forked

METHOD = "anyrunner"
"""The name under which `multiprocessing.get_context` finds the start method of our workers."""

_GUARD = (
    'Put the call of the flow under `if __name__ == "__main__":`, because this process was started by a method of '
    "multiprocessing that imports the script again, and the import has called the flow a second time."
)


class _Process(LokyProcess):  # type: ignore[misc]
    """A process that does not import `__main__`; functions and classes of `__main__` reach it by value.

    multiprocessing's "spawn" and "forkserver" import the script again, so that a script without a guard would start its
    flow in every worker, and a script on standard input would not be found.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # "spawn" hands this on, too: a task that uses multiprocessing finds the method that the script has chosen.
        self._chosen_method = multiprocessing.get_start_method(allow_none=True)

    def run(self) -> None:
        """Run the process's function, in the process."""
        if self._chosen_method is not None:
            multiprocessing.set_start_method(self._chosen_method, force=True)
        super().run()

    def kill(self) -> None:
        """End the process by SIGKILL; without this, a Dask worker that hangs would be left behind."""
        if hasattr(self._popen, "kill"):  # on Windows
            self._popen.kill()
        elif self._popen.poll() is None:
            os.kill(self._popen.pid, signal.SIGKILL)


class _ForkedProcess(_Process):
    """A `_Process` that is forked from a template if that is possible."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        try:
            return ForkedPopen(process_obj)
        except NoTemplate:
            return LokyProcess._Popen(process_obj)

    def run(self) -> None:
        """Run the process's function, in the process."""
        if is_forked():
            enter_forked_process()
        super().run()


class _Context(LokyContext):  # type: ignore[misc]
    _name = METHOD
    Process = _Process


class _PoolContext(LokyContext):  # type: ignore[misc]
    _name = METHOD
    Process = _ForkedProcess if IS_SAFE else _Process


# Dask takes the name of a context, and multiprocessing has no public way to add one; loky adds its own likewise.
multiprocessing.context._concrete_contexts[METHOD] = _Context()  # type: ignore[attr-defined]
POOL_CONTEXT: BaseContext = _PoolContext()
"""The multiprocessing context in which the workers of a process pool start."""


def refuse_in_import_of_script() -> None:
    """End this process, with one sentence, if it was only started to run something else and imports the script first.

    The engine would start processes that import the script again, and so on. An exception would be shown as a long
    traceback of Prefect's, once in each such process.
    """
    if getattr(current_process(), "_inheriting", False):
        raise SystemExit(_GUARD)
