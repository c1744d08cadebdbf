"""Submitting to other processes: what does not change is put away once, the rest travels as a small parcel per run."""

from __future__ import annotations

import hashlib
import math
import pickle
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from prefect.client.schemas.objects import TaskRun
from prefect.context import (
    FlowRunContext,
    SettingsContext,
    TagsContext,
    TaskRunContext,
)
from prefect.futures import PrefectFuture, PrefectFutureList, resolve_futures_to_states
from prefect.tasks import Task

from prefect_anyrunner._base.errors import CannotTravel, EngineUnreachable
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.requests import LARGE, _assets, _serialize_context, _without_unpicklable, size_hint
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._driver.tracked_runner import TrackedRunner
from prefect_anyrunner._prefect.models import differences
from prefect_anyrunner._serialization.values import dumps
from prefect_anyrunner._worker.contexts import dump_context
from prefect_anyrunner._worker.messages import RunRequest


class RemoteRunner(TrackedRunner):
    """A tracked runner whose workers are other processes."""

    _both_sides: tuple[str, ...] = ()
    """Modules of the engine whose release must be the same on workers."""

    def _put_away(self, digest: str, data: bytes) -> None:
        """Keep `data` where every worker of this run can fetch it by `digest`."""
        raise NotImplementedError

    def _drop(self, digests: list[str]) -> None:
        """Let go of what was put away under `digests`: no run that has not ended needs it."""
        raise NotImplementedError

    def _reset_tracking(self) -> None:
        super()._reset_tracking()
        self._users: dict[str, float] = {}
        self._users_lock = threading.Lock()
        self._put_lock = threading.Lock()
        self._contexts: dict[tuple[int, int], tuple[str, Any, Any]] = {}
        self._likes: dict[str, tuple[str, TaskRun]] = {}

    def _keep(self, data: bytes, users: float = math.inf) -> str:
        """Put `data` away, once; it stays until it has been let go as often as it has users."""
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        # Two locks: the thread that ends a run, which takes the other one, may be the one that the engine puts with.
        with self._put_lock:
            with self._users_lock:
                known = digest in self._users
                if known:
                    self._users[digest] += users
            if not known:
                self._put_away(digest, data)
                with self._users_lock:
                    self._users[digest] = users
        return digest

    def _let_go(self, digests: list[str]) -> None:
        with self._users_lock:
            unused = []
            for digest in digests:
                self._users[digest] -= 1
                if not self._users[digest]:
                    del self._users[digest]
                    unused.append(digest)
            try:
                if unused:
                    self._drop(unused)
            except Exception:  # a run has ended all the same; the end of the flow lets go of everything
                self.logger.exception("A large argument could not be let go.")

    def map(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
    ) -> PrefectFutureList[AnyFuture[Any]]:
        """Submit one run for each element; see `TrackedRunner.map`."""
        outer, self._bulk.held = getattr(self._bulk, "held", None), []
        try:
            return super().map(task, parameters, wait_for)
        finally:
            held, self._bulk.held = self._bulk.held, outer
            self._let_go(held)

    def _release(self, run: Run) -> None:
        digests = []
        with suppress(KeyError):  # until it is empty: what is added meanwhile belongs to `_prepare`
            while True:
                digests.append(run.shared.popitem()[1])
        self._let_go(digests)

    def _prepare(self, run: Run) -> bool:
        try:
            run.parcel = run.context.run(self._pack, run)
        except CannotTravel as exc:
            self.end_failed(run, exc)
            return False
        except EngineUnreachable as exc:
            self._end_crashed(run, str(exc), exc)
            return False
        finally:
            if run.phase is Phase.ENDED:  # another thread has cancelled it while it was packed
                self._release(run)
        return True

    def _pack(self, run: Run) -> RunRequest:
        bulk = self._bulk.kept if getattr(self._bulk, "runs", None) is not None else {}
        parameters: Any = resolve_futures_to_states(run.parameters) if run.upstreams else run.parameters
        held: list[str] | None = getattr(self._bulk, "held", None)
        small: dict[str, Any] = {}
        for name, value in parameters.items():
            if size_hint(value) < LARGE:
                small[name] = value
                continue
            if id(value) in bulk:  # within one map the same object is the same bytes; between two it may have changed
                run.shared[name] = bulk[id(value)][0]
                with self._users_lock:
                    self._users[run.shared[name]] += 1
                continue
            data = dumps(value, what=f"argument {name!r} of task {run.task.name!r}")
            run.shared[name] = self._keep(data, users=1 if held is None else 2)
            bulk[id(value)] = (run.shared[name], value)
            if held is not None:  # for the runs of this map that are still to come
                held.append(run.shared[name])
        if id(run.task) not in bulk:  # a task may be edited between two submits, so it is looked at each time
            bulk[id(run.task)] = (self._keep(dumps(run.task, what=f"task {run.task.name!r}")), run.task)
        task = bulk[id(run.task)][0]
        if task not in self._likes:
            whole = pickle.dumps(run.task_run)
            self._likes[task] = self._keep(whole), pickle.loads(whole)  # a copy: the run itself goes on
        digest, like = self._likes[task]
        return RunRequest(
            claim=run.claim,
            context=self._context(),
            task=task,
            like=digest,
            task_run=pickle.dumps(differences(run.task_run, like) or run.task_run, pickle.HIGHEST_PROTOCOL),
            arguments=self._arguments(run, small),
            shared=dict(run.shared),
            extras=self._extras(run),
        )

    def _arguments(self, run: Run, arguments: dict[str, Any]) -> bytes:
        try:
            return dumps(arguments, what=f"the arguments of task {run.task.name!r}")
        except CannotTravel:
            for name, value in arguments.items():  # once more, one by one, to name the guilty
                dumps(value, what=f"argument {name!r} of task {run.task.name!r}")
            raise

    def _context(self) -> str:
        """Return the digest of what stays the same while neither the flow run nor the settings change."""
        flow, settings = FlowRunContext.get(), SettingsContext.get()
        known = self._contexts.get((id(flow), id(settings)))
        if known is None:
            context = dump_context(_serialize_context(flow, settings), self._both_sides)
            known = self._keep(context), flow, settings  # kept alive, so that ids stay theirs
            self._contexts[id(flow), id(settings)] = known
        return known[0]

    def _extras(self, run: Run) -> bytes:
        """Return what may differ between two submits: tags, parent task run, assets (rule X1)."""
        extras: dict[str, Any] = {}
        tags = TagsContext.get()
        if tags is not None and tags.current_tags:
            extras["tags_context"] = {"current_tags": set(tags.current_tags)}
        if (parent := TaskRunContext.get()) is not None:
            extras["task_run_context"] = _without_unpicklable(parent.serialize(), "parameters")
        if (assets := _assets(run)) is not None:
            extras["asset_context"] = assets
        return dumps(extras, what=f"the context of task {run.task.name!r}") if extras else b""
