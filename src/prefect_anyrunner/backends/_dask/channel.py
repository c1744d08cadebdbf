"""Runs on their way to Dask workers, and their results on the way back."""

from __future__ import annotations

import pickle
import queue
import threading
from contextlib import suppress
from typing import Any
from uuid import UUID

import distributed
from dask.utils import format_bytes
from prefect.exceptions import MissingResult

from prefect_anyrunner._base.claims import REVOKED
from prefect_anyrunner._base.errors import EngineUnreachable, VersionSkew
from prefect_anyrunner._base.versions import OURS, running
from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.batching import Batcher
from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._driver.tracked_runner import TrackedRunner
from prefect_anyrunner._worker.interrupt import interrupt
from prefect_anyrunner._worker.messages import RunResult
from prefect_anyrunner.backends._dask.entry import run_on_worker
from prefect_anyrunner.backends._dask.private import call_on_workers
from prefect_anyrunner.backends._dask.scheduler import PLUGIN_NAME, AnyrunnerPlugin

_FETCH_SECONDS = 300.0
"""Seconds to wait for a result that a worker kept."""
_MOST_AT_ONCE = 2000
"""Maximum number of runs that are sent in one message."""


class DaskChannel:
    """The connection of one started runner to a Dask scheduler, with one thread that sends and one that collects."""

    def __init__(self, runner: TrackedRunner, client: Any) -> None:
        self._runner = runner
        self._client = client
        self._address = client.scheduler.address  # a client that is closed has none
        self._closed = False
        self._forgotten = False  # whether the scheduler no longer knows this runner
        self._batcher = Batcher()
        self._claims_lock = threading.Lock()
        self._sending = threading.Lock()
        self._outbox: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.register_plugin(AnyrunnerPlugin(), name=PLUGIN_NAME)
        self._topic = f"anyrunner-{id(self)}-{client.id}"
        self.ask("open_topic", client=client.id)
        client.subscribe_topic(self._topic, self._on_event)
        self._threads = [
            threading.Thread(target=target, name=f"anyrunner-dask-{name}", daemon=True)
            for name, target in (("send", self._send_from_outbox), ("collect", self._collect_from_inbox))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads and drop what the scheduler keeps; every run has ended."""
        self._outbox.put(None)
        self._inbox.put(None)
        for thread in self._threads:
            thread.join()
        if self.is_connected() and not self._closed:  # a signal may have ended the first call
            self._closed = True
            self._client.unsubscribe_topic(self._topic)
            with suppress(EngineUnreachable):  # then nothing is kept any more
                self.ask("close_topic")

    def is_connected(self) -> bool:
        """Return whether the client is connected to a scheduler that knows this runner."""
        return bool(self._client.status == "running") and not self._forgotten

    def connection_lost(self) -> str:
        """Return the sentence about a connection that was lost, or about a scheduler that does not know this runner."""
        if self._forgotten:
            return (
                f"the Dask scheduler at {self._address} no longer knows this flow run: it was restarted, or was out of "
                "reach for too long"
            )
        return f"the connection to the Dask scheduler at {self._address} was lost"

    def ask(self, operation: str, **message: Any) -> Any:
        """Call an operation of our plugin on the scheduler.

        Raises EngineUnreachable when the scheduler is gone, or does not know this runner any more.
        """
        client = self._client
        if not self.is_connected():  # Dask would try for half a minute, each time
            raise EngineUnreachable(self.connection_lost(), address=self._address)
        try:
            answer = client.sync(getattr(client.scheduler, f"anyrunner_{operation}"), topic=self._topic, **message)
        except OSError as exc:
            raise EngineUnreachable(self.connection_lost(), address=self._address) from exc
        if answer is None:  # the client connects by itself to a scheduler that was started in the place of another one
            self._forgotten = True
            raise EngineUnreachable(self.connection_lost(), address=self._address)
        return answer

    # --- blobs ---------------------------------------------------------------------------------------------------

    def store_blob(self, digest: str, data: bytes) -> None:
        """Keep `data` on the scheduler, where every worker can fetch it."""
        self.ask("store", digest=digest, data=data)

    def delete_blobs(self, digests: list[str]) -> None:
        """Drop bytes that no run needs any more."""
        with suppress(EngineUnreachable):  # then all of them are gone
            self.ask("delete", digests=digests)

    # --- sending -------------------------------------------------------------------------------------------------

    def send(self, runs: list[Run]) -> None:
        """Have runs sent by the sending thread."""
        for run in runs:
            self._outbox.put(run)

    def _send_from_outbox(self) -> None:
        while (first := self._outbox.get()) is not None:
            runs = [first]
            while not self._outbox.empty() and len(runs) < _MOST_AT_ONCE:
                more = self._outbox.get()
                if more is None:
                    self._outbox.put(None)
                    break
                runs.append(more)
            with self._claims_lock:
                sendings = self._runner.ledger.send(runs)
            self._send(sendings)

    def _send(self, sendings: list[Sending], *, unbatched: bool = False) -> None:
        if not sendings:
            return
        try:
            if not self.is_connected():
                raise EngineUnreachable(self.connection_lost())
            alone = [[sending] for sending in sendings]
            self._submit(alone if unbatched else self._batcher.split(sendings, self._count_threads))
        except BaseException as exc:
            why = f"it could not be sent to the scheduler: {exc!r}"
            for run, _, _ in sendings:
                if run.handle is None:
                    self._runner.on_unsent(run, why, exc)
                else:  # Dask has it
                    self._on_lost(run, why, cause=exc)

    def _submit(self, batches: list[list[Sending]]) -> None:
        keys = [f"{batch[0].run.task.name}-{batch[0].claim}" for batch in batches]
        work = [
            (self._topic, key, *(tuple(request or ()) for _, _, request in batch))
            for key, batch in zip(keys, batches, strict=True)
        ]
        with self._sending:
            futures = self._client.map(run_on_worker, work, key=keys, pure=False, retries=0, batch_size=len(keys))
            for batch, future in zip(batches, futures, strict=True):
                for run, claim, _ in batch:
                    if _is_sent(run, claim):  # else it was cancelled meanwhile, or sent again
                        run.handle = future
        for batch, future in zip(batches, futures, strict=True):
            runs = [(run, claim) for run, claim, _ in batch]
            future.add_done_callback(lambda done, runs=runs: self._inbox.put((runs, done)))

    def _count_threads(self) -> int:
        return sum(self._client.ncores().values())

    # --- collecting ----------------------------------------------------------------------------------------------

    def _on_event(self, event: Any) -> None:
        # The client calls this in its event loop, where nothing may wait: the collecting thread does the work.
        for each in event[1]:
            self._inbox.put(each)

    def _collect_from_inbox(self) -> None:
        while (first := self._inbox.get()) is not None:
            if isinstance(first, dict):
                self._take_in(first)
                continue
            runs, future = first
            for run, claim in runs:
                try:
                    self._on_key_done(run, claim, future)
                except EngineUnreachable as exc:
                    self._runner.on_engine_lost(str(exc), exc)
                except BaseException as exc:
                    self._on_lost(run, f"its result could not be collected: {exc!r}", cause=exc)
            # These are the last references: as long as one exists, Dask would compute a result that it loses again.
            del first, runs, run, future

    def _take_in(self, event: dict[str, Any]) -> None:
        if "result" in event:
            self._on_result(event["claim"], event["result"])
        elif "withdrawn" in event:
            self._on_withdrawn(set(event["withdrawn"]))
        else:
            self._on_worker_died(event["worker"], set(event["claims"]), event["memory"])

    def _on_result(self, claim: str, packed: bytes) -> None:
        run = self._runner.ledger.get(UUID(claim.partition(".")[0]))
        if run is None or not _is_sent(run, claim):
            return
        try:
            result: RunResult = pickle.loads(packed)
            if (future := self._dask_future_of(run)) is None:  # it has ended
                return
            self._batcher.note(run, result)
            self._runner.on_result(run, result, FetchKeptResult(future, run.id))
        except BaseException as exc:
            self._on_lost(run, f"its result could not be read: {exc!r}", cause=exc)

    def _on_withdrawn(self, claims: set[str]) -> None:
        """Send each run by itself that a worker returned because its batch took too long."""
        # Under new claims: the scheduler has revoked these, because Dask may yet run the whole batch on another worker.
        ledger = self._runner.ledger
        with self._claims_lock:
            returned = [run for run in ledger.claimed_by(claims) if ledger.send_again(run, counts_as_rerun=False)]
            sendings = ledger.send(returned)
        self._send(sendings, unbatched=True)

    def _on_worker_died(self, worker: str, claims: set[str], memory: int | None) -> None:
        why = f"its Dask worker {worker} died while it ran"
        if memory is not None:
            why = (
                f"its Dask worker {worker} was ended because memory ran out: it used {format_bytes(memory)}, near its "
                "memory_limit"
            )
        for run in self._runner.ledger.claimed_by(claims):
            self._on_lost(run, why)

    def _on_key_done(self, run: Run, claim: str, future: Any) -> None:
        """End a run whose key is done without a result, because a result would have come first."""
        if not _is_sent(run, claim) or run.handle is not future:
            return
        if future.status == "cancelled":  # we cancel none: Dask cancels all when it loses the scheduler
            self._runner.end(run, ends.crashed(run, self.connection_lost()))
            return
        claimed = self.ask("claimed", claims=[claim])
        if claimed.get(claim) == REVOKED:
            self._runner.end(run, ends.cancelled(ends.NOT_STARTED))
            return
        error = _error_of(future)
        if claimed or error is None or isinstance(error, distributed.KilledWorker):
            self._on_lost(run, "its Dask worker was lost while it ran", started=bool(claimed), cause=error)
            return
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in OURS:
            lacking = str(error.name).partition(".")[0].replace("_", "-")
            error = VersionSkew("A Dask worker", [(lacking, None, running()[lacking])])
        self._runner.end(run, ends.crashed(run, f"its Dask worker could not begin it: {error}", error))

    def _on_lost(self, run: Run, why: str, *, started: bool = True, cause: BaseException | None = None) -> None:
        self._runner.on_worker_lost(run, why, started=started, cause=cause)

    def _dask_future_of(self, run: Run) -> Any:
        """Return the Dask future that carries `run`; None once the run has ended."""
        if run.handle is None:  # the message about it was faster than the thread that sends it
            with self._sending:
                pass
        return run.handle

    # --- stopping ------------------------------------------------------------------------------------------------

    def revoke(self, runs: list[Run]) -> list[bool]:
        """Make sure that runs never start; return for each whether that came in time."""
        try:
            with self._claims_lock:  # their workers may return runs now, to be sent under other claims
                claims = [run.claim for run in runs]
                revoked = set(self.ask("revoke", claims=claims))
                in_time = [claim in revoked for claim in claims]
                for run, never_starts in zip(runs, in_time, strict=True):
                    run.revoked = run.revoked or never_starts
        except EngineUnreachable as exc:
            self._runner.on_engine_lost(str(exc), exc)
            return [False] * len(runs)
        return in_time

    def interrupt(self, run: Run) -> None:
        """Ask the worker that runs a body to stop it."""
        try:
            owner = self.ask("claimed", claims=[run.claim]).get(run.claim)
        except EngineUnreachable as exc:
            self._runner.on_engine_lost(str(exc), exc)
            return
        if owner is not None:  # without waiting for an answer: a worker that is about to die answers late, or never
            call_on_workers(self._client, interrupt, run.claim, workers=[owner])


def _is_sent(run: Run, claim: str) -> bool:
    """Return whether `run` is with Dask under `claim`; other messages come from executions that have been abandoned."""
    return run.phase is Phase.SENT and run.claim == claim


def _error_of(future: Any) -> BaseException | None:
    if future.status != "error":
        return None
    error = future.exception(timeout=10)
    return error if isinstance(error, BaseException) else None


class FetchKeptResult:
    """Fetches a result that stayed on its worker; holds the Dask future, without which Dask would drop the result."""

    def __init__(self, future: Any, task_run_id: UUID) -> None:
        self._future = future
        self._task_run_id = task_run_id

    def __call__(self) -> bytes:
        """Return the bytes. Raises TimeoutError, or MissingResult if they were lost with their worker."""
        data: Any = None
        problem: Exception | None = None
        try:
            data = self._future.result(timeout=_FETCH_SECONDS)
        except TimeoutError as exc:
            raise TimeoutError(
                f"The result of task run {self._task_run_id} did not arrive within {_FETCH_SECONDS:g} seconds from the "
                "Dask worker that keeps it."
            ) from exc
        except Exception as exc:
            problem = exc
        if not isinstance(data, bytes):  # Dask asked for it to be computed again, which no worker does (rule C3)
            raise MissingResult(
                f"The result of task run {self._task_run_id} was lost with the Dask worker that kept it."
            ) from problem
        return data
