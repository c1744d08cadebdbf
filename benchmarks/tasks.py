"""The tasks and functions that are timed: they do nothing, so that what is left is overhead."""

from __future__ import annotations

import time

from prefect import task
from prefect.cache_policies import NO_CACHE


@task
def noop(number: int) -> int:
    """Return at once."""
    return number


@task(cache_policy=NO_CACHE)  # Prefect would hash the argument for a cache key, for longer than it takes to ship it
def weigh(number: int, data: bytes) -> int:
    """Take a large argument and give back a number."""
    return len(data) + number


@task
def now() -> float:
    """Return when the body ran, by the clock that all processes of this machine share."""
    return time.time()


def bare_noop(number: int) -> int:
    """Do what `noop` does, without Prefect."""
    return number
