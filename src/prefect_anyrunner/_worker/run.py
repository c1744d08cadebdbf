"""What runs on a worker: one entry point for every backend that has other processes.

    request -> claim -> context (kept warm) -> Prefect's own engine -> packed outcome

A request holds digests instead of what does not change from task to task (the run's context, the task object, a large
argument): the backend's `WorkerHost` brings those bytes once per worker. Whatever the body does, `run_request` returns
bytes: nothing of a task reaches the engine that carries it.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext, SyncClientContext, hydrated_context
from prefect.tasks import Task

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._prefect.models import restored
from prefect_anyrunner._serialization.values import loads
from prefect_anyrunner._worker.cache import _kept
from prefect_anyrunner._worker.contexts import EnteredContext, contexts
from prefect_anyrunner._worker.engine import run_async, run_sync
from prefect_anyrunner._worker.interrupt import Interrupted, bind_claim, leave_body, stoppable
from prefect_anyrunner._worker.messages import RunRequest, RunResult, WorkerHost
from prefect_anyrunner._worker.results import _pack_crash, _pack_failure, not_started, pack

T = TypeVar("T")


_tasks: OrderedDict[str, Task[Any, Any]] = OrderedDict()
_likes: OrderedDict[str, TaskRun] = OrderedDict()


def run_request(host: WorkerHost, request: RunRequest) -> RunResult:
    """Run one request's task here and return what became of it; never raises for what the body does."""
    if (refused := host.claim(request.claim)) is not None:
        return RunResult(worker=host.name(), refused=refused)
    try:
        warm = contexts.take(host, request.context)
    except BaseException as exc:
        return not_started(host, exc)
    try:
        try:
            task_run = _task_run(host, request)
        except BaseException as exc:
            return not_started(host, exc)
        try:
            return warm.context.copy().run(_run, warm, host, request, task_run)
        except BaseException as exc:
            return _pack_crash(host, task_run, exc)
    finally:
        leave_body(request.claim)  # once more: an interruption may have come before the body's own took hold
        contexts.give_back(host, request.context, warm)


def _run(warm: EnteredContext, host: WorkerHost, request: RunRequest, task_run: TaskRun) -> RunResult:
    try:
        task = _task(host, request.task, f"the code of task run {task_run.name!r}")
        arguments: dict[str, Any] = loads(request.arguments, what=f"the arguments of task {task.name!r}")
        for name, digest in request.shared.items():
            arguments[name] = loads(_kept.get(host, digest), what=f"argument {name!r} of task {task.name!r}")
        extras: dict[str, Any] = loads(request.context_overrides) if request.context_overrides else {}
    except CannotTravel as exc:
        return _pack_failure(host, task_run, exc)
    raised: BaseException | None = None
    with hydrated_context(extras, client=SyncClientContext.get().client) if extras else ExitStack():  # type: ignore[union-attr]
        try:
            bind_claim(request.claim)
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
        packed = pack(host, task, task_run, raised)
    if flow is not None:
        # What Prefect notes of each run for those that the same process submits later: here nobody does any more.
        flow.run_results.clear()
        flow.task_run_assets.clear()
    return packed


def _task_run(host: WorkerHost, request: RunRequest) -> TaskRun:
    told = pickle.loads(request.task_run)
    if isinstance(told, TaskRun):
        return told
    like = _known(_likes, request.template, lambda: pickle.loads(_kept.get(host, request.template)))
    task_run: TaskRun = restored(told, like)
    return task_run


def _task(host: WorkerHost, digest: str, what: str) -> Task[Any, Any]:
    return _known(_tasks, digest, lambda: stoppable(loads(_kept.get(host, digest), what=what)))


def _known(known: OrderedDict[str, T], digest: str, make: Callable[[], T]) -> T:
    """Return what `known` holds under `digest`, made at the first call; the oldest go first when there are too many."""
    found = known.get(digest)
    if found is None:
        found = known[digest] = make()
        while len(known) > 256:
            known.popitem(last=False)
    return found
