"""`map_settled`: one task over any number of inputs, with bounds on the task runs in flight and on memory.

Inputs are read one part of the window at a time, and each part is submitted by one `map`. Each outcome becomes a row of
the report.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from prefect.context import FlowRunContext
from prefect.tasks import Task
from prefect.utilities.collections import visit_collection

from prefect_anyrunner._base.public import public
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._reports.origin import origin_here
from prefect_anyrunner._reports.report import Report
from prefect_anyrunner._reports.rows import Rows
from prefect_anyrunner._waiting.flatten import Position
from prefect_anyrunner._waiting.map_inputs import Backlog, Inputs
from prefect_anyrunner._waiting.policy import FailurePolicy, as_policy
from prefect_anyrunner._waiting.poll import Inbox, collect_ended, wait_for_next
from prefect_anyrunner._waiting.progress import ProgressArgument, following
from prefect_anyrunner._waiting.runs import Ended
from prefect_anyrunner._waiting.session import checked_report, recorded
from prefect_anyrunner._waiting.wait_set import WaitSet

_PARTS = 4
"""Number of parts in which a window is submitted: submitting a part costs less than submitting its runs one by one."""
_BACKLOG_SECONDS = 0.05
"""Poll interval, in seconds, of the event queue while no run is open, because the queue sends no notifications."""


@public
def map_settled(
    task: Task[Any, Any],
    *iterables: Any,
    window: int = 1000,
    policy: FailurePolicy | str | None = None,
    progress: ProgressArgument = None,
    keep_values: bool = False,
    wait_for: Iterable[Any] | None = None,
    report: bool | None = None,
    **named: Any,
) -> Report:
    """Run `task` once for each element of `iterables`, submitting as earlier runs end; return the report of all runs.

    Inputs are read as runs end, never far ahead of them, so a generator of a million needs no more memory than one of
    a thousand. The report keeps id, attempts, times and worker of a completed run (some 50 bytes). It keeps the value
    only with `keep_values`, otherwise `value` is None. It keeps neither name nor state, because the Prefect API has
    both. Every other outcome is kept whole, so memory grows with the failures and with the values that are kept.

    Call it inside a flow. It blocks; in an async flow, `await asyncio.to_thread(map_settled, ...)`. The window holds
    on every task runner, the stock ones too.

    Args:
        task: the task to run.
        iterables: arguments of `task`, by position or (`named`) by name. An iterable that is not text or bytes is read
            element by element; `unmapped(...)` and all other values are passed to every run, as in `task.map`.
        window: largest number of task runs that are submitted and have not ended, from 1 up.
        policy: as in `settle`. A percentage of inputs whose number is not known in advance is worked out at the end.
            Once too many have failed, `then="drain"` and `then="cancel"` also stop reading inputs: those that have not
            been read have no outcome. `then="finish"` reads them all.
        progress: as in `settle`; the total is None while it is not known.
        keep_values: keep the results of completed runs, in memory.
        wait_for: futures that every run waits for.
        report: as in `settle`.
        named: arguments of `task` by name.

    Returns:
        A `Report` in the order of the inputs. `path` of an outcome is `(index,)`.

    Raises:
        MappingMissingIterable: no argument is iterable.
        MappingLengthMismatch: the iterables are not equally long. It is raised at once if all lengths are known,
            otherwise when the shortest ends; the runs that have been submitted by then go on.
        RuntimeError: called outside of a flow run.
        TypeError, ValueError: `window` is not a positive int, or as for `settle`.
        Exception: any exception that an input raises while it is read; the runs submitted by then go on.
    """
    if isinstance(window, bool) or not isinstance(window, int):
        raise TypeError(f"window must be an int, not {window!r}")
    if window < 1:
        raise ValueError(f"window must be at least 1, not {window!r}")
    publishes = checked_report(report)
    inputs = Inputs(task, iterables, named)
    session = MapSession(task, inputs, window, as_policy(policy), wait_for, keep_values=keep_values)
    rows = Rows(keep_values=keep_values)
    with following(progress, inputs.total) as follow:
        for outcomes in session.outcomes():
            for outcome in outcomes:
                rows.put(outcome)
                if outcome.status is not Status.COMPLETED:
                    session.record_failure(outcome, rows.failed_ids)
            if outcomes:
                follow(len(rows), rows.failed, inputs.total)
    return recorded(
        Report(
            rows,
            tolerated=session.policy.allowed(len(rows)),
            withdrawn=session.withdrawn,
            origin=origin_here(),
            publishes=publishes,
        )
    )


class MapSession:
    """The runs in flight of one `map_settled`, and whether too many have failed."""

    def __init__(
        self,
        task: Task[Any, Any],
        inputs: Inputs,
        window: int,
        policy: FailurePolicy,
        wait_for: Iterable[Any] | None,
        *,
        keep_values: bool,
    ) -> None:
        self.policy = policy
        self.withdrawn: set[int] = set()
        """The indexes of the runs that the policy cancelled."""
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
        self._inbox: Inbox = queue.SimpleQueue()
        self._wait_set = WaitSet()
        self._backlog = Backlog()
        self._submitted = 0
        self._roots = 0
        self._stopping = False
        self._cancelled: set[int] = set()

    def outcomes(self) -> Iterator[list[Outcome]]:
        """Yield outcomes as runs end, submitting others meanwhile, until no input and no open run is left."""
        part = max(1, self._window // _PARTS)
        while self._wait_set.open or not self._all_submitted:
            free = self._window - len(self._wait_set.open)
            if self._all_submitted or free < part or self._backlog.is_too_long():
                yield self._take(self._wait())
            else:
                yield self._take(self._submit(free))
                yield self._take(collect_ended(self._wait_set, self._inbox))

    def record_failure(self, outcome: Outcome, failed: set[Any]) -> None:
        """Count a run that did not complete; stop the others if the policy demands it.

        `failed`: the ids of all runs that did not complete. A run that one of them blocked is not a root failure.
        """
        if outcome.index in self._cancelled and outcome.status is Status.CANCELLED:
            self.withdrawn.add(outcome.index)
            return
        if outcome.status is not Status.BLOCKED or failed.isdisjoint(outcome.upstream):
            self._roots += 1
        if self._stopping or self.policy.then == "finish" or self._roots <= self._tolerated():
            return
        self._stopping = True
        for key in self._wait_set.cancel(running=self.policy.then == "cancel"):
            self._cancelled.add(self._wait_set.runs[key].positions[0].number)

    @property
    def _all_submitted(self) -> bool:
        return self._inputs.ended or self._stopping

    def _tolerated(self) -> float:
        if isinstance(self.policy.tolerate, int):
            return self.policy.tolerate
        total = self._submitted if self._inputs.ended else self._inputs.total
        return float("inf") if total is None else self.policy.allowed(total)

    def _submit(self, at_most: int) -> list[Ended]:
        """Submit the next inputs, at most `at_most`; return the runs that have ended already."""
        columns = self._inputs.read(at_most)
        if not next(iter(columns.values())):
            return []
        parameters = {**self._inputs.static, **self._inputs.annotated(columns)}  # split as `task.map` does it
        futures: Iterable[Any] = self._runner.map(self._task, parameters, self._wait_for)
        positions = [Position(number, (number,), future) for number, future in enumerate(futures, self._submitted)]
        self._submitted += len(positions)
        self._wait_set.add(positions)
        return self._wait_set.subscribe(self._inbox.put)

    def _wait(self) -> list[Ended]:
        if self._wait_set.open:
            return wait_for_next(self._wait_set, self._inbox, release=True)
        time.sleep(_BACKLOG_SECONDS)
        return collect_ended(self._wait_set, self._inbox)

    def _take(self, ended: list[Ended]) -> list[Outcome]:
        """Return the outcomes of runs that have ended, with their indexes, and drop their futures."""
        outcomes = []
        for run, outcome in self._wait_set.with_details(ended):
            ((number, path, _),) = run.positions
            outcomes.append(replace(outcome, index=number, path=path, map_index=number))
            self._wait_set.forget(run)
            if not self._keep_values:
                self._drop_prefect_bookkeeping(outcome)
        return outcomes

    def _drop_prefect_bookkeeping(self, outcome: Outcome) -> None:
        """Drop what Prefect keeps about a run for tasks that take its result, because no task will take it."""
        if outcome.status is not Status.COMPLETED or outcome.task_run_id is None:
            return
        run_id, known = outcome.task_run_id, self._flow.run_results
        self._flow.task_run_assets.pop(run_id, None)

        def drop(part: Any) -> None:
            if (entry := known.get(id(part))) is not None and entry[0].state_details.task_run_id == run_id:
                del known[id(part)]

        if known and not isinstance(outcome._value, LazyValue):  # a lazy value was made in another process
            visit_collection(outcome._value, drop, max_depth=1, return_data=False)
