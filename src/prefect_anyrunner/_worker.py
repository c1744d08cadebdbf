"""What runs on a worker: one entry point for every backend that has other processes.

    parcel -> claim -> context (kept warm) -> Prefect's own engine -> packed outcome

A parcel holds digests instead of what does not change from task to task (the run's context, the task object, a large
argument): the backend's `WorkerSide` brings those bytes once per worker. Whatever the body does, `run_parcel` returns
bytes: nothing of a task reaches the engine that carries it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import pickle
import socket
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, SyncClientContext, hydrated_context
from prefect.exceptions import CancelledRun, CrashedRun, FailedRun
from prefect.results import should_persist_result
from prefect.settings import get_current_settings
from prefect.states import Crashed, Failed
from prefect.task_engine import run_task_async, run_task_sync
from prefect.tasks import Task

from ._errors import AnyRunnerError, CannotTravel
from ._interrupt import Interrupted, about_to_run, leave_body, stoppable
from ._prefect import ResultRecord, ResultRecordMetadata, error_in, result_in
from ._preflight import look_for, unreachable
from ._task_run import copy_with, restored
from ._transport import dumps, loads, pack_error
from ._versions import refuse_skew, running
from ._worker_engine import run_async, run_sync

T = TypeVar("T")


class Parcel(NamedTuple):
    """One submitted run on its way to a worker; everything in it is bytes or text, so any pickle can carry it.

    `context`, `task`, `like` and `shared` are digests, of bytes that `WorkerSide.fetch` must be able to bring.
    """

    claim: str
    context: str
    task: str
    like: str
    task_run: bytes
    arguments: bytes
    shared: dict[str, str]
    extras: bytes


class Packed(NamedTuple):
    """What a worker says of one parcel.

    `refused` tells why the body was not run here (rules C2, C3, K1), and is all there is then, but for the `error` that
    kept a worker from beginning it. `value` is None when it is kept on the worker (`value_size` bytes) until somebody
    asks.
    """

    worker: str
    refused: str | None = None
    state: State[Any] | None = None
    name: str = ""
    attempts: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    total_run_time: timedelta = timedelta()
    metadata: ResultRecordMetadata | None = None
    value: bytes | None = None
    value_size: int = 0
    error: bytes | None = None


class WorkerSide(Protocol):
    """What `run_parcel` asks of the backend that carries it."""

    backend: str

    def name(self) -> str:
        """Return the worker's name as a person would look for it."""
        ...

    def fetch(self, digest: str) -> bytes:
        """Return the bytes that the driver put away under `digest`."""
        ...

    def claim(self, key: str) -> str | None:
        """Claim the right to run the body: None if it is ours, else why not (rules C2, C3, K1)."""
        ...


_MAX_CONTEXTS = 8  # more flow runs than that at a time enter theirs anew for each body
_MAX_FREE = max(32, os.cpu_count() or 1)  # of each; a worker of more threads than CPUs waits more than it computes
_MAX_BYTES_KEPT = 128 * 2**20  # of a worker's memory; the newest is kept, whatever its size

_here: contextvars.ContextVar[WorkerSide | None] = contextvars.ContextVar("anyrunner_worker", default=None)


def current_worker() -> WorkerSide | None:
    """Return the worker side whose body the calling code is part of, or None outside of one."""
    return _here.get()


class _Kept:
    """Bytes that were fetched once for this process; the oldest go first when there are too many."""

    def __init__(self) -> None:
        self._bytes: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._fetching: WeakValueDictionary[str, _Fetching] = WeakValueDictionary()

    def get(self, side: WorkerSide, digest: str) -> bytes:
        with self._lock:
            if (data := self._bytes.get(digest)) is not None:
                self._bytes.move_to_end(digest)
                return data
            fetching = self._fetching.setdefault(digest, _Fetching())
        with fetching.lock:  # threads that begin together fetch it once
            with self._lock:
                if (data := self._bytes.get(digest)) is not None:
                    return data
            data = side.fetch(digest)
            with self._lock:
                self._bytes[digest] = data
                self._size += len(data)
                while self._size > _MAX_BYTES_KEPT and len(self._bytes) > 1:
                    self._size -= len(self._bytes.popitem(last=False)[1])
            return data


