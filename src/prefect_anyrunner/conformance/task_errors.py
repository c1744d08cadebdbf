"""Exceptions that the tasks of the table raise."""

from __future__ import annotations

import concurrent.futures
import threading


class Broken(ValueError):
    """An ordinary exception of a user."""


class TwoArguments(Exception):
    """Made from two arguments, holds one."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class KeywordOnly(Exception):
    """Made from a keyword."""

    def __init__(self, *, shard: int) -> None:
        super().__init__(f"shard {shard}")
        self.shard = shard


class NoArguments(Exception):
    """Made from nothing."""

    def __init__(self) -> None:
        super().__init__("always the same")


class HoldsLock(ValueError):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class OwnBase(BaseException):
    """Not an `Exception`."""


BASES: dict[str, type[BaseException]] = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "OwnBase": OwnBase,
}
OURS_TOO: dict[str, type[Exception]] = {
    "TimeoutError": TimeoutError,
    "CancelledError": concurrent.futures.CancelledError,
    "StopIteration": StopIteration,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
}
