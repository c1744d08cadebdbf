"""Processes that start without the script."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import pytest

from prefect_anyrunner.backends._worker_process import METHOD, POOL_CONTEXT, refuse_in_import_of_script


def ignore_the_end(ready: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.send("ready")
    signal.pause()


def report(to: Connection) -> None:
    refuse_in_import_of_script()
    main = sys.modules["__main__"]
    to.send((multiprocessing.get_start_method(allow_none=True), main.__name__, os.getcwd(), os.environ["CHOSEN"]))


CONTEXTS = [POOL_CONTEXT, multiprocessing.get_context(METHOD)]  # the second one for workers of Dask


def start(context: Any, target: Any) -> tuple[Any, Connection]:
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(theirs,))
    process.start()
    return process, mine


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_process_that_ignores_sigterm_can_be_killed(context: Any) -> None:
    process, reader = start(context, ignore_the_end)
    assert reader.recv() == "ready"
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process.kill()  # one that has ended stays as it is


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_process_has_what_the_script_has_chosen(context: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("CHOSEN", "yes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: "forkserver")
    process, reader = start(context, report)
    assert reader.recv() == ("forkserver", "__main__", str(tmp_path), "yes")
    process.join()
    assert process.exitcode == 0
