"""The worker's side of the Dask backend."""

from __future__ import annotations

import contextvars
import pickle
from typing import Any

import distributed

from prefect_anyrunner._base.claims import GRANTED
from prefect_anyrunner._worker.batch import BATCH_PATIENCE, Batch
from prefect_anyrunner._worker.messages import RunRequest, RunResult, process_name
from prefect_anyrunner._worker.run import run_request
from prefect_anyrunner.backends._dask.private import ask_scheduler, send_to_scheduler

KEEP_ON_WORKER = 2**18
"""Size, in bytes, from which a result stays on its worker until it is fetched."""


class NothingToStart(Exception):
    """Raised when this worker is to start nothing more of a batch, and to report nothing about the rest of it."""


class DaskHost:
    """The worker's side of one Dask task, which works on one key and carries one batch."""

    backend = "dask"

    def __init__(self, topic: str, key: str, batch: Batch) -> None:
        self._topic = topic
        self._key = key
        self._batch = batch
        self._worker = distributed.get_worker()
        self._deferred: dict[str, Any] | None = None
        self._granted = False

    def name(self) -> str:
        """Return the worker's address and process."""
        return f"{self._worker.address} ({process_name()})"

    def fetch(self, digest: str) -> bytes:
        """Return the bytes that the scheduler keeps under `digest`."""
        data: bytes | None = self._ask("anyrunner_fetch", digest=digest)
        if data is None:
            raise RuntimeError(
                f"The Dask scheduler no longer keeps {digest}: the flow run that stored it there has ended."
            )
        return data

    def claim(self, claim: str) -> str | None:
        """Claim a body on the scheduler; the deferred result travels with this call. Raises NothingToStart."""
        deferred, self._deferred = self._deferred, None
        try:
            answer: str | None = self._ask("anyrunner_claim", claim=claim, key=self._key, deferred=deferred)
        except BaseException:
            if deferred is not None:  # that run has ended, even if the next one cannot start
                self._publish(deferred)
            raise
        if answer is None:
            raise NothingToStart
        if answer != GRANTED:
            return answer
        if not self._granted:
            # Only now, because a scheduler that has lost our plugin would end a worker that published anything.
            self._granted = True
            self.withdraw_later()
        return None

    def publish_result(self, claim: str, result: RunResult) -> None:
        """Send a result ahead of the message that the key is done: both are in one stream, so they stay in order."""
        self._publish(_event(claim, result))

    def defer_result(self, claim: str, result: RunResult) -> None:
        """Keep a result for the next claim, because worker and scheduler then have one message fewer per run."""
        self._deferred = _event(claim, result)

    def withdraw(self) -> None:
        """Return the runs that have not started here to the flow's process, which sends them elsewhere."""
        if claims := self._batch.withdraw():
            self._publish({"withdrawn": claims})

    def withdraw_later(self) -> None:
        """Do what `withdraw` does once the batch has taken too long."""
        if self._batch:
            loop = self._worker.loop
            loop.add_callback(loop.call_later, BATCH_PATIENCE, self.withdraw)

    def _publish(self, event: dict[str, Any]) -> None:
        send_to_scheduler(self._worker, {"op": "anyrunner_publish", "topic": self._topic, "event": event})

    def _ask(self, operation: str, **message: Any) -> Any:
        return ask_scheduler(self._worker, operation, topic=self._topic, **message)


def _event(claim: str, result: RunResult) -> dict[str, Any]:
    return {"claim": claim, "result": pickle.dumps(result, pickle.HIGHEST_PROTOCOL)}


def run_batch(work: tuple[Any, ...]) -> bytes | None:
    """Run requests one after the other and publish each result; return the large result that stays here, if any."""
    # A body that waits gives its thread back, and Dask starts what comes next in the context of that body: in its open
    # transaction, for example. The only variable of that context that is meant for us is Dask's current worker.
    worker = distributed.get_worker()
    context = contextvars.Context()
    for variable, value in contextvars.copy_context().items():
        if value is worker:
            context.run(variable.set, value)
    return context.run(_run_all, work)


def _run_all(work: tuple[Any, ...]) -> bytes | None:
    topic, key, *requests = work
    batch = Batch([RunRequest(*fields) for fields in requests])
    host = DaskHost(topic, key, batch)
    try:
        kept: bytes | None = None
        again = False
        request = batch.next()
        while request is not None:
            claim, result = request.claim, run_request(host, request)
            again = again or result.refused is not None  # the value of this key may be awaited as that of another run
            if result.value_size >= KEEP_ON_WORKER and result.metadata is None and not again:
                kept, result = result.value, result._replace(value=None)
            request = batch.next() if kept is None else None  # one Dask task can keep one result
            if request is not None:
                host.defer_result(claim, result)
            else:
                host.publish_result(claim, result)
        return kept
    except NothingToStart:
        batch.withdraw()  # in silence: whoever works on the key now, or the flow's process, knows what becomes of them
        return None
    finally:
        host.withdraw()  # only after a large result, or when this function itself fails, is anything left
