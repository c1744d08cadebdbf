"""What runs on a Dask worker."""

from __future__ import annotations

import contextvars
import pickle
from typing import Any

import distributed

from prefect_anyrunner._worker.batch import BATCH_PATIENCE, Group
from prefect_anyrunner._worker.messages import RunRequest, process_name
from prefect_anyrunner._worker.run import run_request

KEEP_ON_WORKER = 2**18
"""Bytes from which a result stays on its worker until somebody asks for it."""


# --- on the worker -----------------------------------------------------------------------------------------------


class DaskHost:
    backend = "dask"

    def __init__(self, topic: str, key: str) -> None:
        self._topic = topic
        self._key = key
        self._worker = distributed.get_worker()
        self._held: dict[str, Any] | None = None

    def name(self) -> str:
        return f"{self._worker.address} ({process_name()})"

    def _ask(self, operation: str, **message: Any) -> Any:
        worker = self._worker
        return distributed.utils.sync(
            worker.loop, getattr(worker.scheduler, operation), topic=self._topic, worker=worker.address, **message
        )

    def fetch(self, digest: str) -> bytes:
        data: bytes | None = self._ask("anyrunner_get", digest=digest)
        if data is None:
            raise RuntimeError(
                f"The Dask scheduler no longer keeps {digest}: the flow run that put it there has ended."
            )
        return data

    def claim(self, key: str) -> str | None:
        held, self._held = self._held, None
        try:
            refused: str | None = self._ask("anyrunner_claim", claim=key, key=self._key, held=held)
        except BaseException:
            if held is not None:  # the run that it tells of has ended, whatever keeps the next one from beginning
                self._send(held)
            raise
        return refused

    def tell(self, **event: Any) -> None:
        """Send word of runs ahead of the word that their key is done: in the same stream, so in that order."""
        self._send({"key": self._key, **event})

    def hold(self, **event: Any) -> None:
        """Have word of a run go with the next claim: one message fewer per run, for worker and scheduler."""
        self._held = {"key": self._key, **event}

    def _send(self, event: dict[str, Any]) -> None:
        worker = self._worker
        message = {"op": "anyrunner_tell", "topic": self._topic, "event": event}
        worker.loop.add_callback(worker.batched_stream.send, message)

    def give_back(self, group: Group) -> None:
        """Have the driver send elsewhere what is not begun here."""
        if claims := group.take_back():
            self.tell(returned=claims)

    def give_back_later(self, group: Group) -> None:
        self._worker.loop.add_callback(self._worker.loop.call_later, BATCH_PATIENCE, self.give_back, group)


def run_here(work: tuple[Any, ...]) -> bytes | None:
    """Run parcels, one after the other, and tell the driver of each; return what stays here, a large result."""
    # A task that waits gives its place away from within its body, and Dask begins what comes next in that context: in
    # the body's transaction, say. Of all that only the worker, which Dask keeps in a variable, is meant for us.
    worker = distributed.get_worker()
    context = contextvars.Context()
    for variable, value in contextvars.copy_context().items():
        if value is worker:
            context.run(variable.set, value)
    return context.run(_run_all, work)


def _run_all(work: tuple[Any, ...]) -> bytes | None:
    topic, key, *parcels = work
    side = DaskHost(topic, key)
    group = Group([RunRequest(*fields) for fields in parcels])
    if len(parcels) > 1:
        side.give_back_later(group)
    try:
        kept: bytes | None = None
        parcel = group.next()
        while parcel is not None:
            packed = run_request(side, parcel)
            if packed.value_size >= KEEP_ON_WORKER and packed.metadata is None:
                kept, packed = packed.value, packed._replace(value=None)
            told = {"claim": parcel.claim, "outcome": pickle.dumps(packed, pickle.HIGHEST_PROTOCOL)}
            parcel = group.next() if kept is None else None  # a Dask task keeps one result
            (side.hold if parcel else side.tell)(**told)
        return kept
    finally:
        side.give_back(group)  # nothing, but after a large result, or when this itself fails
