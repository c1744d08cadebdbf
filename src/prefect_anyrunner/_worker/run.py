"""One request to one result: the entry point of every backend that has other processes.

    request -> claim -> context (entered once) -> Prefect's task engine -> result

A request holds only digests of what stays the same from run to run: the flow run's context, the task object, large
arguments. The backend's `WorkerHost` fetches those bytes once per worker. Whatever a body does, `run_request` returns a
result, so that nothing that a body raises reaches the engine that carries the run.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, NamedTuple

from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext, SyncClientContext, hydrated_context
from prefect.tasks import Task

from prefect_anyrunner._base.environment import temporary_environment
from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._prefect.models import restored
from prefect_anyrunner._publishing.publisher import Taken
from prefect_anyrunner._serialization.pickler import forget_additions
from prefect_anyrunner._serialization.values import loads
from prefect_anyrunner._worker.cache import ObjectCache, blobs
from prefect_anyrunner._worker.contexts import EnteredContext, as_worker, contexts, load_context
from prefect_anyrunner._worker.engine import AsyncEngine, SyncEngine, run_async, run_sync
from prefect_anyrunner._worker.events import EventsOnWorker
from prefect_anyrunner._worker.interrupt import is_interruption, leave_body, stoppable
from prefect_anyrunner._worker.messages import RunRequest, RunResult, WorkerHost
from prefect_anyrunner._worker.results import not_started, pack, pack_crash, pack_failure
from prefect_anyrunner._worker.sent_task import SentTask

_tasks: ObjectCache[SentTask] = ObjectCache()
_templates: ObjectCache[TaskRun] = ObjectCache()
_checked_contexts: ObjectCache[bool] = ObjectCache()
_running: set[str] = set()  # claims of the bodies that this process runs
_running_lock = threading.Lock()


class _Work(NamedTuple):
    """The contents of a request that Prefect's task engine needs."""

    task: Task[Any, Any]
    arguments: dict[str, Any]
    context_overrides: dict[str, Any]


def run_request(host: WorkerHost, request: RunRequest) -> RunResult:
    """Run one request and return its result; never raises for anything that the body does."""
    if (owner := host.claim(request.claim)) is not None:
        return RunResult(worker=host.name(), refused=owner)
    try:
        entered = contexts.acquire(host, request.context)
    except BaseException as exc:
        return not_started(host, exc)
    try:
        try:
            task_run = _task_run(host, request)
        except BaseException as exc:
            return not_started(host, exc)
        with _running_lock:
            if not _running:  # a body that runs here at the same time may need the additions
                forget_additions()
            _running.add(request.claim)
        try:
            return entered.context.copy().run(_run, entered, host, request, task_run)
        except BaseException as exc:
            return pack_crash(host, task_run, exc)
    finally:
        leave_body(request.claim)  # again, because an interruption may have kept the body from doing it
        _running.discard(request.claim)
        contexts.release(host, request.context, entered)


def _run(entered: EnteredContext, host: WorkerHost, request: RunRequest, task_run: TaskRun) -> RunResult:
    try:
        work = _unpack(host, request, task_run)
    except CannotTravel as exc:
        return pack_failure(host, task_run, exc)
    with _overridden(work.context_overrides), _environment(entered):
        raised = _run_engine(entered.run_async, request, work, task_run)
        flow = FlowRunContext.get()
        unrecorded = _finish_children(flow, request.claim, raised)
        result = pack(host, work.task, task_run, raised, claim=request.claim)._replace(unrecorded=unrecorded)
    if flow is not None:
        # Prefect keeps notes of each run for runs that the same process submits later; here no later run needs them.
        flow.run_results.clear()
        flow.task_run_assets.clear()
    return result


def _finish_children(flow: FlowRunContext | None, claim: str, raised: BaseException | None) -> Sequence[Taken]:
    """End the runs that a body has submitted, while this process can still report them (rule S1).

    They are cancelled if `raised` has interrupted the body, or once `interrupt` asks its run to stop.
    """
    finish = getattr(flow.task_runner, "finish_children", None) if flow is not None else None
    if finish is None:
        return ()
    while True:
        asked = is_interruption(raised) or isinstance(raised, KeyboardInterrupt)  # Ray interrupts by it
        try:
            with stoppable(claim, asked=asked) as is_asked:
                taken: Sequence[Taken] = finish(stop=is_asked)
            return taken
        except KeyboardInterrupt as exc:  # just before the block
            raised = exc


def run_here_as_sent(host: WorkerHost, request: RunRequest) -> RunResult:
    """Run one request as `run_request` does, but in the process and the context that it was submitted in (rule V2).

    The context in the request is loaded, but not entered.
    """
    try:
        _checked_contexts.get(request.context, lambda: bool(load_context(host, request.context)))
        task_run = _task_run(host, request)
    except BaseException as exc:
        return not_started(host, exc)
    try:
        try:
            work = _unpack(host, request, task_run)
        except CannotTravel as exc:
            return pack_failure(host, task_run, exc)
        raised = _run_engine(asyncio.run, request, work, task_run)
        with as_worker(host):  # so that futures in the result are waited for, as on a worker
            return pack(host, work.task, task_run, raised, claim=request.claim)
    except BaseException as exc:
        return pack_crash(host, task_run, exc)
    finally:
        leave_body(request.claim)  # again, because an interruption may have kept the body from doing it


def _run_engine(
    run_coroutine: Callable[[Any], Any], request: RunRequest, work: _Work, task_run: TaskRun
) -> BaseException | None:
    """Run Prefect's task engine, which leaves its state on `task_run`; return the exception that it lets through."""
    events = EventsOnWorker(request.events)
    engine: dict[str, Any] = {
        "task": work.task,
        "task_run": task_run,
        "parameters": work.arguments,
        "claim": request.claim,
        "events": events,
    }
    try:
        if work.task.isasync:
            run_coroutine(run_async(AsyncEngine(**engine)))
        else:
            run_sync(SyncEngine(**engine))
    except BaseException as exc:
        return exc
    finally:
        events.forget(task_run)
    return None


def _environment(entered: EnteredContext) -> AbstractContextManager[None]:
    return nullcontext() if entered.environment is None else temporary_environment(entered.environment)


def _overridden(context_overrides: dict[str, Any]) -> Any:
    if not context_overrides:
        return ExitStack()
    client = SyncClientContext.get()
    assert client is not None
    return hydrated_context(context_overrides, client=client.client)


def _unpack(host: WorkerHost, request: RunRequest, task_run: TaskRun) -> _Work:
    """Return the contents of a request. Raises CannotTravel if they cannot be rebuilt here."""
    what = f"the code of task run {task_run.name!r}"
    task = _tasks.get(request.task, lambda: SentTask(blobs.get(host, request.task), what)).task(
        lambda: blobs.get(host, request.task), what
    )
    arguments: dict[str, Any] = loads(request.arguments, what=f"the arguments of task {task.name!r}")
    for name, digest in request.shared.items():
        arguments[name] = loads(blobs.get(host, digest), what=f"argument {name!r} of task {task.name!r}")
    overrides: dict[str, Any] = {}
    if request.context_overrides:
        overrides = loads(request.context_overrides, what=f"the context of task {task.name!r}")
    return _Work(task, arguments, overrides)


def _task_run(host: WorkerHost, request: RunRequest) -> TaskRun:
    sent = pickle.loads(request.task_run)
    if isinstance(sent, TaskRun):
        return sent
    template = _templates.get(request.template, lambda: pickle.loads(blobs.get(host, request.template)))
    task_run: TaskRun = restored(sent, template)
    return task_run
