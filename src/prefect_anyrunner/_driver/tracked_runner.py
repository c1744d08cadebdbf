"""The driver's side of every backend: each submitted run is followed until it has ended, here and in the Prefect API.

    submit -> wait for upstreams (no worker is held) -> dispatch -> arrived | lost | cancelled -> outcome

`TrackedRunner` is mixed into the stock task runners. A backend says how a run is started and how it is stopped; what
its end means, and that it has exactly one, is decided here.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self
from uuid import UUID

from prefect.client.schemas.objects import RunInput, State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import CancelledRun, CrashedRun, MissingResult, UpstreamTaskError
from prefect.futures import PrefectFuture, PrefectFutureList
from prefect.states import Cancelled, Crashed, Failed
from prefect.tasks import Task
from prefect.utilities.engine import emit_task_run_state_change_event

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._driver.future import AnyFuture, Look
from prefect_anyrunner._driver.modules import note_missing_module
from prefect_anyrunner._driver.orphans import end_orphans
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._driver.upstreams import blame, blockers, find_upstreams, has_ended
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.private import ResultRecord, ResultRecordMetadata, create_task_run
from prefect_anyrunner._prefect.states import (
    because,
    error_of,
    failed_by,
    lost_state,
    moment,
    put_state,
    result_of,
    status_of,
    with_data,
)
from prefect_anyrunner._serialization.unpack import unpack_error
from prefect_anyrunner._serialization.values import loads
from prefect_anyrunner._worker.engine import run_engine
from prefect_anyrunner._worker.messages import RunResult
from prefect_anyrunner._worker.results import masked_failure

_FIRST_BATCH = 256
"""Runs of a `map` that go to the engine together at first, to begin while the others are submitted."""
_NEXT_BATCH = 8
"""Times as many go together after that, and so on: few batches, for whoever takes in outcomes submits more slowly."""
_RESENDS = 20
"""How often a run that never started is sent again when the workers that held it die, before it counts as crashed."""


class TrackedRunner:
    """Mixed into a stock task runner: `submit`, `map` and the end of the run, told truthfully."""

    # Given by the stock class that this is mixed into.
    logger: logging.Logger
    _started: bool

    rerun_lost: int = 0

    @property
    def name(self) -> str:
        """The backend's name, as logs and notes tell it."""
        raise NotImplementedError

    # --- what a backend says -------------------------------------------------------------------------------------

    def _dispatch(self, runs: list[Run]) -> None:
        """Give runs whose upstreams have ended to the engine."""
        raise NotImplementedError

    def _revoke(self, runs: list[Run]) -> list[bool]:
        """Make sure that runs that were sent never start; tell for each whether that came in time."""
        raise NotImplementedError

    def _interrupt(self, run: Run) -> None:
        """Ask a running body to stop."""
        raise NotImplementedError

    def blocking(self) -> AbstractContextManager[None]:
        """Free the worker that the calling thread holds while it waits (rule N1)."""
        raise NotImplementedError

    @property
    def lends(self) -> bool:
        """Whether the engine frees a worker only for waits of its own, which `lend` makes."""
        return False

    def lend(self, futures: Sequence[AnyFuture[Any]], timeout: float | None) -> None:
        """Free the worker that the calling thread holds until one of `futures` has ended, for `timeout` seconds."""

    def _settings(self) -> dict[str, Any]:
        """Return the arguments that make another runner like this one."""
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become a runner with these settings, not started, whatever a subclass's `__init__` takes."""
        raise NotImplementedError

    def duplicate(self) -> Self:
        """Return a new runner with every setting of this one, and what a subclass has added (rule L1)."""
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        twin.__setstate__(self._settings())
        return twin

    # --- state ---------------------------------------------------------------------------------------------------

    def _reset_tracking(self) -> None:
        self._runs: dict[UUID, Run] = {}
        self._runs_lock = threading.Lock()
        self._idle = threading.Condition(self._runs_lock)
        self._closing = False
        self._lost: list[TaskRun] = []  # runs whose worker died: what they had submitted has nobody to tell of it
        self._lazy: list[weakref.ref[LazyValue]] = []
        self._unlooked: list[tuple[Look, Status]] = []
        self._unlooked_limit = 1000
        self._ready: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._ready_thread: threading.Thread | None = None
        self._bulk = threading.local()

    # --- submit --------------------------------------------------------------------------------------------------

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> AnyFuture[Any]:
        """Submit one task run and return its future at once.

        The arguments are Prefect's. The run exists in the API, as Pending, when this returns. Nothing that the
        arguments hold makes this raise (rule V1); `RuntimeError` if the runner is not started.
        """
        if not self._started:
            raise RuntimeError("Task runner is not started: use it in a `with` block, or as the task runner of a flow.")
        wait_for = list(wait_for) if wait_for is not None else None
        run = self._track(task, parameters, wait_for, dependencies)
        self._after_upstreams(run)
        return run.future

    def map(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
    ) -> PrefectFutureList[AnyFuture[Any]]:
        """Submit one run for each element; those that can start at once go to the engine in ever larger batches."""
        # Read to their ends now: what an iterator submits, and perhaps waits for, is none of this map's.
        parameters = {name: list(value) if isinstance(value, Iterator) else value for name, value in parameters.items()}
        bulk = self._bulk
        outer = dict(vars(bulk))
        bulk.runs, bulk.index, bulk.kept, bulk.most = [], 0, {}, _FIRST_BATCH
        try:
            return super().map(task, parameters, wait_for)  # type: ignore[misc,no-any-return]
        finally:
            runs = bulk.runs
            vars(bulk).clear()
            vars(bulk).update(outer)
            if runs:
                self._dispatch(runs)

    def _track(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: list[Any] | None,
        dependencies: dict[str, set[RunInput]] | None,
    ) -> Run:
        task_run = create_task_run(task=task, parameters=parameters, wait_for=wait_for, extra_task_inputs=dependencies)
        index: int | None = None
        if getattr(self._bulk, "runs", None) is not None:
            index = self._bulk.index
            self._bulk.index += 1
        future: AnyFuture[Any] = AnyFuture(
            task_run.id, task_name=task.name, runner_name=self.name, map_index=index, tracker=self
        )
        run = Run(task, task_run, future, parameters, wait_for, contextvars.copy_context())
        with self._runs_lock:
            self._runs[task_run.id] = run
        emit_task_run_state_change_event(
            task_run=task_run,
            initial_state=None,
            validated_state=task_run.state,  # type: ignore[arg-type]
        )
        return run

    # --- upstreams (rules U1-U3) ---------------------------------------------------------------------------------

    def _after_upstreams(self, run: Run) -> None:
        run.upstreams = find_upstreams(run.parameters, run.wait_for)
        unfinished = [each for each in run.upstreams if isinstance(each, PrefectFuture) and not has_ended(each)]
        if not unfinished:
            self._now_ready(run)
            return
        run.pending = len(unfinished)

        def one_ended(_: PrefectFuture[Any]) -> None:
            with self._runs_lock:
                run.pending -= 1
                ready = run.pending == 0
            if ready:
                self._hand_over(run)

        for future in unfinished:
            if isinstance(future, AnyFuture):
                future.when_done(one_ended)
            else:
                future.add_done_callback(one_ended)

    def _hand_over(self, run: Run) -> None:
        """Prepare `run` in a thread of its own: the calling one belongs to whatever ended the upstream run."""
        with self._runs_lock:
            if self._ready_thread is None:
                self._ready_thread = threading.Thread(
                    target=self._prepare_ready, args=(self._ready,), name=f"{self.name}-upstreams", daemon=True
                )
                self._ready_thread.start()
        self._ready.put(run)

    def _prepare_ready(self, ready: queue.SimpleQueue[Run | None]) -> None:
        while (run := ready.get()) is not None:
            try:
                self._now_ready(run)
            except BaseException as exc:  # whatever goes wrong here ends this run, never the thread
                self._end_crashed(run, f"It could not be prepared: {exc!r}", exc)

    def _now_ready(self, run: Run) -> None:
        if run.phase is Phase.ENDED or (self._closing and run.parent not in self._runs):
            self._end_cancelled(run, "The flow run ended before it started.")
            return
        if run.upstreams and blockers(run.parameters, run.wait_for):
            # Prefect's engine itself says NotReady, so that message, name and hooks are what they are on threads.
            self._end_blocked(run)
            return
        if not self._prepare(run):
            return
        with self._runs_lock:
            if run.phase is not Phase.WAITING:
                return
            run.phase = Phase.SENT
        bulk = self._bulk
        if getattr(bulk, "runs", None) is None:
            self._dispatch([run])
            return
        bulk.runs.append(run)
        if len(bulk.runs) >= bulk.most:
            batch, bulk.runs, bulk.most = bulk.runs, [], _NEXT_BATCH * bulk.most
            self._dispatch(batch)

    def _prepare(self, run: Run) -> bool:
        """Make `run` ready to be sent; return False if that ended it."""
        return True

    def _release(self, run: Run) -> None:
        """Let go of what was put away for `run`, which has ended."""

    def _end_blocked(self, run: Run) -> None:
        try:
            run.context.copy().run(run_engine, run.task, run.task_run, run.parameters, wait_for=run.wait_for)
        except BaseException as exc:
            self._end_crashed(run, f"Its upstream runs could not be resolved: {exc!r}", exc)
            return
        self.end_as_engine_says(run, None)

    # --- how a run ends ------------------------------------------------------------------------------------------

    def arrived(self, run: Run, packed: RunResult, fetch: Any = None) -> None:
        """Take in what a worker says of `run`; `fetch` brings a value that the worker kept. Never raises."""
        try:
            self._take_in_packed(run, packed, fetch)
        except BaseException as exc:  # the calling thread is the engine's: what it lets through would end it
            self._end_crashed(run, f"its outcome could not be read: {exc!r}", exc)

    def _take_in_packed(self, run: Run, packed: RunResult, fetch: Any) -> None:
        if packed.refused is not None:
            if run.cancel_asked or packed.refused == "revoked":
                self._end_cancelled(run, "It was cancelled before it started.")
            elif packed.error is not None:
                self._end_crashed(run, packed.refused, unpack_error(packed.error))
            else:
                self.lost(run, f"its worker was lost while it ran ({packed.refused})", started=True)
            return
        task_run, state = run.task_run, packed.state
        assert state is not None
        task_run.name = packed.name
        task_run.run_count = packed.attempts
        task_run.start_time = packed.started  # type: ignore[assignment]  # Prefect's DateTime is one
        task_run.end_time = packed.ended or packed.started  # type: ignore[assignment]
        task_run.total_run_time = packed.total_run_time
        if run.cancel_asked and not state.is_completed():
            self._end_cancelled(run, "It was cancelled while it ran.", worker=packed.worker)
            return
        value: Any = None
        error: BaseException | None = None
        what = f"the result of task {run.task.name!r}"
        if state.is_completed():
            if packed.value is not None:
                try:
                    value = loads(packed.value, what=what)
                except Exception as exc:
                    error, state = exc, Failed(message=str(exc))
            else:
                value = LazyValue(_bring(run, fetch, what))
        elif packed.error is not None:
            error = unpack_error(packed.error)
            if isinstance(error, ModuleNotFoundError):
                note_missing_module(error)
        self._end(
            run,
            state,
            value=value,
            error=error,
            worker=packed.worker,
            metadata=packed.metadata,
            tell=not (state.is_pending()),
        )

    def lost(self, run: Run, why: str, *, started: bool, cause: BaseException | None = None) -> None:
        """Take in that the worker of `run` is gone: what had started is crashed, unless reruns are allowed (C2-C4)."""
        with self._runs_lock:
            if run.phase is Phase.ENDED:
                return
            again = run.reruns < self.rerun_lost if started else run.sends < _RESENDS
            again = again and not self._closing and not run.cancel_asked
            if again:
                run.sends += 1
                run.reruns += started
        if again:
            if started:
                self.logger.warning(
                    "Task run %r was lost (%s) and is executed again, as rerun_lost=%s allows.",
                    run.task_run.name,
                    why,
                    self.rerun_lost,
                )
            self._dispatch([run])
        elif run.cancel_asked:
            if started:
                self._lost.append(run.task_run)
            self._end_cancelled(
                run, "It was cancelled while it ran." if started else "It was cancelled before it started."
            )
        else:
            if started:
                self._lost.append(run.task_run)
            self._end_crashed(run, why, cause)

    def end_as_engine_says(self, run: Run, raised: BaseException | None, *, worker: str | None = None) -> None:
        """End a run that Prefect's engine ran in this process, by the state it left on the task run."""
        state = run.task_run.state
        assert state is not None
        if raised is not None and run.cancel_asked:
            if not state.is_completed():
                self._end_cancelled(run, "It was cancelled while it ran.", worker=worker)
                return
            raised = None  # it came too late
        if raised is not None and not state.is_crashed():
            if (untold := masked_failure(run.task, raised)) is not None:
                self._end(run, failed_by(untold), error=untold, worker=worker)
                return
            self._end_crashed(run, f"The task run ended by {type(raised).__name__}: {raised!r}", raised)
            return
        if run.cancel_asked and (state.is_failed() or state.is_crashed()):
            self._end_cancelled(run, "It was cancelled while it ran.", worker=worker)
            return
        value: Any = None
        error: BaseException | None = None
        if state.is_completed():
            value = result_of(state)
        else:
            error = raised if raised is not None else error_of(state)
        self._end(run, state, value=value, error=error, worker=worker, tell=False)

    def _end_cancelled(self, run: Run, message: str, *, worker: str | None = None) -> None:
        self._end(run, Cancelled(message=message), error=CancelledRun(message), worker=worker)

    def _end_crashed(self, run: Run, why: str, cause: BaseException | None = None) -> None:
        message = f"Task run {run.task_run.name!r} crashed: {why}"
        self._end(run, Crashed(message=message), error=because(CrashedRun(message), cause))

    def end_failed(self, run: Run, error: Exception) -> None:
        """End a run that never reached a worker because of `error` (rule V1)."""
        self.logger.error("Task run %r failed before it started: %s", run.task_run.name, error)
        self._end(run, Failed(message=str(error)), error=error)

    def _end(
        self,
        run: Run,
        state: State[Any],
        *,
        value: Any = None,
        error: BaseException | None = None,
        worker: str | None = None,
        metadata: ResultRecordMetadata | None = None,
        tell: bool = True,
    ) -> None:
        """End `run` once: the API first, then the future, so that whoever waits finds both agreeing (rules S1, W1)."""
        with self._runs_lock:
            if run.phase is Phase.ENDED:
                return
            run.phase = Phase.ENDED
        task_run = run.task_run
        status = status_of(state)
        if status is Status.UNFINISHED:  # nothing else would end this run in the API
            message = f"The task returned the state {state.name}, which is not a final state."
            status, state, tell = Status.CRASHED, Crashed(message=message), True
        upstream: tuple[UUID, ...] = ()
        if status is Status.CRASHED and not isinstance(error, CrashedRun):
            error = because(CrashedRun(state.message or "The task run crashed."), error)
        elif status is Status.CANCELLED and not isinstance(error, CancelledRun):
            error = CancelledRun(state.message or "The task run was cancelled.")
        elif status is Status.BLOCKED:
            try:
                upstream, error = blame(blockers(run.parameters, run.wait_for))
            except Exception as problem:  # a state of somebody else's may not be readable
                message = f"An upstream task run did not complete, and cannot be told: {problem}"
                error = because(UpstreamTaskError(message), problem)
        if tell:
            before = task_run.state
            put_state(task_run, state)
            try:
                run.context.copy().run(_emit, run, before, state, metadata)
            except Exception:  # whoever waits for it must hear of it all the same
                self.logger.exception("The Prefect API could not be told how task run %r ended.", task_run.name)
        if isinstance(value, LazyValue):
            self._lazy.append(weakref.ref(value))
        elif status is Status.COMPLETED:
            if state.data is None:
                state.data = ResultRecord(metadata=metadata, result=value) if metadata is not None else value
        else:
            state.data = error
        outcome = Outcome(
            task_name=run.task.name,
            task_run_id=task_run.id,
            task_run_name=task_run.name,
            status=status,
            state=state,
            error=error,
            upstream=upstream,
            attempts=max(task_run.run_count, 1) + run.reruns,
            started=moment(task_run.start_time),
            ended=moment(task_run.end_time),
            worker=worker,
            runner=self.name,
            map_index=run.future.map_index,
            _value=value,
        )
        run.future.resolve(outcome)
        run.parameters, run.wait_for, run.upstreams = {}, None, []
        run.parcel = run.engine = None
        self._release(run)
        with self._idle:
            self._runs.pop(task_run.id, None)
            if not run.future.look.taken:  # whether it ever is will be known at the end of the flow
                self._unlooked.append((run.future.look, status))
                if len(self._unlooked) >= self._unlooked_limit:
                    self._unlooked = [each for each in self._unlooked if not each[0].taken]
                    self._unlooked_limit = 2 * len(self._unlooked) + 1000
            if not self._runs:
                self._idle.notify_all()

    def give_up(self, why: str, cause: BaseException | None = None) -> None:
        """End every run that the engine holds: the engine itself is gone, so that nobody will tell of them."""
        with self._runs_lock:
            sent = [run for run in self._runs.values() if run.phase is Phase.SENT]
        for run in sent:
            self._end_crashed(run, why, cause)

    # --- cancelling (rule K1) ------------------------------------------------------------------------------------

    def cancel_runs(self, task_run_ids: Sequence[UUID], *, running: bool) -> list[bool]:
        """Cancel runs with one word to the engine for all; tell for each whether it is. See `AnyFuture.cancel`."""
        with self._runs_lock:
            runs = [run for run_id in task_run_ids if (run := self._runs.get(run_id)) is not None]
            waiting = [run for run in runs if run.phase is Phase.WAITING]
            sent = [run for run in runs if run.phase is Phase.SENT]
        revoked = self._revoked_in_time(sent)
        cancelled = set()
        for run in waiting + revoked:  # what waits first: else it would be blocked by the others
            self._end_cancelled(run, "It was cancelled before it started.")
            cancelled.add(run.id)
        if running:
            for run in sent:
                if run.id not in cancelled and run.phase is not Phase.ENDED:
                    self._ask_to_stop(run)
                    cancelled.add(run.id)
        return [run_id in cancelled for run_id in task_run_ids]

    def _revoked_in_time(self, sent: list[Run]) -> list[Run]:
        """Return those of `sent` that will never start; none when the engine cannot say."""
        if not sent:
            return []
        try:
            in_time = self._revoke(sent)
        except Exception:  # one engine's error must neither reach a `cancel()` nor keep a flow from its end
            self.logger.exception("The engine could not be told which task runs shall not start.")
            return []
        return [run for run, yes in zip(sent, in_time, strict=True) if yes]

    def _ask_to_stop(self, run: Run) -> None:
        run.cancel_asked = True
        try:
            self._interrupt(run)
        except Exception:
            self.logger.exception("The engine could not be told to stop task run %r.", run.task_run.name)

    def cancel_all(self) -> None:
        """Cancel every run that has not ended; what runs is asked to stop (rule K1)."""
        with self._runs_lock:
            open_runs = list(self._runs)
        self.cancel_runs(open_runs, running=True)
        stock = getattr(super(), "cancel_all", None)
        if stock is not None:
            stock()

    # --- the end of a task that submits (rules S1, N1) -----------------------------------------------------------

    def finish_children(self, *, stop: bool) -> None:
        """Wait until every run that was submitted here has ended: the runs of a task do not outlive it on a worker.

        `stop`: have them cancelled first. For the runner of a task, whose worker is lent to others meanwhile.
        """
        while True:
            with self._runs_lock:
                futures = [run.future for run in self._runs.values()]
            if not futures:
                return
            if stop:
                self.cancel_runs([future.task_run_id for future in futures], running=True)
            with self.blocking():
                if self.lends:
                    self.lend(futures, None)
                else:
                    wait([future.wrapped_future for future in futures])

    # --- the end of the flow run (rule E1) -----------------------------------------------------------------------

    def _finish(self, exc_type: type[BaseException] | None) -> None:
        """Bring every run to its end: what runs is let finish, what has not started is cancelled.

        When the flow is being torn down by a signal, what runs is asked to stop as well.
        """
        self._closing = True
        with self._runs_lock:
            open_runs = list(self._runs.values())
        ids = {run.id for run in open_runs}
        # What a task run has submitted goes on with it, if that one is let finish.
        own = [run for run in open_runs if run.parent not in ids]
        sent = [run for run in own if run.phase is Phase.SENT]
        for run in own:
            if run.phase is Phase.WAITING:
                self._end_cancelled(run, "The flow run ended before it started.")
        for run in self._revoked_in_time(sent):
            self._end_cancelled(run, "The flow run ended before it started.")
        if exc_type is not None and not issubclass(exc_type, Exception):
            for run in sent:
                if run.phase is not Phase.ENDED:
                    self._ask_to_stop(run)
        with self._idle:
            while self._runs:
                self._idle.wait()
        for held in self._lazy:
            if (value := held()) is not None:
                try:
                    value.get()  # brought here while there is an engine to bring it from (rule E2)
                except Exception:
                    self.logger.exception("A result that a worker kept could not be brought here.")
        self._lazy.clear()
        if self._lost:
            try:
                end_orphans(self._lost)
            except Exception:  # the runs of this flow itself have been told
                self.logger.exception("What crashed task runs had submitted could not be looked for in the API.")
        if self._ready_thread is not None:
            self._ready.put(None)
            self._ready_thread.join()
            self._ready_thread = None
        self._tell_unawaited()

    def _tell_unawaited(self) -> None:
        counts = Counter(status.value for look, status in self._unlooked if not look.taken)
        self._unlooked.clear()
        if total := counts.total():
            self.logger.warning(
                "%d submitted task %s never awaited: %s.",
                total,
                "run was" if total == 1 else "runs were",
                ", ".join(f"{n} {word}" for word, n in sorted(counts.items())),
            )