class _Fetching:
    """The lock of those who fetch the same bytes, as long as somebody does."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


_kept = _Kept()
_tasks: OrderedDict[str, Task[Any, Any]] = OrderedDict()
_likes: OrderedDict[str, TaskRun] = OrderedDict()


class _Warm:
    """A run's context, entered once: settings, flow run, one API client, one event loop if needed.

    A `contextvars.Context` keeps what was entered; each body runs in a copy of it, so no body sees another's changes.
    One body at a time has it, in whatever thread: what it submits is waited for at its end by the runner in here.
    """

    def __init__(self, serialized: dict[str, Any], side: WorkerSide) -> None:
        self.context = contextvars.copy_context()  # the engine's own variables (Dask's current worker) stay in it
        self._stack = ExitStack()
        self._runner: asyncio.Runner | None = None
        _entered.add(self)
        self.context.run(self._enter, serialized, side)

    def _enter(self, serialized: dict[str, Any], side: WorkerSide) -> None:
        _here.set(side)
        with hydrated_context({"settings_context": serialized["settings_context"]}):  # the client is made from them
            client = get_client(sync_client=True)
        api = str(client.api_url)
        if (why := look_for(api)) is not None:  # the client itself would try for minutes where nothing answers at all
            raise unreachable(f"{side.backend} worker {side.name()}", api, why)
        self._stack.enter_context(hydrated_context(serialized, client=client))
        self._stack.enter_context(SyncClientContext())

    def run_async(self, coroutine: Any) -> Any:
        """Run a coroutine in a loop that is kept; what it leaves behind is cancelled."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            return self._runner.run(coroutine, context=contextvars.copy_context())
        finally:
            loop = self._runner.get_loop()
            if left := asyncio.all_tasks(loop):
                for each in left:
                    each.cancel()
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    def close(self) -> None:
        _entered.discard(self)
        if self._runner is not None:
            self._runner.close()
        self.context.run(self._stack.close)


_entered: set[_Warm] = set()  # kept until closed: a context that is dropped would be left in whatever context drops it


@atexit.register
def _leave_all() -> None:
    for warm in list(_entered):
        warm.close()


class _Contexts:
    """The contexts that no body has at the moment, of the flow runs that were served last.

    They belong to no thread: on Dask, a task that waits gives its place to a new thread, and its own ends with it.
    """

    def __init__(self) -> None:
        self._free: OrderedDict[tuple[str, str], list[_Warm]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, side: WorkerSide, digest: str) -> _Warm:
        """Return a context for one body, until `give_back`; raises what entering it raises."""
        with self._lock:
            if free := self._free.get((digest, side.name())):
                return free.pop()
        return _Warm(_read_context(side, digest), side)

    def give_back(self, side: WorkerSide, digest: str, warm: _Warm) -> None:
        """Keep `warm` for the next body, and close what is too much."""
        key = (digest, side.name())  # threads may be workers of their own: LocalCluster(processes=False)
        with self._lock:
            free = self._free.setdefault(key, [])
            self._free.move_to_end(key)
            free.append(warm)
            surplus = [free.pop(0)] if len(free) > _MAX_FREE else []
            while len(self._free) > _MAX_CONTEXTS:
                surplus += self._free.popitem(last=False)[1]
        for each in surplus:
            each.close()


contexts = _Contexts()


def keep_context(serialized: dict[str, Any], engine: tuple[str, ...]) -> bytes:
    """Return a context as bytes for workers, under the versions that they must have; `engine`: modules it needs."""
    return pickle.dumps((engine, dict(running(*engine)), dumps(serialized, what="the context of the flow run")))


def _read_context(side: WorkerSide, digest: str) -> dict[str, Any]:
    engine, versions, data = pickle.loads(_kept.get(side, digest))
    refuse_skew(f"{side.backend} worker {side.name()}", running(*engine), versions)  # before anything of Prefect's
    context: dict[str, Any] = loads(data, what="the context of the flow run")
    return context


