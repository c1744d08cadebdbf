"""Turns a submitted run into the request that travels to a worker; parts that do not change are stored as blobs."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from collections import OrderedDict
from typing import Any, NamedTuple, NoReturn, TypeVar

from prefect.client.schemas.objects import State, TaskRun, TaskRunResult
from prefect.context import (
    AssetContext,
    FlowRunContext,
    SettingsContext,
    TagsContext,
    TaskRunContext,
    serialize_context,
)
from prefect.flows import Flow
from prefect.futures import resolve_futures_to_states
from prefect.settings import PREFECT_API_URL, get_current_settings
from prefect.tasks import MaterializingTask, Task

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._driver.blobs import BlobStore, Digest
from prefect_anyrunner._driver.map_scope import MapScope
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._prefect.models import differences
from prefect_anyrunner._prefect.states import data_of
from prefect_anyrunner._serialization.values import dumps
from prefect_anyrunner._worker.contexts import ENVIRONMENT, dump_context
from prefect_anyrunner._worker.messages import RunRequest
from prefect_anyrunner._worker.sent_task import CODE

Work = TypeVar("Work", Flow[Any, Any], Task[Any, Any])

LARGE = 2**20
"""Bytes from which an argument is stored separately, so that it reaches each worker once for all tasks."""
_MOST_CODES = 256
"""Maximum number of tasks that stay stored although no open run needs them; a flow may change its task for each run."""
_TASK, _TEMPLATE = "<task>", "<template>"
"""Names of blobs that are no arguments."""


class _Code(NamedTuple):
    """The digests of a task and of a task run of it as a template, and that task run."""

    task: Digest
    template: Digest
    example: TaskRun


class RequestBuilder:
    """Builds the requests of one started runner.

    `both_sides`: modules of the engine whose release must be the same on workers. `environment`: whether bodies get
    the environment variables of this process.
    """

    def __init__(self, blobs: BlobStore, both_sides: tuple[str, ...], environment: bool) -> None:
        self._blobs = blobs
        self._both_sides = both_sides
        self._environment = environment
        self._contexts: dict[tuple[int, int], tuple[Digest, Any, Any]] = {}
        self._codes: OrderedDict[Digest, _Code] = OrderedDict()  # by the digest of the task, the oldest first
        self._lock = threading.Lock()

    def build(self, run: Run, scope: MapScope | None) -> RunRequest:
        """Return the request of `run`, whose claim is set when it is sent. Call it in the run's own context.

        Raises CannotTravel if an argument or the task cannot be pickled.
        """
        shared = scope.shared if scope is not None else {}
        arguments = self._small_arguments(run, scope, shared)
        code = self._code(run, shared)
        return RunRequest(
            claim="",
            context=self._context(),
            task=code.task,
            template=code.template,
            task_run=pickle.dumps(differences(run.task_run, code.example) or run.task_run, pickle.HIGHEST_PROTOCOL),
            arguments=self._dumps_arguments(run, arguments),
            shared={name: digest for name, digest in dict(run.blobs).items() if name in run.parameters},
            context_overrides=self._context_overrides(run),
        )

    def _code(self, run: Run, shared: dict[int, Any]) -> _Code:
        """Store the task of `run` and a template, as long as `run` is open; the latest ones stay for later runs."""
        known = shared.get(id(run.task))
        if known is None or not self._blobs.add_user(known[0]):
            # A task may be edited between two submits, so it is pickled for each.
            known = self._blobs.add(dumps(run.task, what=f"task {run.task.name!r}"), users=1), run.task
            shared[id(run.task)] = known
        task = run.blobs[_TASK] = known[0]
        with self._lock:
            if (code := self._codes.get(task)) is not None:
                self._codes.move_to_end(task)
                self._blobs.add_user(code.template)
        if code is None:
            whole = pickle.dumps(run.task_run)
            code = _Code(task, self._blobs.add(whole, users=1), pickle.loads(whole))  # a copy: the run itself changes
            self._keep(code)
        run.blobs[_TEMPLATE] = code.template
        return code

    def _keep(self, code: _Code) -> None:
        with self._lock:
            if code.task in self._codes:  # another thread was faster
                return
            self._codes[code.task] = code
            self._blobs.add_user(code.task)
            self._blobs.add_user(code.template)
            oldest = self._codes.popitem(last=False)[1] if len(self._codes) > _MOST_CODES else None
        if oldest is not None:
            self._blobs.release([oldest.task, oldest.template])

    def _small_arguments(self, run: Run, scope: MapScope | None, shared: dict[int, Any]) -> dict[str, Any]:
        """Store the large arguments of `run` as blobs; return the others."""
        parameters: Any = resolve_futures_to_states(run.parameters) if run.upstreams else run.parameters
        small: dict[str, Any] = {}
        for name, value in parameters.items():
            if size_hint(value) < LARGE:
                small[name] = value
            elif id(value) in shared and self._blobs.add_user(shared[id(value)][0]):
                run.blobs[name] = shared[id(value)][0]
            else:
                data = dumps(value, what=f"argument {name!r} of task {run.task.name!r}")
                run.blobs[name] = self._blobs.add(data, users=1 if scope is None else 2)
                shared[id(value)] = (run.blobs[name], value)
                if scope is not None:
                    scope.held.append(run.blobs[name])
        return small

    def _dumps_arguments(self, run: Run, arguments: dict[str, Any]) -> bytes:
        try:
            return dumps(arguments, what=f"the arguments of task {run.task.name!r}")
        except CannotTravel:
            for name, value in arguments.items():  # once more, one by one, so that the error names the argument
                dumps(value, what=f"argument {name!r} of task {run.task.name!r}")
            raise

    def _context(self) -> Digest:
        """Return the digest of the context, which is the same while neither the flow run nor the settings change."""
        flow, settings = FlowRunContext.get(), SettingsContext.get()
        known = self._contexts.get((id(flow), id(settings)))
        if known is None:
            serialized = _serialize_context(flow, settings)
            if self._environment:  # as in Prefect's pool: with the settings, but variables set by hand win
                from_settings = get_current_settings().to_environment_variables(exclude_unset=True)
                serialized[ENVIRONMENT] = {**from_settings, **os.environ}
            context = dump_context(serialized, self._both_sides)
            known = self._blobs.add(context), flow, settings  # both are kept alive, so that their ids stay unique
            self._contexts[id(flow), id(settings)] = known
        return known[0]

    def _context_overrides(self, run: Run) -> bytes:
        """Return the context that may differ between two submits: tags, parent task run, assets (rule X1)."""
        overrides: dict[str, Any] = {}
        tags = TagsContext.get()
        if tags is not None and tags.current_tags:
            overrides["tags_context"] = {"current_tags": set(tags.current_tags)}
        if (parent := TaskRunContext.get()) is not None:
            context = _without_unpicklable(parent.serialize(), "parameters")
            overrides["task_run_context"] = {**context, "task": _without_code(parent.task)}
        if (assets := _assets(run)) is not None:
            overrides["asset_context"] = assets
        return dumps(overrides, what=f"the context of task {run.task.name!r}") if overrides else b""


def _assets(run: Run) -> dict[str, Any] | None:
    flow = FlowRunContext.get()
    task = run.task
    tracked = flow.task_run_assets if flow is not None else {}
    inputs = run.task_run.task_inputs
    linked = any(
        isinstance(each, TaskRunResult) and each.id in tracked
        for name, some in inputs.items()
        if name != "__parents__"
        for each in some
    )
    if not (linked or task.asset_deps or isinstance(task, MaterializingTask)):
        return None
    return AssetContext.from_task_and_inputs(
        task=task,
        task_run_id=run.task_run.id,
        task_inputs=inputs,  # type: ignore[arg-type]
        copy_to_child_ctx=True,
    ).serialize()


def _serialize_context(flow: FlowRunContext | None, settings: SettingsContext | None) -> dict[str, Any]:
    serialized = serialize_context()
    # What changes per submit travels with each request.
    serialized.update(task_run_context={}, tags_context={}, asset_context={})
    if flow is not None:
        context = _without_unpicklable(serialized["flow_run_context"], "parameters")
        if flow.flow is not None:
            context["flow"] = _without_code(flow.flow)
        serialized["flow_run_context"] = context
        if settings is not None and settings.settings.api.url is None:
            # Prefect started a server for this process alone: workers must use that one, not each start its own.
            with_url = settings.settings.copy_with_update(updates={PREFECT_API_URL: str(flow.client.api_url)})
            serialized["settings_context"] = SettingsContext(profile=settings.profile, settings=with_url).serialize()
    return serialized


def _without_unpicklable(serialized: dict[str, Any], field: str) -> dict[str, Any]:
    """Return `serialized` without the values of its mapping `field` that cannot be pickled; no task asked for them."""
    kept = dict(serialized.get(field) or {})
    try:
        dumps(kept, what=field)
    except CannotTravel:
        for name, value in [*kept.items()]:
            try:
                dumps(value, what=name)
            except CannotTravel:
                del kept[name]
    return {**serialized, field: kept}


def _without_code(work: Work) -> Work:
    """Return a copy of the flow, or of the parent task, without its code.

    No worker calls that code, so its globals need neither be picklable nor stay as they are. Other attributes that
    cannot be pickled are left out too, except the task runner, because a worker makes its own from it.
    """
    facts = {name: value for name, value in vars(work).items() if name not in CODE}
    facts.update({name: [] for name in facts if name.endswith("_hooks")})
    runner = {"task_runner": facts.pop("task_runner")} if "task_runner" in facts else {}
    twin = copy.copy(work)
    vars(twin).clear()
    vars(twin).update(_without_unpicklable({"facts": facts}, "facts")["facts"], fn=_left_behind, **runner)
    return twin


def _left_behind(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(
        "The function of a flow, or of a task that submits, is not sent to workers: call it by its own name."
    )


def size_hint(value: Any) -> int:
    """Return roughly how many bytes `value` holds, if this is known without computing anything, else 0."""
    if isinstance(value, State):  # of an upstream run, with its result
        value = data_of(value)
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    try:
        size = getattr(value, "nbytes", 0)
    except Exception:  # a property of the user's object: that of a Dask dataframe raises NotImplementedError
        return 0
    return size if isinstance(size, int) else 0
