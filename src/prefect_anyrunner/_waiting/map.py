"""`map_settled`: one task over inputs without end, with a bounded number of task runs at a time and in memory.

Inputs are read a chunk at a time, each chunk is a `map` of its own, each outcome becomes a row of the report.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from prefect.context import FlowRunContext
from prefect.tasks import Task
from prefect.utilities.collections import visit_collection

from prefect_anyrunner._base.public import public
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._outcomes.report import Report
from prefect_anyrunner._outcomes.rows import Rows
from prefect_anyrunner._prefect.private import raise_if_suspended
from prefect_anyrunner._waiting.flatten import Place
from prefect_anyrunner._waiting.map_inputs import _Backlog, _Inputs
from prefect_anyrunner._waiting.policy import FailurePolicy, as_policy
from prefect_anyrunner._waiting.progress import ProgressArgument, following
from prefect_anyrunner._waiting.runs import Ended
from prefect_anyrunner._waiting.session import _recording
from prefect_anyrunner._waiting.wait_set import TICK, Waiting

_CHUNKS = 4
"""Into how many parts a window is cut: runs are submitted a part at a time, for that is cheaper than one by one."""


@public
def map_settled(
    task: Task[Any, Any],
    *iterables: Any,
    window: int = 1000,
    policy: FailurePolicy | str | None = None,
    progress: ProgressArgument = None,
    keep_values: bool = False,
    wait_for: Iterable[Any] | None = None,
    **named: Any,
) -> Report:
    """Run `task` once for each element of `iterables`, submitted as others end; return what became of the runs.

    Inputs are read as runs end, never far ahead of them, so a generator of a million needs no more memory than one of
    a thousand. Of a completed run the report keeps id, attempts, times and worker (some 50 bytes); its value only with
    `keep_values`, else `value` is None. Its name and its state are left out, the Prefect API has them. What did not
    complete is kept whole, so memory grows with the failures, and with values that are kept.

    Call it inside a flow. It blocks; in an async flow, `await asyncio.to_thread(map_settled, ...)`. The window holds
    on every task runner, the stock ones too.

    Args:
        task: the task to run.
        iterables: arguments of `task`, by place or (`named`) by name. What is iterable, and not text or bytes, is read
            element by element; `unmapped(...)` and what is not iterable is given to every run, as in `task.map`.
        window: how many task runs may be submitted and not ended at a time, from 1 up.
        policy: as in `settle`. Of inputs whose number cannot be told beforehand a percentage is reckoned at the end.
            Once too many have failed, `then="drain"` and `then="cancel"` also read no more inputs: those have no
            outcome. `then="finish"` reads them all.
        progress: as in `settle`; the total is None when it cannot be told.
        keep_values: keep what completed runs return, in memory.
        wait_for: futures that every run waits for.
        named: arguments of `task` by name.

    Returns:
        A `Report` in the order of the inputs. `path` of an outcome is `(index,)`.

    Raises:
        MappingMissingIterable: no argument is iterable.
        MappingLengthMismatch: the iterables are not equally long. Found at once where all lengths are known, else when
            the shortest ends; what has been submitted by then runs on.
        RuntimeError: called outside of a flow run.
        TypeError, ValueError: `window` is no positive int, or as for `settle`.
        Exception: whatever an input raises while it is read; what has been submitted by then runs on.
    """
    if isinstance(window, bool) or not isinstance(window, int):
        raise TypeError(f"window must be an int, not {window!r}")
    if window < 1:
        raise ValueError(f"window must be at least 1, not {window!r}")
    inputs = _Inputs(task, iterables, named)
    mapping = _Mapping(task, inputs, window, as_policy(policy), wait_for, keep_values=keep_values)
    rows = Rows(keep_values=keep_values)
    with following(progress, inputs.total) as follow:
        for outcomes in mapping.outcomes():
            for outcome in outcomes:
                rows.put(outcome)
                if outcome.status is not Status.COMPLETED:
                    mapping.note(outcome, rows.failed_ids)
            if outcomes:
                follow(len(rows), rows.failed, inputs.total)
    report = Report(rows, tolerated=mapping.policy.allowed(len(rows)), withdrawn=mapping.withdrawn)
    for reports in _recording.get():
        reports.append(report)
    return report


LEND = 0.2
"""Seconds that a task lends its worker (Ray) at a time."""


class _Mapping:
    """What is in flight, as one `Waiting` for each chunk that was submitted."""

    def __init__(
        self,
        task: Task[Any, Any],
        inputs: _Inputs,
        window: int,
        policy: FailurePolicy,
        wait_for: Iterable[Any] | None,
        *,
        keep_values: bool,
    ) -> None:
        self.policy = policy
        self.withdrawn: set[int] = set()
        flow = FlowRunContext.get()
        if flow is None or flow.task_runner is None:
            raise RuntimeError("map_settled submits to the task runner of a flow run: call it inside a flow.")
        self._flow = flow
        self._runner = flow.task_runner
        self._task = task
        self._wait_for = list(wait_for) if wait_for is not None else None
        self._keep_values = keep_values
        self._inputs = inputs
        self._window = window
        self._inbox: queue.SimpleQueue[tuple[_Chunk, int]] = queue.SimpleQueue()
        self._chunks: dict[int, _Chunk] = {}
        self._submitted = 0
        self._open = 0
        self._roots = 0
        self._stopping = False
        self._cancelled: set[int] = set()
        self._next_round = time.monotonic() + TICK
        self._backlog = _Backlog()

    def outcomes(self) -> Iterator[list[Outcome]]:
        """Yield outcomes as runs end, submitting others meanwhile, until nothing is left to submit or to wait for."""
        part = max(1, self._window // _CHUNKS)
        while self._open or not self._done:
            free = self._window - self._open
            if self._done or free < part or self._backlog.too_long():
                yield self._ended(wait=True)
            else:
                yield self._submit(free)
                yield self._ended(wait=False)

    @property
    def _done(self) -> bool:
        return self._inputs.ended or self._stopping

    def note(self, outcome: Outcome, failed: set[Any]) -> None:
        """Take in a run that did not complete; stop what is to be stopped when they are too many."""
        if outcome.index in self._cancelled and outcome.status is Status.CANCELLED:
            self.withdrawn.add(outcome.index)
            return
        if outcome.status is not Status.BLOCKED or failed.isdisjoint(outcome.upstream):
            self._roots += 1
        if self._stopping or self.policy.then == "finish" or self._roots <= self._tolerated():
            return
        self._stopping = True
        for chunk in list(self._chunks.values()):
            for run in list(chunk.waiting.open.values()):
                if run.cancel(running=self.policy.then == "cancel"):
                    self._cancelled.add(chunk.first + run.places[0])

    def _tolerated(self) -> float:
        if isinstance(self.policy.tolerate, int):
            return self.policy.tolerate
        total = self._submitted if self._inputs.ended else self._inputs.total
        return float("inf") if total is None else self.policy.allowed(total)

    def _submit(self, most: int) -> list[Outcome]:
        columns = self._inputs.read(most)
        count = len(next(iter(columns.values())))
        if not count:
            return []
        parameters = {**self._inputs.static, **self._inputs.annotated(columns)}  # split as `task.map` does it
        futures: Iterable[Any] = self._runner.map(self._task, parameters, self._wait_for)
        chunk = _Chunk(futures, self._submitted)
        self._submitted += count
        self._open += count
        self._chunks[id(chunk)] = chunk
        return self._take(chunk, chunk.waiting.subscribe(lambda key: self._inbox.put((chunk, key))))

    def _ended(self, *, wait: bool) -> list[Outcome]:
        """Return what has ended; with `wait`, once something has."""
        arrived: list[tuple[_Chunk, int]] = []
        if wait and not self._chunks:
            time.sleep(0.05)  # for events to be sent: nobody tells
        elif wait:
            first = next(iter(self._chunks.values())).waiting
            pause = max(0.0, self._next_round - time.monotonic())
            if first.lends:
                first.lend(min(pause, LEND))  # this waits for the oldest of the runs: others are looked at in between
                pause = min(pause, 0.01)
            with suppress(queue.Empty), first.blocking():
                arrived.append(self._inbox.get(timeout=pause))
        with suppress(queue.Empty):
            while True:
                arrived.append(self._inbox.get_nowait())
        keys: dict[int, list[int]] = {}
        for chunk, key in arrived:
            keys.setdefault(id(chunk), []).append(key)
        if time.monotonic() >= self._next_round:  # futures of the stock runners may never call back
            raise_if_suspended()
            for number in self._chunks:
                keys.setdefault(number, [])
            self._next_round = time.monotonic() + TICK
        outcomes: list[Outcome] = []
        for number, some in keys.items():
            if (known := self._chunks.get(number)) is not None:
                outcomes += self._take(known, known.waiting.took(some))
        return outcomes

    def _take(self, chunk: _Chunk, ended: list[Ended]) -> list[Outcome]:
        outcomes = chunk.told(ended)
        if not self._keep_values:
            for outcome in outcomes:
                self._forget(outcome)
        self._open -= len(ended)
        if not chunk.waiting.open:
            del self._chunks[id(chunk)]
        return outcomes

    def _forget(self, outcome: Outcome) -> None:
        """Drop what Prefect notes of a run, in this process, for tasks that are given its result: nobody has it."""
        if outcome.status is not Status.COMPLETED or outcome.task_run_id is None:
            return
        run_id, known = outcome.task_run_id, self._flow.run_results
        self._flow.task_run_assets.pop(run_id, None)

        def drop(part: Any) -> None:
            if (entry := known.get(id(part))) is not None and entry[0].state_details.task_run_id == run_id:
                del known[id(part)]

        if known and not isinstance(outcome._value, LazyValue):  # one that is still on its way was made elsewhere
            visit_collection(outcome._value, drop, max_depth=1, return_data=False)


class _Chunk:
    """Runs that were submitted together; `first` is the place of the first of them among all."""

    def __init__(self, futures: Iterable[Any], first: int) -> None:
        self.first = first
        self.waiting = Waiting([Place((first + number,), future) for number, future in enumerate(futures)], None)

    def told(self, ended: list[Ended]) -> list[Outcome]:
        """Return the outcomes with their places among all, and let go of their futures."""
        waiting = self.waiting
        outcomes = []
        for run, outcome in waiting.told(ended):
            place = self.first + run.places[0]
            outcomes.append(replace(outcome, index=place, path=(place,), map_index=place))
        for run, _ in ended:
            waiting.runs.pop(id(run.future), None)
            waiting.places[run.places[0]] = Place((), None)
        return outcomes
