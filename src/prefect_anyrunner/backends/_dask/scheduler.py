"""The plugin of the Dask scheduler: the claims of bodies, the bytes that workers fetch once, and results on their way.

`register_plugin` sends it to the scheduler. This module imports only what works without Prefect, because the scheduler
need not have it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.protocol.pickle import dumps

from prefect_anyrunner._base.claims import GRANTED, REVOKED
from prefect_anyrunner.backends._dask.entry import interrupt_on_worker

_dumps: Any = dumps
PLUGIN_NAME = "prefect-anyrunner"
_RECONNECT_SECONDS = 60.0
"""Seconds that a client which is gone gets to come back before its topics are closed."""
_OUTBOX_SECONDS = 0.025
"""Seconds to hold a result back so that others can share its message: sending a message costs more than its content."""
_CLAIM_SECONDS = 60.0
"""Seconds that a claim outlives its key, because the body may still run and may have to be stopped."""


class AnyrunnerPlugin(SchedulerPlugin):
    """Keeps claims, blobs and results per runner; each started runner has a topic of its own.

    The first to claim a body owns the claim, be it a worker that wants to run the body or the flow's process that wants
    it never to run. A worker gets a claim only as long as Dask has it work on the key that carries the run: not after
    Dask has given up the worker, or has dropped the key because the client lost its connection. Results go through the
    scheduler to the client whose runs they are, in the stream that also reports that a key is done, so that nobody has
    to ask for them. When a worker dies, the plugin reports the claims it owned.

    No operation answers None if all is well, because a scheduler without this plugin answers None to everything.
    """

    name = PLUGIN_NAME
    idempotent = True

    def __init__(self) -> None:
        self.claims: dict[str, dict[str, str]] = {}
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.clients: dict[str, str] = {}
        self.outbox: dict[str, list[dict[str, Any]]] = {}
        self.claims_of_key: dict[str, list[str]] = {}
        self.forgotten: deque[tuple[float, str]] = deque()
        self.out_of_memory: dict[str, int] = {}  # worker -> bytes it used when its nanny ended it
        self.asking: set[asyncio.Future[Any]] = set()  # calls on workers that have not been answered
        self.scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        for operation in ("open_topic", "close_topic", "store", "fetch", "delete", "claim", "claimed", "revoke"):
            scheduler.handlers[f"anyrunner_{operation}"] = getattr(self, operation)
        scheduler.stream_handlers["anyrunner_publish"] = self.publish

    # --- topics --------------------------------------------------------------------------------------------------

    def open_topic(self, topic: str, client: str) -> bool:
        """Begin to keep things for a runner whose results go to `client`."""
        self.claims[topic] = {}
        self.blobs[topic] = {}
        self.clients[topic] = client
        return True

    def close_topic(self, topic: str) -> bool:
        """Drop everything that was kept for a runner."""
        self.claims.pop(topic, None)
        self.blobs.pop(topic, None)
        self.clients.pop(topic, None)
        return True

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Stop the bodies of a client that is gone; close its topics later, because it may come back.

        Client and scheduler drop all keys of a connection that is lost, so that nobody waits for these bodies any more.
        """
        if topics := self._topics_of(client):
            for topic in topics:
                self._stop_bodies(self.claims[topic])
            asyncio.get_running_loop().call_later(_RECONNECT_SECONDS, self._close_topics_of, client)

    def _topics_of(self, client: str) -> list[str]:
        return [topic for topic, owner in self.clients.items() if owner == client]

    def _close_topics_of(self, client: str) -> None:
        if client not in self.scheduler.clients:
            for topic in self._topics_of(client):
                self.close_topic(topic)

    def _stop_bodies(self, owners: dict[str, str]) -> None:
        """Ask the bodies behind claims to stop."""
        by_worker: dict[str, list[str]] = {}
        for claim, worker in owners.items():
            if worker in self.scheduler.workers:
                by_worker.setdefault(worker, []).append(claim)
        for worker, claims in by_worker.items():
            message = {"op": "run", "function": _dumps(interrupt_on_worker), "args": _dumps((claims,))}
            asking = asyncio.ensure_future(self.scheduler.broadcast(msg=message, workers=[worker], on_error="ignore"))
            self.asking.add(asking)
            asking.add_done_callback(self.asking.discard)

    # --- results on their way ------------------------------------------------------------------------------------

    def publish(self, topic: str, event: dict[str, Any], worker: str = "") -> None:
        """Send an event about runs to the client of the topic, after those that were deferred."""
        if "withdrawn" in event:
            # From here on nobody starts them under these claims, not even if Dask runs the batch on another worker, so
            # that the flow's process can send them again under others.
            event["withdrawn"] = self.revoke(topic, event["withdrawn"])
        self.outbox.setdefault(topic, []).append(event)
        self._flush(topic)

    def _flush(self, topic: str) -> None:
        if (events := self.outbox.pop(topic, None)) is None:
            return
        # Not by log_event, which would keep the last thousand events here.
        client = self.clients.get(topic)
        comm = self.scheduler.client_comms.get(client)
        if comm is not None and not comm.closed():  # the client of a nested runner goes with its worker
            self.scheduler.report({"op": "event", "topic": topic, "event": (time.time(), events)}, client=client)

    # --- blobs ---------------------------------------------------------------------------------------------------

    def store(self, topic: str, digest: str, data: bytes) -> bool | None:
        """Keep bytes for the workers; return None if the topic is closed."""
        if (blobs := self.blobs.get(topic)) is None:
            return None
        blobs[digest] = data
        return True

    def fetch(self, topic: str, digest: str, worker: str) -> bytes | None:
        """Return the bytes that are kept under `digest`, or None."""
        return self.blobs.get(topic, {}).get(digest)

    def delete(self, topic: str, digests: list[str]) -> bool:
        """Drop bytes that no run needs any more."""
        blobs = self.blobs.get(topic, {})
        for digest in digests:
            blobs.pop(digest, None)
        return True

    # --- claims --------------------------------------------------------------------------------------------------

    def claim(
        self, topic: str, claim: str, key: str, worker: str, deferred: dict[str, Any] | None = None
    ) -> str | None:
        """Give a claim to `worker`, which works on a Dask key; return GRANTED, or the owner that the claim has already.

        Returns None if the worker is to start nothing more under this key: Dask has it no longer work on that key, or
        the topic is closed. `deferred` is the event about the run before, which travels with this call.
        """
        if deferred is not None:
            if topic not in self.outbox:
                asyncio.get_running_loop().call_later(_OUTBOX_SECONDS, self._flush, topic)
            self.outbox.setdefault(topic, []).append(deferred)
        if (owners := self.claims.get(topic)) is None or not self._works_on(worker, key):
            return None
        if claim in owners:  # also by the same worker: then Dask runs the body again there
            return owners[claim]
        owners[claim] = worker
        self.claims_of_key.setdefault(key, []).append(claim)
        return GRANTED

    def _works_on(self, worker: str, key: str) -> bool:
        task = self.scheduler.tasks.get(key)
        return task is not None and task.processing_on is not None and task.processing_on.address == worker

    def claimed(self, topic: str, claims: list[str]) -> dict[str, str] | None:
        """Return the owners of those of `claims` that have one; None if the topic is closed."""
        owners = self.claims.get(topic)
        return None if owners is None else {claim: owners[claim] for claim in claims if claim in owners}

    def revoke(self, topic: str, claims: list[str]) -> list[str]:
        """Make sure that bodies never start; return the claims of those for which that came in time."""
        if (owners := self.claims.get(topic)) is None:
            return claims  # no body of a closed topic may start any more
        return [claim for claim in claims if owners.setdefault(claim, REVOKED) == REVOKED]

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Drop the claims of keys that Dask has forgotten a while ago; those of revoked runs stay."""
        for topic in [*self.outbox]:  # the runs come to the client before the end of their key
            self._flush(topic)
        if finish != "forgotten" or (claims := self.claims_of_key.pop(key, None)) is None:
            return
        now = time.monotonic()
        self.forgotten.extend((now, claim) for claim in claims)
        while self.forgotten[0][0] < now - _CLAIM_SECONDS:
            claim = self.forgotten.popleft()[1]
            for owners in self.claims.values():
                owners.pop(claim, None)

    # --- lost workers --------------------------------------------------------------------------------------------

    def log_event(self, topic: str | list[str], msg: Any) -> None:
        """Note that a nanny is about to end a worker because of its memory, and how much that one used."""
        if topic == "worker-restart-memory":
            self.out_of_memory[msg["worker"]] = msg["rss"]

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Publish the claims of a worker that is gone."""
        memory = self.out_of_memory.pop(worker, None)
        for topic, owners in self.claims.items():
            lost = [claim for claim, owner in owners.items() if owner == worker]
            if lost:
                self.publish(topic, {"worker": worker, "claims": lost, "memory": memory})
