"""Tasks and objects that misbehave, in a module that every worker can import."""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prefect import task
from prefect.states import Failed, Pending

from . import tasks


class NoText(Exception):
    """Cannot be printed at all."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Refuses:
    """Refuses to be rebuilt wherever it arrives."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise OSError("refuses to be rebuilt")


class Exits:
    """Ends by `SystemExit` whoever rebuilds it, as a module does that calls `sys.exit` when it is imported."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, ("no",)


class KillsReader:
    """Kills every other process that rebuilds it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _kill_unless, (os.getpid(),)


def _kill_unless(process_id: int) -> None:
    if os.getpid() != process_id:
        os.kill(os.getpid(), signal.SIGKILL)


@task
def raise_without_text() -> None:
    """Raise what cannot be printed."""
    raise NoText(3)


@task
def refuse(how: str) -> Any:
    """Return what cannot be rebuilt, or for "live" just that word."""
    return {"refuse": Refuses, "exit": Exits}.get(how, lambda: how)()


@task
def return_pending() -> Any:
    """Return a state that is no end."""
    return Pending(message="not yet")


@task
def return_future(number: int) -> Any:
    """Return the futures of runs that it does not wait for."""
    return [tasks.double.submit(number), {"failed": tasks.raise_rich.submit()}]


@task
def submit_from_thread() -> Any:
    """Submit a task and wait for it in a thread of its own making."""
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, lambda: tasks.double.submit(4).result()).result()


@task
def fail_with_data() -> Any:
    """Return a failed state that holds something else than an exception."""
    return Failed(message="as it says", data=123)


@task
def submit_late(started: str, go: str) -> Any:
    """Wait until the flow is about to end, then submit another task run and wait for it."""
    Path(started).touch()
    while not Path(go).exists():
        time.sleep(0.02)
    return tasks.double.submit(2).result()
