"""Processes of this machine: pebble's pool, which can lose or stop one worker without losing the others."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import pebble
import prefect.task_runners
from prefect.client.schemas.objects import RunInput
from prefect.task_runners import TaskRunner

from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.remote_runner import RemoteRunner
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._worker.contexts import current_worker
from prefect_anyrunner._worker.messages import RunResult
from prefect_anyrunner.backends._process.claims import _make
from prefect_anyrunner.backends._process.pool import CannotStart, Pool
from prefect_anyrunner.backends._process.worker import _run_here, _start_worker
from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner


class ProcessPoolTaskRunner(RemoteRunner, prefect.task_runners.ProcessPoolTaskRunner):  # type: ignore[misc]  # one future for all
    """Runs tasks in processes of this machine, at most `max_workers` at a time.

    A drop-in for Prefect's class of the same name. A process that dies takes only the run it was running (rule C2);
    `rerun_lost=N` has such a run executed again up to N times (rule C4). Tasks that a task submits run in threads of
    that task's process (rule N1).
    """

    def __init__(
        self,
        max_workers: int | None = None,
        subprocess_message_processor_factories: Any = None,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        rerun_lost: int = 0,
    ) -> None:
        super().__init__(max_workers, subprocess_message_processor_factories, initializer, initargs)
        self.rerun_lost = rerun_lost
        self._pool: Pool | None = None
        self._pool_lock = threading.Lock()
        self._retiring: list[threading.Thread] = []
        self._folder: Path | None = None
        self._inner: ThreadPoolTaskRunner | None = None
        self._reset_tracking()

    @property
    def name(self) -> str:
        """The backend's name, as the stock class has it."""
        return "processpool"

    def _settings(self) -> dict[str, Any]:
        return {
            "max_workers": self._max_workers,
            "subprocess_message_processor_factories": self.subprocess_message_processor_factories or None,
            "initializer": self._initializer,
            "initargs": self._initargs,
            "rerun_lost": self.rerun_lost,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProcessPoolTaskRunner) and self._settings() == other._settings()

    __hash__ = None  # type: ignore[assignment]  # as in Prefect: equal by settings, so not hashable

    def __getstate__(self) -> dict[str, Any]:
        return self._settings()

    def __setstate__(self, state: dict[str, Any]) -> None:
        ProcessPoolTaskRunner.__init__(self, **state)

    def __enter__(self) -> Self:
        if current_worker() is not None:
            TaskRunner.__enter__(self)
            self._inner = ThreadPoolTaskRunner(self._max_workers).__enter__()
            return self
        super().__enter__()
        self._reset_tracking()
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if self._inner is not None:
            self._inner.__exit__(exc_type, exc_value, traceback)
            self._inner = None
            TaskRunner.__exit__(self, exc_type, exc_value, traceback)
            return
        try:
            self._finish(exc_type)
        finally:
            with self._pool_lock:
                pool, self._pool = self._pool, None
            if pool is not None:
                pool.end()
            for retiring in self._retiring:
                retiring.join()
            self._retiring.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
            super().__exit__(exc_type, exc_value, traceback)

    def submit(  # type: ignore[override]  # Prefect's overloads differ in the future's class only
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Any = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> AnyFuture[Any]:
        """Submit one task run; see `TrackedRunner.submit`."""
        if self._inner is not None:
            return self._inner.submit(task, parameters, wait_for, dependencies)
        if self._started:
            self._start_pool()  # workers come up while the first parcels are packed
        return super().submit(task, parameters, wait_for, dependencies)

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """Free the worker that the calling thread holds while it waits (rule N1)."""
        yield

    def finish_children(self, *, stop: bool) -> None:
        """Wait until every run that was submitted here has ended; see `TrackedRunner.finish_children`."""
        if self._inner is not None:
            self._inner.finish_children(stop=stop)

    # --- the pool ------------------------------------------------------------------------------------------------

    def _start_pool(self) -> Pool:
        with self._pool_lock:
            return self._pool_now()

    def _pool_now(self) -> Pool:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="anyrunner-"))
            (self._folder / "kept").mkdir()
            (self._folder / "claims").mkdir()
        if self._pool is None or not self._pool.active:
            # Messages go through the parent only where somebody wants to see them: a worker that is killed while it
            # writes to the shared queue would keep the lock of it, and silence all others.
            messages = self._subprocess_message_queue if self.subprocess_message_processor_factories else None
            self._pool = Pool(
                broken=self._pool_broke,
                max_workers=self._max_workers,
                initializer=_start_worker,
                initargs=(str(self._folder), messages, self._initializer, self._initargs),
                context=multiprocessing.get_context("spawn"),
            )
            _ = self._pool.active  # starts it
        return self._pool

    def _put_away(self, digest: str, data: bytes) -> None:
        assert self._folder is not None
        partial = self._folder / "kept" / f"{digest}.part"
        partial.write_bytes(data)
        partial.rename(partial.with_suffix(""))

    def _drop(self, digests: list[str]) -> None:
        assert self._folder is not None
        for digest in digests:
            (self._folder / "kept" / digest).unlink(missing_ok=True)

    def _dispatch(self, runs: list[Run]) -> None:
        for run in runs:
            parcel = run.parcel
            if parcel is None:  # it was cancelled meanwhile
                continue
            claim = run.claim
            with self._pool_lock:  # a pool that is given up gets no more runs, so that none is forgotten with it
                try:
                    pool = self._pool_now()
                    future = pool.schedule(_run_here, args=(parcel._replace(claim=claim),))
                except RuntimeError:  # the pool broke between two lines: the next one is new
                    pool = self._pool_now()
                    future = pool.schedule(_run_here, args=(parcel._replace(claim=claim),))
                run.engine = _Sent(pool, future)
            future.add_done_callback(partial(self._engine_done, run, claim))

    def _engine_done(self, run: Run, claim: str, future: Any) -> None:
        if claim != run.claim:  # word of an execution that was given up before
            return
        try:
            packed: RunResult = future.result()
        except CannotStart as exc:
            self._end_crashed(run, str(exc), exc)
        except (CancelledError, pebble.ProcessExpired, BrokenProcessPool) as exc:
            # A worker that outlives its pool may still read the parcel: from here on it refuses it.
            self.lost(run, _death(exc), started=not self._withdraw(claim), cause=exc)
        except Exception as exc:
            self._withdraw(claim)
            self.lost(run, f"its process could not run it: {exc!r}", started=True, cause=exc)
        else:
            self.arrived(run, packed)
            self._forget(claim)

    def _pool_broke(self, pool: Pool) -> None:
        # Called in a thread of the pool, which cannot wait for its own end.
        retiring = threading.Thread(target=self._retire, args=(pool,), name="anyrunner-process-retire", daemon=True)
        self._retiring.append(retiring)
        retiring.start()

    def _retire(self, pool: Pool) -> None:
        """Stop a pool that broke, and tell the runs that it had not even taken in."""
        with self._pool_lock:
            if self._pool is pool:
                self._pool = None
        pool.end()
        with self._runs_lock:
            sent = [run.engine for run in self._runs.values() if isinstance(run.engine, _Sent)]
        for engine in sent:
            if engine.pool is pool and not engine.future.done():
                engine.future.set_exception(BrokenProcessPool("The pool broke before it took it in."))

    # --- claims: the first to make the file wins -----------------------------------------------------------------

    def _withdraw(self, claim: str) -> bool:
        """Make sure that no worker begins under `claim` any more; False if one already has."""
        return self._folder is not None and _make(self._folder / "claims" / claim, "revoked")

    def _forget(self, claim: str) -> None:
        if self._folder is not None:
            (self._folder / "claims" / claim).unlink(missing_ok=True)

    def _revoke(self, runs: list[Run]) -> list[bool]:
        return [self._withdraw(run.claim) for run in runs]

    def _interrupt(self, run: Run) -> None:
        engine = run.engine
        if engine is not None:
            engine.future.cancel()  # pebble stops the worker


class _Sent(NamedTuple):
    """What is known of a run that was given to a pool."""

    pool: Pool
    future: Any


def _death(exc: BaseException) -> str:
    code = getattr(exc, "exitcode", None)
    if code is None:
        return "its process was lost while it ran"
    if code < 0:
        return f"its process was killed by signal {-code} while it ran"
    return f"its process ended with exit code {code} while it ran"


def build(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `process://` spec."""
    return ProcessPoolTaskRunner(**options)
