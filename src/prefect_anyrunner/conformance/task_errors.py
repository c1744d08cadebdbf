"""Exceptions that the tasks of the cases raise."""

from __future__ import annotations

import concurrent.futures
import threading


class Broken(ValueError):
    """An ordinary exception of a user."""


class TwoArguments(Exception):
    """An exception that is made from two arguments and whose `args` hold one."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class KeywordOnly(Exception):
    """An exception that is made from a keyword argument."""

    def __init__(self, *, shard: int) -> None:
        super().__init__(f"shard {shard}")
        self.shard = shard


class NoArguments(Exception):
    """An exception that is made from no arguments."""

    def __init__(self) -> None:
        super().__init__("always the same")


class HoldsLock(ValueError):
    """An exception that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class OwnBase(BaseException):
    """A `BaseException` of a user that is not an `Exception`."""


BASES: dict[str, type[BaseException]] = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "OwnBase": OwnBase,
}
"""Exceptions that crash a task run, by name."""
OURS_TOO: dict[str, type[Exception]] = {
    "TimeoutError": TimeoutError,
    "CancelledError": concurrent.futures.CancelledError,
    "StopIteration": StopIteration,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
}
"""Exceptions that runners raise themselves and that a task may raise as its own, by name."""