def run_parcel(side: WorkerSide, parcel: Parcel) -> Packed:
    """Run one parcel's task here and return what became of it; never raises for what the body does."""
    if (refused := side.claim(parcel.claim)) is not None:
        return Packed(worker=side.name(), refused=refused)
    try:
        warm = contexts.take(side, parcel.context)
    except BaseException as exc:
        return not_begun(side, exc)
    try:
        try:
            task_run = _task_run(side, parcel)
        except BaseException as exc:
            return not_begun(side, exc)
        try:
            return warm.context.copy().run(_run, warm, side, parcel, task_run)
        except BaseException as exc:
            return _pack_crash(side, task_run, exc)
    finally:
        leave_body(parcel.claim)  # once more: an interruption may have come before the body's own took hold
        contexts.give_back(side, parcel.context, warm)


def _run(warm: _Warm, side: WorkerSide, parcel: Parcel, task_run: TaskRun) -> Packed:
    try:
        task = _task(side, parcel.task, f"the code of task run {task_run.name!r}")
        arguments: dict[str, Any] = loads(parcel.arguments, what=f"the arguments of task {task.name!r}")
        for name, digest in parcel.shared.items():
            arguments[name] = loads(_kept.get(side, digest), what=f"argument {name!r} of task {task.name!r}")
        extras: dict[str, Any] = loads(parcel.extras) if parcel.extras else {}
    except CannotTravel as exc:
        return _pack_failure(side, task_run, exc)
    raised: BaseException | None = None
    with hydrated_context(extras, client=SyncClientContext.get().client) if extras else ExitStack():  # type: ignore[union-attr]
        try:
            about_to_run(parcel.claim)
            engine = {"task": task, "task_run": task_run, "parameters": arguments}
            if task.isasync:
                warm.run_async(run_async(**engine))
            else:
                run_sync(**engine)
        except BaseException as exc:
            raised = exc
        flow = FlowRunContext.get()
        finish = getattr(flow.task_runner, "finish_children", None) if flow is not None else None
        if finish is not None:  # what the body submitted ends while there is somebody to tell of it (rule S1)
            finish(stop=isinstance(raised, Interrupted | KeyboardInterrupt))  # the latter is Ray's way to interrupt
        packed = pack(side, task, task_run, raised)
    if flow is not None:
        # What Prefect notes of each run for those that the same process submits later: here nobody does any more.
        flow.run_results.clear()
        flow.task_run_assets.clear()
    return packed


def run_engine(task: Task[Any, Any], task_run: TaskRun, parameters: dict[str, Any], *, wait_for: Any = None) -> None:
    """Run Prefect's engine for one task run in the driver's process; its state is then on `task_run`.

    Raises what the engine lets through.
    """
    kwargs: dict[str, Any] = {
        "task": task,
        "task_run": task_run,
        "task_run_id": task_run.id,
        "parameters": parameters,
        "wait_for": wait_for,
        "return_type": "state",
    }
    if task.isasync:
        asyncio.run(run_task_async(**kwargs))
    else:
        run_task_sync(**kwargs)


def _task_run(side: WorkerSide, parcel: Parcel) -> TaskRun:
    told = pickle.loads(parcel.task_run)
    if isinstance(told, TaskRun):
        return told
    like = _known(_likes, parcel.like, lambda: pickle.loads(_kept.get(side, parcel.like)))
    task_run: TaskRun = restored(told, like)
    return task_run


def _task(side: WorkerSide, digest: str, what: str) -> Task[Any, Any]:
    return _known(_tasks, digest, lambda: stoppable(loads(_kept.get(side, digest), what=what)))


def _known(known: OrderedDict[str, T], digest: str, make: Callable[[], T]) -> T:
    """Return what `known` holds under `digest`, made at the first call; the oldest go first when there are too many."""
    found = known.get(digest)
    if found is None:
        found = known[digest] = make()
        while len(known) > 256:
            known.popitem(last=False)
    return found


def pack(side: WorkerSide, task: Task[Any, Any], task_run: TaskRun, raised: BaseException | None) -> Packed:
    """Pack what became of a run; a result that cannot travel makes it a failed one (rule V1)."""
    state = task_run.state
    assert state is not None
    if raised is not None and not state.is_crashed():
        if (untold := untold_failure(task, raised)) is not None:
            return _pack_failure(side, task_run, untold)
        return _pack_crash(side, task_run, raised)
    metadata = state.data.metadata if isinstance(state.data, ResultRecord) and _is_stored(task) else None
    if state.is_completed():
        try:
            value = dumps(result_of(state), what=f"the result of task {task.name!r}")
        except CannotTravel as exc:
            return _pack_failure(side, task_run, exc)
        return _packed(side, task_run, state, metadata=metadata, value=value, value_size=len(value))
    error = pack_error(raised) if raised is not None else _failure(state)
    return _packed(side, task_run, state, metadata=metadata, error=error)


