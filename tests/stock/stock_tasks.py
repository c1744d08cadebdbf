"""The tasks of the tests of stock runners, in a module that workers can import."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed


class OwnBase(BaseException):
    pass


class TwoArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


@task
def double(number: int) -> int:
    return number * 2


@task
def odd_fails(number: int) -> int:
    if number % 2:
        raise ValueError(f"odd {number}")
    return number


@task
def raises_group() -> None:
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


@task
def raises_timeout() -> None:
    raise TimeoutError("of the user")


@task(timeout_seconds=0.2)
def times_out() -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        time.sleep(0.01)


@task
def two_arguments() -> None:
    raise TwoArguments(7, "seven")


@task
def returns_failed() -> State[Any]:
    return Failed(message="said so")


@task
def returns_cancelled() -> State[Any]:
    return Cancelled(message="stopped by hand")


@task
def returns_completed() -> State[Any]:
    return Completed(data=5)


@task
def exits() -> None:
    sys.exit(3)


@task
def interrupts() -> None:
    raise KeyboardInterrupt("from the body")


@task
def own_base() -> None:
    raise OwnBase("mine")


@task
def dies() -> None:
    os._exit(1)


@task
def returns_lock() -> Any:
    return threading.Lock()


@task
def add_one(number: Any) -> Any:
    return number + 1


@task
def waits_for_file(path: str) -> str:
    """Wait until the test creates the file `path`, then return the path."""
    while not Path(path).exists():
        time.sleep(0.01)
    return path
