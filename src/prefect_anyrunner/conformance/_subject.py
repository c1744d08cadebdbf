"""The runner under test, and flow runs to put it to work in."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import ObjectNotFound
from prefect.task_runners import TaskRunner

from .. import Outcome, Status, settle
from ..backends import Capability
from ._flows import serving_flow, serving_flow_async

T = TypeVar("T")
Make = Callable[..., TaskRunner[Any]]

_limit = 150.0


def limit() -> float:
    """Return the seconds after which something that a case waits for is taken not to happen any more."""
    return _limit


def set_limit(seconds: float) -> None:
    """Set what `limit` returns, in this process."""
    global _limit
    _limit = seconds


def told_within() -> float:
    """Return the seconds that the Prefect API gets to show a state: events reach it a little later."""
    return limit() * 0.8


_STATE_NAMES = {
    Status.COMPLETED: "COMPLETED",
    Status.FAILED: "FAILED",
    Status.CRASHED: "CRASHED",
    Status.CANCELLED: "CANCELLED",
    Status.BLOCKED: "PENDING",  # Prefect's own word for it is Pending, named NotReady
}

_keys = itertools.count()
_jobs: dict[str, queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]] = {}


class OpenFlow:
    """A flow run in a thread of its own that does what it is handed until it is closed.

    Starting an engine takes seconds; this lets many cases share one start.
    """

    def __init__(self, runner: TaskRunner[Any], *, asynchronous: bool = False) -> None:
        self._key = f"open-{next(_keys)}"
        self._jobs = _jobs[self._key] = queue.SimpleQueue()
        self._ended: Future[None] = Future()
        self._asynchronous = asynchronous
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run, runner), name=self._key, daemon=True)
        self._thread.start()

    def _run(self, runner: TaskRunner[Any]) -> None:
        try:
            if self._asynchronous:
                asyncio.run(serving_flow_async.with_options(task_runner=runner)(self._key))
            else:
                serving_flow.with_options(task_runner=runner)(self._key)
        except BaseException as exc:
            self._ended.set_exception(exc)
            while not self._jobs.empty():
                if (job := self._jobs.get()) is not None:
                    job[1].set_exception(exc)
        else:
            self._ended.set_result(None)

    def call(self, body: Callable[[], T], within: float | None = None) -> T:
        """Return what `body()` returns when called inside the flow; raise TimeoutError after `within` seconds.

        Without `within` it gets half as long again as what a case waits for.
        """
        answer: Future[T] = Future()
        self._jobs.put((body, answer))
        return answer.result(within or limit() * 1.5)

    def close(self, within: float | None = None) -> None:
        """Let the flow run end, and wait for that."""
        self._jobs.put(None)
        self._ended.result(within or limit() * 1.5)
        del _jobs[self._key]


def serve(key: str) -> None:
    """Do what is handed to the open flow `key` until it is closed."""
    while (job := _jobs[key].get()) is not None:
        body, answer = job
        try:
            answer.set_result(body())
        except BaseException as exc:
            answer.set_exception(exc)


async def serve_async(key: str) -> None:
    """Do as `serve`, for bodies that return a coroutine."""
    while (job := await asyncio.to_thread(_jobs[key].get)) is not None:
        body, answer = job
        try:
            answer.set_result(await body())
        except BaseException as exc:
            answer.set_exception(exc)


class SharedFlow:
    """An `OpenFlow` that starts when first needed, and again when a case left it unusable."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._open: OpenFlow | None = None

    def call(self, body: Callable[[], T]) -> T:
        """Do as `OpenFlow.call`."""
        if self._open is None:
            self._open = OpenFlow(self._make())
        try:
            return self._open.call(body)
        except TimeoutError:
            self._open = None  # it hangs: the next case gets a new one
            raise

    def close(self) -> None:
        """End the flow run if there is one."""
        if self._open is not None:
            self._open.close()
            self._open = None