def _emit(run: Run, before: State[Any] | None, state: State[Any], metadata: ResultRecordMetadata | None) -> None:
    with _persisting(run, metadata):
        if metadata is not None:
            state = with_data(state, ResultRecord(metadata=metadata, result=None))
        emit_task_run_state_change_event(task_run=run.task_run, initial_state=before, validated_state=state)


@contextmanager
def _persisting(run: Run, metadata: ResultRecordMetadata | None) -> Iterator[None]:
    flow = FlowRunContext.get()
    if metadata is None or flow is None:
        yield
        return
    # The event tells where a result is stored only inside a task run that persists it.
    with TaskRunContext(
        task=run.task,
        task_run=run.task_run,
        parameters={},
        result_store=flow.result_store,
        client=flow.client,
        persist_result=True,
    ):
        yield


def _bring(run: Run, fetch: Callable[[], bytes], what: str) -> Callable[[], Any]:
    """Return what brings a value that its worker kept; lost, it ends the run anew in the API: as crashed (rule S1)."""
    task_run, context = run.task_run, run.context  # not the run, which holds the future that will hold this

    def bring() -> Any:
        try:
            return loads(fetch(), what=what)
        except MissingResult as exc:
            before, state = task_run.state, lost_state(task_run.name, exc)
            put_state(task_run, state)
            context.copy().run(
                emit_task_run_state_change_event, task_run=task_run, initial_state=before, validated_state=state
            )
            raise

    return bring
