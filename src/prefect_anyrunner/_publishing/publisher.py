"""Publishes changes at the pace at which the Prefect server records them.

A server queues unrecorded changes in its memory, and drops new ones when that queue is full (PrefectHQ/prefect#16299).
So the number of changes on their way is limited to what the server records in two seconds. The ends of runs are kept
until the API has recorded them, and lost ones are sent again. Recording is keyed by ids, so that a change that arrives
twice counts once. But a server also drops, for five minutes, each event whose id it has seen, even if it could not
record the event: what was lost twice is sent under a new id.

    put -> waits here -> emitted through Prefect's own event client -> recorded, as a count of the API says
"""

from __future__ import annotations

import contextvars
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.logging import get_logger
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL

from prefect_anyrunner._prefect.api import own_client
from prefect_anyrunner._publishing.backlog import Backlog, Waiting
from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.in_flight import InFlight, Sent
from prefect_anyrunner._publishing.open_changes import OpenChange, OpenChanges
from prefect_anyrunner._publishing.pace import Pace, Questions
from prefect_anyrunner._publishing.recorded import count_recorded, missing_ends
from prefect_anyrunner._publishing.source import Source

logger = get_logger("anyrunner")

LEAST_WINDOW, MOST_WINDOW = 100, 1000
"""Bounds of the number of changes on their way; the queue of a server holds 10,000 messages, of all its clients."""
_WINDOW_SECONDS = 2.0
"""Seconds that the server may need for the changes on their way."""
_ASKED = 100
"""Number of changes that one question is about."""
_EMITTED = 50
"""Number of changes to emit before the next check for other work."""


class _Emission(NamedTuple):
    """A change that is emitted now, and the context that it came with."""

    source: Source
    change: Change
    context: contextvars.Context | None


class Taken(NamedTuple):
    """The end of a run that a publisher gave back, packed, and whether it had been sent."""

    packed: bytes
    was_sent: bool