class Subject:
    """The runner that a case is about.

    `make(**options)` returns a new runner of the backend, not started, on an engine with `workers` workers that is
    there already where the backend can use one. `folder` is on a disk that the workers share. `lacks` says what the
    backend does not claim to do. `setting`: one option of the backend with a value that is not its default.
    """

    def __init__(
        self,
        backend: str,
        make: Make,
        shared: SharedFlow,
        folder: Path,
        lacks: Mapping[Capability, str],
        *,
        workers: int = 2,
        setting: Mapping[str, Any] | None = None,
    ) -> None:
        self.backend = backend
        self.make = make
        self.folder = folder
        self.workers = workers
        self.setting = dict(setting or {})
        self._shared = shared
        self._lacks = lacks

    def can(self, capability: Capability) -> bool:
        """Tell whether the backend has a capability."""
        return capability not in self._lacks

    def path(self, name: str) -> str:
        """Return a path in the shared folder."""
        return str(self.folder / name)

    def inside(self, body: Callable[[], T]) -> T:
        """Call `body()` inside a flow run on this runner, which other cases may have used before."""
        return self._shared.call(body)

    def flow(self, body: Callable[[], T], **options: Any) -> T:
        """Call `body()` inside a flow run of its own, on a runner with these options, and see the flow run end."""
        return self.flow_on(self.make(**options), body)

    def flow_on(self, runner: TaskRunner[Any], body: Callable[[], T]) -> T:
        """Do as `flow`, on a runner that the case made."""
        return _alone(OpenFlow(runner), body)

    def async_flow(self, body: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do as `flow`, awaiting `body()` in an async flow."""
        return _alone(OpenFlow(self.make(), asynchronous=True), body)  # type: ignore[return-value]  # awaited there


def _alone(opened: OpenFlow, body: Callable[[], T]) -> T:
    try:
        answer = opened.call(body)
    except BaseException:
        opened.close(within=limit() * 0.3)  # it has failed, so whether the flow run ends is no question any more
        raise
    opened.close()
    return answer


def ended(future: Any) -> Outcome:
    """Wait for a future of any runner and return its outcome."""
    outcome = settle(future, timeout=limit())[0]
    assert outcome.status is not Status.UNFINISHED, (
        f"task run {future.task_run_id} of {outcome.task_name!r} has not ended after {limit():g} s"
    )
    return outcome


def now(future: Any) -> Outcome | None:
    """Return the outcome of a future of any runner if the run has ended."""
    outcome = settle(future, timeout=0)[0]
    return None if outcome.status is Status.UNFINISHED else outcome


def statuses(futures: Any) -> list[str]:
    """Wait for futures and return their statuses as text."""
    return [ended(future).status.value for future in futures]


def lines(path: str) -> int:
    """Return how many lines a file has that tasks append to; 0 if there is none."""
    file = Path(path)
    return len(file.read_text().splitlines()) if file.exists() else 0


def until(what: Callable[[], Any], within: float | None = None) -> None:
    """Wait until `what()` is true."""
    seconds = within or limit()
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"did not happen within {seconds:g} seconds"
        time.sleep(0.02)


def read_task_run(task_run_id: UUID, end: float | None = None) -> TaskRun:
    """Return a task run as the Prefect API has it, once it has it."""
    end = time.monotonic() + told_within() if end is None else end
    with get_client(sync_client=True) as client:
        while True:
            try:
                return client.read_task_run(task_run_id)
            except ObjectNotFound:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)


def shown(outcome: Outcome, end: float | None = None) -> State[Any] | None:
    """Return the state that the Prefect API shows for a run, once it is the one of the outcome or time is up."""
    assert outcome.task_run_id is not None
    end = time.monotonic() + told_within() if end is None else end
    while True:
        state = read_task_run(outcome.task_run_id, end).state
        if agree(outcome, state) or time.monotonic() > end:
            return state
        time.sleep(0.1)


def contradictions(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a sentence for each outcome of which the Prefect API says something else when time is up."""
    end = time.monotonic() + told_within()
    wrong = []
    for outcome in outcomes:
        try:
            state = repr(found) if not agree(outcome, found := shown(outcome, end)) else None
        except ObjectNotFound:
            state = "no task run"
        if state is not None:
            wrong.append(f"{outcome.task_name} is {outcome.status.value}, but the API shows {state}")
    return wrong


def agree(outcome: Outcome, state: State[Any] | None) -> bool:
    """Tell whether a state of the API says what the outcome says."""
    if state is None or state.type.value != _STATE_NAMES[outcome.status]:
        return False
    return outcome.status is not Status.BLOCKED or state.name == "NotReady"
