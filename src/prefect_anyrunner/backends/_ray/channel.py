"""Runs on their way to Ray, and their results on the way back."""

from __future__ import annotations

import pickle
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import ray

from prefect_anyrunner._base.claims import REVOKED
from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.batching import Batcher
from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._driver.tracked_runner import TrackedRunner
from prefect_anyrunner._worker.batch import BATCH_PATIENCE
from prefect_anyrunner._worker.messages import RunResult
from prefect_anyrunner.backends._ray import store
from prefect_anyrunner.backends._ray.batch import RayBatch, by_options
from prefect_anyrunner.backends._ray.losses import how_lost, missing_package
from prefect_anyrunner.backends._ray.worker import run_batch

_POLL_SECONDS = BATCH_PATIENCE
"""Poll interval, in seconds, for updates of batches that take long."""
_RETRY_SECONDS = 10.0
"""Poll interval, in seconds, after a failed poll."""
_MOST_DELETIONS = 1000
"""Number of deletions in Ray's store that may wait until nothing else is to do, because each is a message."""
_UPDATE = "update."


class RayChannel:
    """The runs of one started runner that are with Ray, and a thread that collects their results.

    `is_connected` returns whether Ray is connected, and `lost` returns the sentence about a lost connection. Every key
    that the runner leaves in Ray's key-value store begins with `prefix`.
    """

    def __init__(
        self, runner: TrackedRunner, prefix: str, is_connected: Callable[[], bool], lost: Callable[[], str]
    ) -> None:
        self.used = False
        self._runner = runner
        self._prefix = prefix
        self._is_connected = is_connected
        self._connection_lost = lost
        self._batcher = Batcher()
        self._blobs: dict[str, Any] = {}
        self._functions: dict[tuple[tuple[str, str], ...], Any] = {}
        self._revoked: set[RayBatch] = set()
        self._in_flight: set[RayBatch] = set()
        self._deletions: list[Callable[[], None]] = []  # of claims that nobody needs any more
        self._lock = threading.Lock()
        self._claims_lock = threading.Lock()
        self._inbox: queue.SimpleQueue[tuple[RayBatch, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._collect, name="anyrunner-ray-collect", daemon=True)

    def close(self, timeout: float) -> None:
        """End the thread and delete what was left in Ray's store; every run has ended.

        Claims of revoked runs stay if Ray still has the runs after `timeout` seconds, because a worker may start them.
        """
        if self.used:
            self._inbox.put(None)
            self._thread.join()
            if self._is_connected() and self._revoked_are_done(timeout):
                store.delete_all(self._prefix)

    def check_connected(self) -> None:
        """Raise EngineUnreachable if Ray is gone, because Ray's own functions would start another one here."""
        if not self._is_connected():
            raise EngineUnreachable(self._connection_lost())

    # --- blobs ---------------------------------------------------------------------------------------------------

    def store_blob(self, digest: str, data: bytes) -> None:
        """Put `data` into Ray's object store."""
        self.check_connected()
        try:
            self._blobs[digest] = ray.put(data)
        except ConnectionError as exc:
            raise EngineUnreachable(self._connection_lost()) from exc

    def delete_blobs(self, digests: list[str]) -> None:
        """Drop bytes that no run needs any more."""
        for digest in digests:
            self._blobs.pop(digest, None)

    # --- sending -------------------------------------------------------------------------------------------------

    def send(self, runs: list[Run]) -> None:
        """Give runs to Ray, neighbours with the same remote options together in batches."""
        with self._lock:
            if not self.used:
                self.used = True
                self._thread.start()
        for options, same in by_options(runs):
            # A task that asks for resources of its own is placed by itself.
            unsent = [Sending(run, "", run.request) for run in same if run.request is not None]
            batches = [[one] for one in unsent] if options else self._batcher.split(unsent, self._count_cpus)
            for batch in batches:
                self._send([run for run, _, _ in batch], options)

    def _send(self, runs: list[Run], options: dict[str, Any]) -> None:
        key = f"{runs[0].id.hex}.{runs[0].sends}"
        claims = f"{self._prefix}{key}+" if len(runs) > 1 else self._prefix
        with self._claims_lock:
            sendings = self._runner.ledger.send(runs, claim_prefix=claims)
        if not sendings:
            return
        batch = RayBatch(sendings, claims, f"{self._prefix}{_UPDATE}{key}")
        inbox = self._inbox
        try:
            requests = [request for _, _, request in sendings if request is not None]
            digests = {
                digest
                for request in requests
                for digest in (request.context, request.task, request.template, *request.shared.values())
            }
            blobs = {digest: [self._blobs[digest]] for digest in digests}  # inside a list, Ray leaves a reference alone
            work = pickle.dumps([tuple(request) for request in requests], pickle.HIGHEST_PROTOCOL)
            self.check_connected()
            function = self._function({**options, "name": sendings[0].run.task.name})
            batch.reference = function.remote(batch.update_key, work, blobs)
            self._in_flight.add(batch)
            for run, claim, _ in sendings:
                run.handle = batch
                if run.revoked or not batch.carries(run):  # meanwhile, when `revoke` found no batch
                    self._revoked.add(batch)
                elif run.cancel_requested and run.claim == claim:
                    self.interrupt(run)
            batch.reference.future().add_done_callback(lambda future: inbox.put((batch, future)))
        except Exception as exc:
            why = f"it could not be given to Ray: {exc!r}"
            for run, _, _ in sendings:
                if batch.reference is None:
                    self._runner.on_unsent(run, why, exc)
                else:
                    self._on_lost(run, why, cause=exc)

    def _function(self, options: dict[str, Any]) -> Any:
        key = tuple(sorted((name, repr(value)) for name, value in options.items()))
        if key not in self._functions:  # built once: each new one is exported to every worker (PrefectHQ/prefect#5653)
            self._functions[key] = ray.remote(run_batch).options(**{"max_retries": 0, **options})
        return self._functions[key]

    def _count_cpus(self) -> float:
        try:
            self.check_connected()
            return float(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        except Exception:  # sending will fail as well, and report it for each run
            return 0

    # --- collecting ----------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        # In a thread of its own: the thread in which Ray calls back also delivers the answers to all calls into Ray,
        # even to those that a callback makes.
        next_poll = 0.0
        while True:
            try:
                ended = self._inbox.get(timeout=0 if self._deletions else _POLL_SECONDS)
            except queue.Empty:
                self._delete(at_most=1)
            else:
                if ended is None:
                    return
                self._on_batch_end(*ended)
                del ended
                self._delete(at_most=len(self._deletions) - _MOST_DELETIONS)
            if (now := time.monotonic()) <= next_poll:
                continue
            if not self._is_connected():  # somebody called ray.shutdown(), after which Ray ends none of its tasks
                self._runner.on_engine_lost(self._connection_lost())
            next_poll = now + (_POLL_SECONDS if self._poll_updates() else _RETRY_SECONDS)

    def _on_batch_end(self, batch: RayBatch, future: Any) -> None:
        """Process the end of a Ray task. Never raises."""
        self._in_flight.discard(batch)
        try:
            self._take_in_end(batch, future)
        except BaseException as exc:
            for run in batch.left().values():
                self._on_lost(run, f"its result could not be collected: {exc!r}", cause=exc)

    def _take_in_end(self, batch: RayBatch, future: Any) -> None:
        problem: BaseException | None = None
        try:
            update: store.BatchUpdate = pickle.loads(future.result())
        except BaseException as exc:
            problem = exc
        else:
            self._take_in(batch, update)
        if len(batch.runs) > 1 and (problem is not None or update.followed):
            try:
                self._read_update(batch)
            except Exception as exc:
                problem = problem or exc
        if left := batch.left():
            self._resolve_from_claims(batch, left, problem)
        elif problem is None:  # otherwise, a worker that Ray has lost may still ask for a claim
            self._deletions.append(batch.deletion_of_claims())

    def _delete(self, at_most: int) -> None:
        """Make deletions that wait. If one fails, the others are left to the end of the flow run."""
        try:
            while self._deletions and at_most > 0:
                at_most -= 1
                delete = self._deletions.pop()
                if self._is_connected():
                    delete()
        except Exception:
            self._deletions.clear()
            self._runner.logger.warning("Could not tidy up Ray's key-value store.", exc_info=True)

    def _poll_updates(self) -> bool:
        """Process the updates that workers have left; return whether the store could be read."""
        try:
            batches = {each.update_key: each for each in [*self._in_flight] if not each.unbatched}
            if not batches or not self._is_connected():
                return True
            for key in store.keys(f"{self._prefix}{_UPDATE}"):
                if (batch := batches.get(key)) is not None:
                    self._read_update(batch)
        except Exception:  # Ray delivers what the updates contain when it is done with the batch
            self._runner.logger.warning(
                "Could not read Ray's key-value store; some task runs may be reported late.", exc_info=True
            )
            return False
        return True

    def _read_update(self, batch: RayBatch) -> None:
        """Process the early update of a batch, whose worker has at most one run from then on."""
        update: store.BatchUpdate | None = None if batch.unbatched else store.read(batch.update_key)
        if update is None:
            return
        self._take_in(batch, update)
        with self._lock:
            batch.unbatched = True
            wanted = any(run.id in batch.to_interrupt for run in batch.left().values())
        if wanted:
            _cancel(batch)
        store.delete(batch.update_key)

    def _take_in(self, batch: RayBatch, update: store.BatchUpdate) -> None:
        for claim, result in update.results:
            self._on_result(batch, claim, result)
        for claim in update.withdrawn:
            run = batch.runs[claim]
            with self._claims_lock:
                again = batch.carries(run) and self._runner.ledger.send_again(run, counts_as_rerun=False)
            if again:
                self._send([run], {})

    def _on_result(self, batch: RayBatch, claim: str, result: RunResult) -> None:
        run = batch.runs[claim]
        if batch.carries(run):  # else it comes from an execution that has been abandoned, or for the second time
            self._batcher.note(run, result)
            self._runner.on_result(run, result)

    def _resolve_from_claims(self, batch: RayBatch, left: dict[str, Run], exc: BaseException | None) -> None:
        """Find out from the claims what became of runs that Ray reported nothing about, and let none of them start."""
        owners: dict[str, str] = {}
        noted: list[store.ClaimedResult] = []
        try:
            self.check_connected()
            for claim in left:
                if not store.revoke_claim(claim):
                    owners[claim], results = store.read_claim(claim)
                    noted += results
        except Exception:  # then nothing is left that could report them
            for run in left.values():
                self._runner.end(run, ends.crashed(run, self._connection_lost(), exc))
            return
        for claim, result in noted:
            self._on_result(batch, claim, result)
        for claim, run in left.items():
            if not batch.carries(run):
                continue
            if owners.get(claim) == REVOKED:
                self._runner.end(run, ends.cancelled(ends.NOT_STARTED))
            elif isinstance(exc, ray.exceptions.TaskCancelledError):
                self._on_lost(run, "Ray cancelled it", cause=exc)
            elif isinstance(exc, ray.exceptions.RayTaskError) and not owners:  # the worker could not start it
                error = missing_package(exc) or exc
                self._runner.end(run, ends.crashed(run, f"its Ray worker could not begin it: {error}", error))
            else:
                self._on_lost(run, how_lost(exc), started=claim in owners, cause=exc)

    def _on_lost(self, run: Run, why: str, *, started: bool = True, cause: BaseException | None = None) -> None:
        self._runner.on_worker_lost(run, why, started=started, cause=cause)

    # --- stopping ------------------------------------------------------------------------------------------------

    def revoke(self, runs: list[Run]) -> list[bool]:
        """Make sure that runs never start; return for each whether that came in time."""
        in_time = [False] * len(runs)
        try:
            for number, run in enumerate(runs):
                self.check_connected()
                with self._claims_lock:  # its worker may return the run now, to be sent under another claim
                    in_time[number] = store.revoke_claim(run.claim) and run.phase is not Phase.ENDED
                    run.revoked = in_time[number]
                batch: RayBatch | None = run.handle  # read once, because the end of the run drops it
                if in_time[number] and batch is not None:
                    self._revoked.add(batch)
        except ConnectionError as exc:
            self._runner.on_engine_lost(self._connection_lost(), exc)
        except Exception:  # those that were revoked so far never start
            self._runner.logger.exception("Could not revoke all task runs that have not started.")
        return in_time

    def _revoked_are_done(self, timeout: float) -> bool:
        """Return whether Ray is done with all revoked runs: until then, their claims must stay."""
        if not self._revoked:
            return True
        references = [batch.reference for batch in self._revoked]
        for reference in references:
            ray.cancel(reference, force=False, recursive=False)
        _, left = ray.wait(references, num_returns=len(references), timeout=timeout)
        return not left

    def interrupt(self, run: Run) -> None:
        """Ask a running body to stop; if other runs are in its batch, once it is the only one left."""
        with self._lock:
            batch: RayBatch | None = run.handle
            if batch is None or not batch.carries(run):  # the run ends anyway, or Ray does not have it yet
                return
            if not batch.unbatched:  # the worker soon reports that it is, if the run takes long
                batch.to_interrupt.add(run.id)
                return
        if self._is_connected():
            _cancel(batch)


def _cancel(batch: RayBatch) -> None:
    # Not recursive: the body's own runner stops what the body submitted and reports it, while Ray would crash it.
    ray.cancel(batch.reference, force=False, recursive=False)