class Publisher:
    """Publishes the changes of one process to one API, from a thread of its own."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._kept: Backlog[Source] = Backlog()
        self._opens = OpenChanges()
        self._calls: deque[Callable[[], None]] = deque()
        self._sent = InFlight()
        self._sent_again: set[UUID] = set()  # ids of the runs whose ends were lost once
        self._behind = False
        self._has_room = True
        self._urgent = 0  # number of threads that wait for changes to be recorded
        self._questions = Questions()
        self.pace = Pace()

    # --- changes come in -----------------------------------------------------------------------------------------

    def put_open(
        self, source: Source, change: Change, context: contextvars.Context | None, *, after: float = 0.0
    ) -> None:
        """Publish a change that does not end its run, after `after` seconds if the run has not ended by then.

        It is left out if the run has ended by the time that the server has room for it.
        """
        with self._state:
            due = time.monotonic() + after if after else 0.0
            self._opens.add(OpenChange(next(self._numbers), source, change, context, due))
            self._wake()

    def put(self, source: Source, change: Change, context: contextvars.Context | None = None) -> None:
        """Publish a change in any case. The end of a run is kept until the API has recorded it."""
        with self._state:
            if change.is_end:
                source.ends += 1
                source.unrecorded += 1
                if self._opens.end(change.run_id):  # the change that it follows may be left out
                    change = replace(change, follows=False)
            self._put(source, change, context)
            self._wake()

    def put_taken(self, source: Source, taken: Iterable[Taken]) -> None:
        """Publish ends that were taken back from a publisher, perhaps of another process."""
        with self._state:
            for each in taken:
                source.ends += 1
                source.unrecorded += 1
                if each.was_sent and source.options.events_confirm:
                    self._track(source, Change.unpack(each.packed))
                else:
                    self._put(source, each.packed)
            self._wake()

    def _put(self, source: Source, content: Change | bytes, context: contextvars.Context | None = None) -> None:
        self._kept.append(Waiting(next(self._numbers), source, content, context))

    def forget_open(self, run_id: UUID) -> None:
        """Leave out the unpublished changes of a run that has ended."""
        with self._state:
            self._opens.end(run_id)

    def call(self, function: Callable[[], None]) -> None:
        """Call a function soon in the publisher's thread. It must not raise."""
        with self._state:
            self._calls.append(function)
            self._wake()

    def is_behind(self) -> bool:
        """Return whether the server lags behind the changes that it was sent."""
        return self._behind

    # --- changes are taken back ----------------------------------------------------------------------------------

    def take(self, source: Source) -> list[Taken]:
        """Return the ends of a source that the API has not been seen to record, and forget about them."""
        with self._state:
            taken = [Taken(change.pack(), was_sent=True) for change in self._sent.take(source)]
            taken += [Taken(each.packed, was_sent=False) for each in self._kept.take(source) if each.change.is_end]
            source.unrecorded = 0
            self._state.notify_all()
            return taken

    def waiting(self, source: Source) -> int:
        """Return how many ends of a source have not been sent."""
        with self._state:
            return source.unrecorded - self._sent.ends_of(source)

    def wait(
        self, source: Source, patience: float, *, left: Callable[[], float] | None = None, on_wait: Callable[[], None]
    ) -> int:
        """Wait until the API has recorded every end of a source; return how many it has not.

        `patience`: seconds to keep waiting while the API records nothing. `left` returns the seconds that remain at
        most. `on_wait` is called every second.
        """
        since = time.monotonic()
        seen = self.pace.recorded
        with self._state:
            self._urgent += 1
            self._questions.ask_now()
            self._wake()
            try:
                next_call = time.monotonic() + 1.0
                while source.unrecorded and self._thread is not None:
                    now = time.monotonic()
                    if now >= next_call:
                        next_call = now + 1.0
                        on_wait()
                    if self.pace.recorded != seen:
                        seen, since = self.pace.recorded, now
                    until_limit = left() if left is not None else 1.0
                    if now - since >= patience or until_limit <= 0:
                        break
                    self._state.wait(min(next_call - now, patience - (now - since), until_limit))
                return source.unrecorded
            finally:
                self._urgent -= 1

    # --- the thread ----------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._thread is None:
            client = own_client()
            self._thread = threading.Thread(target=self._run, args=(client,), name="anyrunner-publisher", daemon=True)
            self._thread.start()
        self._state.notify_all()

    def _run(self, client: SyncPrefectClient) -> None:
        try:
            with client:
                while True:
                    with self._state:
                        batch = self._next_batch()
                        calls, self._calls = self._calls, deque()
                        if not batch and not calls and not self._question_is_due():
                            self._state.wait(self._seconds_until_due())
                            continue
                    for emission in batch:
                        _emit(*emission)
                    for call in calls:
                        call()
                    if self._question_is_due():
                        self._ask(client)
        except BaseException:
            logger.exception("What becomes of task runs is not published any more, because of an error.")
            with self._state:
                self._thread = None
                self._state.notify_all()

    def _next_batch(self) -> list[_Emission]:
        batch: list[_Emission] = []
        self._has_room = not (self._questions.unanswered and self._sent)
        if not self._has_room:  # changes on their way may be lost, and more would be, too
            return batch
        window = min(max(self.pace.per_second() * _WINDOW_SECONDS, LEAST_WINDOW), MOST_WINDOW)
        room = window - (len(self._sent) - self._sent.recorded)
        while len(batch) < _EMITTED:
            if room <= 0:
                self._has_room = False
                self._behind = bool(self._opens or len(self._kept))
                break
            emission = self._next()
            if emission is None:
                self._behind = False
                break
            batch.append(emission)
            if emission.source.options.events_confirm:
                room -= 1
                self._track(emission.source, emission.change)
            elif emission.change.is_end:
                emission.source.unrecorded -= 1
                self._state.notify_all()
        return batch

    def _next(self) -> _Emission | None:
        """Return the change to publish next: the oldest, but ends go first while the server is behind."""
        entry, number = self._opens.first(leave_out_ended=self._behind), self._kept.next_number
        if entry is not None and (number is None or (not self._behind and entry.number < number)):
            self._opens.popleft()
            return _Emission(entry.source, entry.change, entry.context)
        if number is None:
            return None
        waiting = self._kept.popleft()
        return _Emission(waiting.source, waiting.change, waiting.context)

    def _track(self, source: Source, change: Change) -> None:
        if not self._sent:
            self._questions.began()
        self._sent.add(source, change)

    # --- questions -----------------------------------------------------------------------------------------------

    def _question_is_due(self) -> bool:
        return bool(self._sent) and self._questions.due(urgent=self._urgent > 0 or self._behind) <= time.monotonic()

    def _seconds_until_due(self) -> float | None:
        due = self._opens.next_due() if self._has_room else None  # else an answer comes first
        moments = [due] if due is not None else []
        if self._sent:
            moments.append(self._questions.due(urgent=self._urgent > 0 or self._behind))
        return max(min(moments) - time.monotonic(), 0.001) if moments else None

    def _ask(self, client: SyncPrefectClient) -> None:
        with self._state:
            asked = self._sent.oldest(_ASKED)
        try:
            recorded = count_recorded(client, [sent.change for sent in asked])
            missing: list[Change] | None = None
            if recorded < len(asked) and self._questions.is_stuck(recorded):
                missing = missing_ends(client, [sent.change for sent in asked if sent.change.is_end])
                self._questions.found_missing()
        except httpx.HTTPError:
            self._questions.failed()
            return
        except Exception:
            logger.exception("Could not ask the API which task runs it has recorded.")
            self._questions.failed()
            return
        with self._state:
            if missing is not None:
                self._send_again(asked, missing)
            elif recorded >= len(asked):
                self._let_go(asked)
            else:
                self._sent.recorded = recorded
            self.pace.note(self._sent.recorded)
            self._questions.answered(recorded, of=len(asked), per_second=self.pace.per_second())
            self._state.notify_all()

    def _send_again(self, asked: list[Sent], missing: list[Change]) -> None:
        """Queue the missing changes again, because they were lost on their way; stop tracking the others."""
        lost = {change.run_id: change for change in missing}
        self._let_go([sent for sent in asked if sent.change.run_id not in lost])
        for sent in self._sent.remove([sent for sent in asked if sent.change.run_id in lost]):
            change = lost[sent.change.run_id]
            self._put(sent.source, change.renewed() if change.run_id in self._sent_again else change)
        self._sent_again |= lost.keys()

    def _let_go(self, recorded: list[Sent]) -> None:
        self.pace.add(self._sent.let_go(recorded))
        self._sent_again.difference_update(sent.change.run_id for sent in recorded)


def _emit(source: Source, change: Change, context: contextvars.Context | None) -> None:
    try:
        source.emit(change, context)
    except Exception:  # the other changes are still published
        logger.exception("Could not publish that task run %r is %s.", change.task_run.name, change.state.name)


_publishers: dict[tuple[int, str | None, str | None], Publisher] = {}
_publishers_lock = threading.Lock()


def publisher() -> Publisher:
    """Return the publisher of this process for the API of the current settings."""
    key = (os.getpid(), PREFECT_API_URL.value(), PREFECT_API_KEY.value())  # a forked process has no thread of ours
    with _publishers_lock:
        if key not in _publishers:
            _publishers[key] = Publisher()
        return _publishers[key]
