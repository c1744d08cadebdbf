"""Slots: a limit on the bodies that run at a time; a body that waits gives its slot to another one (rule N1)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prefect_anyrunner._driver.run import Run


class Slots:
    """`limit` slots and the runs that wait for one. A body that wants its slot back goes before runs that start."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._queue: deque[Run] = deque()
        self._resuming: deque[threading.Event] = deque()
        self._holders: set[int] = set()  # idents of threads
        self._lock = threading.Lock()

    def put(self, runs: Iterable[Run]) -> None:
        """Let runs wait for a slot; `fill` gives them one."""
        with self._lock:
            self._queue.extend(runs)

    def fill(self) -> list[Run]:
        """Give away the slots that are free; return the runs that got one and are to be started."""
        started: list[Run] = []
        with self._lock:
            while self._taken < self._limit and (self._resuming or self._queue):
                self._taken += 1
                if self._resuming:
                    self._resuming.popleft().set()
                else:
                    started.append(self._queue.popleft())
        return started

    def put_back(self, runs: list[Run]) -> list[Run]:
        """Let runs that `fill` has returned wait again, before all others, without their slots.

        Returns all runs that wait if no body has a slot that it could pass on to them; they wait no longer.
        """
        with self._lock:
            self._queue.extendleft(reversed(runs))
            self._taken -= len(runs)
            while self._resuming and self._taken < self._limit:
                self._taken += 1
                self._resuming.popleft().set()
            if self._taken:
                return []
            stranded = list(self._queue)
            self._queue.clear()
            return stranded

    def pass_on(self) -> Run | None:
        """Give the slot of a body that has ended to the next; return the run that goes on in the calling thread."""
        with self._lock:
            if self._resuming:
                self._resuming.popleft().set()
            elif self._queue:
                return self._queue.popleft()
            else:
                self._taken -= 1
            return None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Mark the calling thread as one that runs a body in a slot."""
        ident = threading.get_ident()
        self._holders.add(ident)
        try:
            yield
        finally:
            self._holders.discard(ident)

    def is_held(self) -> bool:
        """Return whether the calling thread runs a body in a slot."""
        return threading.get_ident() in self._holders

    def give_back(self) -> None:
        """Free the slot of the calling thread, which is about to wait; `take_again` must follow."""
        ident = threading.get_ident()
        with self._lock:
            self._taken -= 1
            self._holders.discard(ident)  # no interruption comes between these two lines

    def take_again(self) -> None:
        """Wait until the calling thread has a slot again."""
        mine = threading.Event()
        with self._lock:
            if self._taken < self._limit and not self._resuming:
                self._taken += 1
                mine.set()
            else:
                self._resuming.append(mine)
        mine.wait()
        self._holders.add(threading.get_ident())