def _is_stored(task: Task[Any, Any]) -> bool:
    """Tell whether Prefect's engine stores what `task` returns; a record and a key it makes either way."""
    said = task.persist_result
    if said is None:
        said = get_current_settings().tasks.default_persist_result
    return should_persist_result() if said is None else said


def _failure(state: State[Any]) -> bytes | None:
    if not (state.is_failed() or state.is_crashed() or state.is_cancelled()):
        return None
    return pack_error(error_of(state))


def not_begun(side: WorkerSide, error: BaseException) -> Packed:
    """Pack that a body was not run here, because of `error`."""
    if isinstance(error, AnyRunnerError):
        why = str(error)
    else:
        why = f"{side.backend} worker {side.name()} could not begin it: {type(error).__name__}: {_text(error)}"
    return Packed(worker=side.name(), refused=why, error=pack_error(error))


def _pack_failure(side: WorkerSide, task_run: TaskRun, error: Exception) -> Packed:
    return _packed(side, task_run, failed_by(error), error=pack_error(error))


def _pack_crash(side: WorkerSide, task_run: TaskRun, error: BaseException) -> Packed:
    state: State[Any] = Crashed(message=f"The task run ended by {type(error).__name__}: {_text(error)}")
    return _packed(side, task_run, state, error=pack_error(error))


def untold_failure(task: Task[Any, Any], raised: BaseException) -> Exception | None:
    """Return what the body raised when Prefect's engine failed to print it, for that is what `raised` then tells of."""
    code = getattr(task.fn, "__code__", None)
    error = raised.__context__
    for _ in range(10):
        if not isinstance(raised, Exception) or not isinstance(error, Exception):
            return None
        if any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__)):
            return error
        error = error.__context__
    return None


def failed_by(error: Exception) -> State[Any]:
    """Return the Failed state of a run that `error` ended without the engine's doing."""
    text = _text(error)
    return Failed(message=text if isinstance(error, CannotTravel) else f"{type(error).__name__}: {text}")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a user's __str__ may raise; the type is still worth telling
        return "(its text cannot be had)"


def _packed(side: WorkerSide, task_run: TaskRun, state: State[Any], **more: Any) -> Packed:
    return Packed(
        worker=side.name(),
        state=without_data(state),
        name=task_run.name,
        attempts=max(task_run.run_count, 1),
        started=task_run.start_time,
        ended=task_run.end_time,
        total_run_time=task_run.total_run_time,
        **more,
    )


def result_of(state: State[Any]) -> Any:
    """Return what a completed state holds; `State.result` would go through an event loop for it, for 0.3 ms."""
    data: Any = state.data
    if isinstance(data, ResultRecord):
        return data.result
    if data is None or isinstance(data, ResultRecordMetadata):
        return result_in(state)
    return data


def error_of(state: State[Any]) -> BaseException:
    """Return the exception that a failed, crashed or cancelled state stands for, also one that a body made itself."""
    held = state.data.result if isinstance(state.data, ResultRecord) else state.data
    try:
        return error_in(without_data(state, held))
    except Exception as problem:  # a body may put anything into the state that it returns
        kind = CrashedRun if state.is_crashed() else CancelledRun if state.is_cancelled() else FailedRun
        error = kind(state.message or f"The task returned the state {state.name}.")
        error.__cause__ = problem
        return error


def without_data(state: State[Any], data: Any = None) -> State[Any]:
    """Return a copy of `state` with other data."""
    return copy_with(state, {"data": data})


def process_name() -> str:
    """Return this process as `host:pid`."""
    return f"{_host()}:{os.getpid()}"


@cache
def _host() -> str:
    return socket.gethostname()  # gives the GIL away, and waits for it: each time is felt


def crashed_error(text: str, cause: BaseException | None = None) -> CrashedRun:
    """Return the `CrashedRun` that stands in a group for a crashed run, with what caused it."""
    error = CrashedRun(text)
    error.__cause__ = cause
    return error
