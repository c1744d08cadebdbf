"""Processes of this machine: pebble's pool, which can lose or stop one worker without losing the others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Unpack

import pebble
import prefect.task_runners
from prefect.task_runners import TaskRunner

from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.map_scope import MapScope
from prefect_anyrunner._driver.modules import module_without_spec, pickled_by_value
from prefect_anyrunner._driver.remote_runner import RemoteRunner
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._driver.shared_settings import SHARED_SETTINGS, SharedArguments
from prefect_anyrunner._driver.stop_limit import signals_held_back
from prefect_anyrunner._serialization.values import dumps
from prefect_anyrunner._worker.contexts import current_worker
from prefect_anyrunner._worker.messages import RunRequest
from prefect_anyrunner.backends._process.claims import ClaimFolder
from prefect_anyrunner.backends._process.pool import CannotStart, Pool
from prefect_anyrunner.backends._process.worker import run_here, start_worker
from prefect_anyrunner.backends._thread.body import run_body
from prefect_anyrunner.backends._thread.engine import ThreadEngine
from prefect_anyrunner.backends._worker_process import POOL_CONTEXT, refuse_in_import_of_script


class ProcessPoolTaskRunner(RemoteRunner, prefect.task_runners.ProcessPoolTaskRunner):  # type: ignore[misc]  # one future for all
    """A task runner in processes of this machine, which runs at most `max_workers` tasks at a time.

    It is a drop-in for Prefect's class of the same name. A process that dies takes only its own run with it (rule C2);
    `rerun_lost=N` has such a run executed again up to N times (rule C4). Tasks that a task submits run in threads of
    that task's process (rule N1).
    """

    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "max_workers": "_max_workers",
            "subprocess_message_processor_factories": "_given_factories",
            "initializer": "_initializer",
            "initargs": "_initargs",
            "rerun_lost": "rerun_lost",
            **SHARED_SETTINGS,
        }
    )
    sends_environment = True

    def __init__(
        self,
        max_workers: int | None = None,
        subprocess_message_processor_factories: Any = None,
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        rerun_lost: int = 0,
        **shared: Unpack[SharedArguments],
    ) -> None:
        super().__init__(max_workers, subprocess_message_processor_factories, initializer, initargs)
        self.rerun_lost = rerun_lost
        self.use_shared(**shared)
        self._pool: Pool | None = None
        self._pool_lock = threading.Lock()
        self._retiring: list[threading.Thread] = []
        self._folder: ClaimFolder | None = None
        self._threads: ThreadEngine | None = None  # in a task of this runner
        self._modules = ExitStack()  # modules that travel by value while the runner is started

    @property
    def name(self) -> str:
        """The backend's name, as the stock class has it."""
        return "processpool"

    @property
    def _given_factories(self) -> Any:
        return self.subprocess_message_processor_factories or None

    # --- start and stop ------------------------------------------------------------------------------------------

    def start_engine(self) -> None:
        """Start threads if a task starts the runner; otherwise the pool starts with the first submit."""
        if current_worker() is not None:
            TaskRunner.__enter__(self)
            self._threads = ThreadEngine(self, self._max_workers, partial(run_body, self))
            return
        refuse_in_import_of_script()
        super().start_engine()
        self._folder = ClaimFolder.create()

    def stop_engine(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Stop the threads, or the pool and its workers."""
        if self._threads is not None:
            self._threads.stop()
            self._threads = None
            TaskRunner.__exit__(self, exc_type, exc_value, traceback)
            return
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None and (unsent := pool.end()):
            self.logger.warning("%d worker processes ended before the API had all their logs and events.", unsent)
        for retiring in self._retiring:
            retiring.join()
        self._retiring.clear()
        self._modules.close()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None
        super().stop_engine(exc_type, exc_value, traceback)

    # --- hooks ---------------------------------------------------------------------------------------------------

    def before_submit(self) -> None:
        """Start the pool, so that workers start while the first requests are built."""
        if self._threads is None:
            with self._pool_lock:
                if self._pool is None:
                    self._modules.enter_context(pickled_by_value(module_without_spec()))
                self._current_pool()

    def prepare(self, run: Run, scope: MapScope | None) -> bool:
        """Build the request of `run`, unless it runs in a thread of this process."""
        return True if self._threads is not None else super().prepare(run, scope)

    def dispatch(self, runs: list[Run]) -> None:
        """Give runs to the pool, or to the threads of this task."""
        if self._threads is not None:
            self._threads.dispatch(runs)
            return
        for sending in self.ledger.send(runs):
            try:
                self._schedule(sending)
            except Exception as exc:  # nothing else would end this run, and the runs behind it
                self.on_unsent(sending.run, f"it could not be given to a process: {described(exc)}", exc)

    def revoke(self, runs: list[Run]) -> list[bool]:
        """Make sure that runs that were sent never start; a run that a thread has taken has started."""
        if self._folder is None:
            return [False] * len(runs)
        # The claim of a run that has ended meanwhile may be forgotten, and then it can be revoked.
        return [self._never_starts(run, run.claim) and run.phase is not Phase.ENDED for run in runs]

    def interrupt(self, run: Run) -> None:
        """Ask a running body to stop: pebble ends the worker process that runs it."""
        if self._threads is not None:
            self._threads.interrupt(run)
        elif (handle := run.handle) is not None:
            handle.future.cancel()

    def workers(self) -> str:
        """Return the number of processes, one of which has started."""
        with self._pool_lock:
            answer = self._current_pool().schedule(os.getpid)
        answer.result()
        return f"{self._max_workers} processes, of one thread each"

    def release_worker(self) -> AbstractContextManager[None]:
        """Free the thread that the calling task holds while it waits (rule N1); a process has one run at a time."""
        return self._threads.release_worker() if self._threads is not None else nullcontext()

    def store_blob(self, digest: str, data: bytes) -> None:
        """Keep `data` in the folder that the workers share."""
        self._shared_folder().store(digest, data)

    def delete_blobs(self, digests: list[str]) -> None:
        """Drop bytes from the folder."""
        self._shared_folder().delete(digests)

    def _shared_folder(self) -> ClaimFolder:
        assert self._folder is not None, "the runner is not started"
        return self._folder

    # --- the pool ------------------------------------------------------------------------------------------------

    def _current_pool(self) -> Pool:
        if self._pool is None or not self._pool.active:
            # Messages go through this process only if somebody wants to see them, because a worker that is killed while
            # it writes to the shared queue would keep the queue's lock, and silence all others.
            messages = self._subprocess_message_queue if self.subprocess_message_processor_factories else None
            self._pool = Pool(
                broken=self._on_pool_broken,
                max_workers=self._max_workers,
                initializer=start_worker,
                initargs=(os.getpid(), self._shared_folder().path, messages, self._packed_initializer()),
                context=POOL_CONTEXT,
            )
            with signals_held_back():
                self._pool.begin()
        return self._pool

    def _packed_initializer(self) -> bytes | None:
        if self._initializer is None:
            return None
        # As bytes, so that functions and classes of the script travel to a new process as they do with a task.
        return dumps((self._initializer, self._initargs), what="the initializer of the process pool")

    def _schedule(self, sending: Sending) -> None:
        run, claim, request = sending
        assert request is not None
        with self._pool_lock:  # a pool that is given up gets no more runs, so that none is forgotten with it
            pool = self._current_pool()
            try:
                handle = _scheduled(pool, request)
            except RuntimeError:  # the pool broke since: the next one is new
                handle = _scheduled(self._current_pool(), request)
            run.handle = handle
        handle.future.add_done_callback(partial(self._on_done, run, claim))

    def _on_done(self, run: Run, claim: str, future: Any) -> None:
        if claim != run.claim:  # a message from an execution that has been abandoned
            return
        try:
            result = future.result()
        except CannotStart as exc:
            self.end(run, ends.crashed(run, str(exc), exc))
        except (CancelledError, pebble.ProcessExpired, BrokenProcessPool) as exc:
            # A worker that outlives its pool may still read the request: from here on it refuses the run.
            self.on_worker_lost(run, _how_it_died(exc), started=not self._never_starts(run, claim), cause=exc)
        except Exception as exc:
            self._never_starts(run, claim)
            self.on_worker_lost(run, f"its process could not run it: {exc!r}", started=True, cause=exc)
        else:
            self.on_result(run, result)
            self._shared_folder().forget(claim)

    def _never_starts(self, run: Run, claim: str) -> bool:
        """Make sure that no worker starts `run` under `claim`; return False if one has, or if nobody can know."""
        try:
            return self._shared_folder().revoke(claim)
        except OSError as exc:  # no space, no free descriptor, or somebody has deleted the folder
            self.logger.warning("Could not find out whether task run %r has started: %s", run.task_run.name, exc)
            return False

    def _on_pool_broken(self, pool: Pool) -> None:
        # A thread of the pool calls this, and cannot wait for the pool's own end.
        retiring = threading.Thread(target=self._retire, args=(pool,), name="anyrunner-process-retire", daemon=True)
        self._retiring.append(retiring)
        retiring.start()

    def _retire(self, pool: Pool) -> None:
        """Stop a pool that broke, and end the futures of runs that it had not even accepted."""
        with self._pool_lock:
            if self._pool is pool:
                self._pool = None
        pool.end()
        for run in self.ledger.open_runs():
            handle = run.handle
            if handle is not None and handle.pool is pool and not handle.future.done():
                handle.future.set_exception(BrokenProcessPool("The pool broke before it took the run in."))


class _Handle(NamedTuple):
    """The future of a run that a pool has, and that pool."""

    pool: Pool
    future: Any


def _scheduled(pool: Pool, request: RunRequest) -> _Handle:
    return _Handle(pool, pool.schedule(run_here, args=(request,)))


def _how_it_died(exc: BaseException) -> str:
    code = getattr(exc, "exitcode", None)
    if code is None:
        return "its process was lost while it ran"
    if code < 0:
        return f"its process was killed by signal {-code} while it ran"
    return f"its process ended with exit code {code} while it ran"


def build(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `process://` spec."""
    return ProcessPoolTaskRunner(**options)
