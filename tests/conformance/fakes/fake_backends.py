"""Backends with right and wrong declarations of what they lack, which the table has to distinguish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_anyrunner.backends import Backend, Capability
from prefect_anyrunner.backends.process import ProcessPoolTaskRunner
from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner


def threads(address: str | None, options: Mapping[str, Any]) -> ThreadPoolTaskRunner:
    return ThreadPoolTaskRunner(max_workers=2)


def one_thread(address: str | None, options: Mapping[str, Any]) -> ThreadPoolTaskRunner:
    # With one thread, it is always the first of two tasks that ends the process.
    return ThreadPoolTaskRunner(max_workers=1)


def processes(address: str | None, options: Mapping[str, Any]) -> ProcessPoolTaskRunner:
    return ProcessPoolTaskRunner(max_workers=2)


class Silent(ThreadPoolTaskRunner):
    """A runner that accepts every run and starts none."""

    def dispatch(self, runs: list[Any]) -> None:
        pass


def silent(address: str | None, options: Mapping[str, Any]) -> Silent:
    return Silent(max_workers=2)


LIMITED = Backend(
    name="limited", build=threads, lacks={each: f"it is limited: {each.name.lower()}" for each in Capability}
)
MODEST = Backend(name="modest", build=processes, lacks={Capability.SEPARATE_PROCESS: "it thinks little of itself"})
BOASTFUL = Backend(name="boastful", build=one_thread)
SILENT = Backend(name="silent", build=silent)
