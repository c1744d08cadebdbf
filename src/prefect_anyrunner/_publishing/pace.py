"""How fast the API records changes, and when to ask it again."""

from __future__ import annotations

import time
from collections import deque

_FIRST = 0.02
"""Seconds between two questions while changes are being recorded and a thread waits for them."""
_LONGEST = 1.0
"""Maximum seconds between two questions while a thread waits and nothing is recorded."""
_AT_LEISURE = 2.0
"""Seconds between two questions while no thread waits."""
_SLOWER = 1.6
"""Factor by which questions become rarer while nothing changes."""
_UNANSWERED = 5.0
"""Maximum seconds between two questions to an API that does not answer."""
_STUCK = 10.0
"""Seconds without progress until changes on their way are looked up in the API, and sent again if they were lost."""
_MOST_STUCK = 60.0
"""Maximum seconds without progress, after changes were sent again several times."""
_MEASURED = 20.0
"""Seconds over which the pace is measured."""


class Pace:
    """The pace at which the API records changes."""

    def __init__(self) -> None:
        self.recorded = 0
        self._let_go = 0
        self._measured: deque[tuple[float, int]] = deque()

    def add(self, done: int) -> None:
        """Count changes that were recorded and are no longer tracked."""
        self._let_go += done

    def note(self, of_sent: int) -> None:
        """Measure the pace; `of_sent` more changes were recorded, but are still tracked."""
        now, self.recorded = time.monotonic(), max(self.recorded, self._let_go + of_sent)
        self._measured.append((now, self.recorded))
        while now - self._measured[0][0] > _MEASURED and len(self._measured) > 2:
            self._measured.popleft()

    def per_second(self) -> float:
        """Return how many changes per second the API has recorded lately; 0 if this was not measured."""
        if len(self._measured) < 2:
            return 0.0
        (began, first), (ended, last) = self._measured[0], self._measured[-1]
        return (last - first) / (ended - began) if ended > began else 0.0  # two answers in one tick of the clock


class Questions:
    """When to ask the API what it has recorded: often while that changes and a thread waits, else ever more rarely."""

    def __init__(self) -> None:
        self.unanswered = False
        self._asked_at = 0.0
        self._interval = _FIRST
        self._recorded = 0
        self._changed_at = time.monotonic()
        self._stuck = _STUCK

    def due(self, *, urgent: bool) -> float:
        """Return when the next question is due, on the clock of `time.monotonic`."""
        return self._asked_at + (self._interval if urgent or self.unanswered else _AT_LEISURE)

    def ask_now(self) -> None:
        """Make the next question due."""
        self._asked_at = 0.0
        if not self.unanswered:
            self._interval = _FIRST

    def began(self) -> None:
        """Note that a change is on its way, after none was."""
        self._changed_at = time.monotonic()
        self._recorded = 0

    def answered(self, recorded: int, *, of: int, per_second: float) -> None:
        """Process an answer: `recorded` of the `of` oldest changes on their way were recorded, at this pace."""
        now = time.monotonic()
        self._asked_at = now
        if recorded >= of:
            self._recorded, self._changed_at, self._interval, self._stuck = 0, now, _FIRST, _STUCK
        elif recorded > self._recorded or self.unanswered:
            self._recorded, self._changed_at = recorded, now
            self._interval = min(max((of - recorded) / max(per_second, 1.0), _FIRST), _LONGEST)
        else:
            self._interval = min(self._interval * _SLOWER, _LONGEST)
        self.unanswered = False

    def failed(self) -> None:
        """Note that the API did not answer."""
        self._asked_at = time.monotonic()
        self._interval = min(max(self._interval, 0.1) * _SLOWER, _UNANSWERED)
        self.unanswered = True

    def is_stuck(self, recorded: int) -> bool:
        """Return whether the API has recorded nothing more for so long that a change was probably lost."""
        return recorded <= self._recorded and time.monotonic() - self._changed_at >= self._stuck

    def found_missing(self) -> None:
        """Note that whatever is missing is sent again now."""
        self._changed_at, self._recorded = time.monotonic(), 0
        self._stuck = min(self._stuck * 2, _MOST_STUCK)
