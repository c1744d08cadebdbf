"""The worker's side of the Ray backend."""

from __future__ import annotations

import pickle
import secrets
import threading
from contextlib import suppress
from typing import Any

import ray

from prefect_anyrunner._worker.batch import BATCH_BYTES, BATCH_PATIENCE, Batch
from prefect_anyrunner._worker.messages import RunRequest, process_name
from prefect_anyrunner._worker.results import not_started
from prefect_anyrunner._worker.run import run_request
from prefect_anyrunner.backends._ray.cancelling import cancellable
from prefect_anyrunner.backends._ray.last_words import offer
from prefect_anyrunner.backends._ray.store import BatchUpdate, ClaimedResult, put, put_claim, read_claim


class RayHost:
    """The worker's side of one Ray task."""

    backend = "ray"

    def __init__(self, blobs: dict[str, list[Any]]) -> None:
        self._blobs = blobs
        self._unnoted: list[ClaimedResult] = []  # results that stand beside no claim yet

    def name(self) -> str:
        """Return the worker's process."""
        return process_name()

    def fetch(self, digest: str) -> bytes:
        """Return the bytes that the flow's process put into Ray's object store."""
        data: bytes = ray.get(self._blobs[digest][0])
        return data

    def claim(self, claim: str) -> str | None:
        """Claim a body, and note beside the claim the results of the runs before."""
        owner = f"{process_name()} {secrets.token_hex(8)}"
        if not put_claim(claim, owner, self._unnoted):
            found, _ = read_claim(claim)
            # Ray repeats a message whose answer was lost, and then finds the claim that it has made itself.
            if found != owner:
                return found.partition(" ")[0] or "claimed"
        self._unnoted = []
        return None

    def note(self, claimed: ClaimedResult) -> None:
        """Keep a result until the next claim."""
        self._unnoted.append(claimed)


class UpdateWriter:
    """Reports the results of one batch: by an update if the batch takes long, and the rest at its end."""

    def __init__(self, batch: Batch, key: str) -> None:
        self._batch = batch
        self._key = key
        self._results: list[ClaimedResult] = []
        self._withdrawn: list[str] = []
        self._followed = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(BATCH_PATIENCE, self._put)
        self._timer.daemon = True

    def start(self) -> None:
        """Write an update once the batch has taken too long."""
        with suppress(RuntimeError):  # a body has used up the threads that the system allows
            self._timer.start()

    def stop(self) -> None:
        """Write no more updates."""
        self._timer.cancel()

    def add(self, claimed: ClaimedResult) -> None:
        """Add the result of a run."""
        with self._lock:
            self._results.append(claimed)

    def end(self, *last: ClaimedResult) -> bytes:
        """Return the last update as bytes, which Ray delivers as they are."""
        with self._lock:
            withdrawn = [*self._withdrawn, *self._batch.withdraw()]
            update = BatchUpdate([*self._results, *last], withdrawn, self._followed)
            self._results, self._withdrawn = [], []
        return pickle.dumps(update, pickle.HIGHEST_PROTOCOL)

    def _put(self) -> None:
        with self._lock:
            self._withdrawn += self._batch.withdraw()
            if not (self._results or self._withdrawn):
                return
            put(self._key, BatchUpdate(self._results, self._withdrawn))
            # Only now, because the end reports the results of an update that failed.
            self._followed, self._results, self._withdrawn = True, [], []


def run_batch(update_key: str, work: bytes, blobs: dict[str, list[Any]]) -> bytes:
    """Run the requests in `work` one after the other; return their results and the claims of those that are left."""
    requests = [RunRequest(*fields) for fields in pickle.loads(work)]
    host = RayHost(blobs)
    with suppress(Exception):  # without it, runs run all the same
        offer()
    batch = Batch(requests)
    updates = UpdateWriter(batch, update_key)
    if len(requests) > 1:
        updates.start()
    try:
        while (request := batch.next()) is not None:
            try:
                with cancellable(request.claim):
                    result = run_request(host, request)
            except Exception as exc:  # it could not be claimed; earlier results are reported all the same
                return updates.end((request.claim, not_started(host, exc)))
            claimed = request.claim, result
            if result.value_size >= BATCH_BYTES or len(result.error or b"") >= BATCH_BYTES:
                return updates.end(claimed)  # too much to note beside a claim
            updates.add(claimed)
            host.note(claimed)
        return updates.end()
    finally:
        updates.stop()
