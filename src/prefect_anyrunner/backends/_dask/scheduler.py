"""What runs on the Dask scheduler: who claimed which body, and the bytes that workers fetch once.

Sent to the scheduler by `register_plugin`; it imports nothing but distributed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

PLUGIN_NAME = "prefect-anyrunner-keeper"
_COMES_BACK_WITHIN = 60.0
"""Seconds after which a client that is gone does not come back."""
_OUTBOX_SECONDS = 0.025
"""For which an outcome may wait here for others to travel with: a message costs more than what it carries."""
_SETTLING = 60.0
"""Seconds for which a claim outlives its key: a worker may still be about to run what nobody wants any more."""


class AnyrunnerPlugin(SchedulerPlugin):
    """Keeps, per runner (a topic), claims and bytes; told when a worker dies, it names the runs that died with it.

    The first to claim a body has it, be it a worker that wants to run it or the driver that wants it never to run.
    Outcomes go through here to the client whose runs they are, in the stream that also says that a key is done, so that
    nobody has to ask for them.
    """

    name = PLUGIN_NAME
    idempotent = True

    def __init__(self) -> None:
        self.claims: dict[str, dict[str, str]] = {}
        self.kept: dict[str, dict[str, bytes]] = {}
        self.clients: dict[str, str] = {}
        self.untold: dict[str, list[dict[str, Any]]] = {}
        self.claimed_for: dict[str, list[str]] = {}  # a Dask key, and what was claimed for it
        self.forgotten: deque[tuple[float, str]] = deque()
        self.out_of_memory: dict[str, int] = {}  # worker -> bytes it used when its nanny ended it
        self.scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        for operation in ("open", "put", "get", "drop", "claim", "claimed", "revoke", "let_go"):
            scheduler.handlers[f"anyrunner_{operation}"] = getattr(self, operation)
        scheduler.stream_handlers["anyrunner_tell"] = self.tell

    def open(self, topic: str, client: str) -> None:
        self.claims[topic] = {}
        self.clients[topic] = client

    def tell(self, topic: str, event: dict[str, Any], worker: str = "") -> None:
        """Pass on what is said of runs, by a worker or here."""
        self.untold.setdefault(topic, []).append(event)
        self._pass_on(topic)

    def _pass_on(self, topic: str) -> None:
        if (events := self.untold.pop(topic, None)) is None:
            return
        # Not by log_event, which would keep the last thousand of them here.
        client = self.clients.get(topic)
        comm = self.scheduler.client_comms.get(client)
        if comm is not None and not comm.closed():  # a nested runner's goes with its worker
            self.scheduler.report({"op": "event", "topic": topic, "event": (time.time(), events)}, client=client)

    def put(self, topic: str, digest: str, data: bytes) -> None:
        self.kept.setdefault(topic, {})[digest] = data

    def get(self, topic: str, digest: str, worker: str) -> bytes | None:
        return self.kept.get(topic, {}).get(digest)

    def drop(self, topic: str, digests: list[str]) -> None:
        kept = self.kept.get(topic, {})
        for digest in digests:
            kept.pop(digest, None)

    def claim(self, topic: str, claim: str, key: str, worker: str, held: dict[str, Any] | None = None) -> str | None:
        """Give the body to `worker`, which runs it for a Dask key; return None, or who has it already.

        `held` is what it has to tell of the run before.
        """
        if held is not None:
            if topic not in self.untold:
                asyncio.get_running_loop().call_later(_OUTBOX_SECONDS, self._pass_on, topic)
            self.untold.setdefault(topic, []).append(held)
        if (known := self.claims.get(topic)) is None:  # a run that its flow left behind reaches a worker only now
            return "revoked"
        if claim in known:  # also by the same worker: then Dask runs it again there
            return known[claim]
        known[claim] = worker
        self.claimed_for.setdefault(key, []).append(claim)
        return None

    def claimed(self, topic: str, claims: list[str]) -> dict[str, str]:
        """Return who has those of `claims` that somebody has."""
        known = self.claims.get(topic, {})
        return {claim: known[claim] for claim in claims if claim in known}

    def revoke(self, topic: str, claims: list[str]) -> list[str]:
        if (known := self.claims.get(topic)) is None:
            return claims  # none of them is allowed to start any more
        return [claim for claim in claims if known.setdefault(claim, "revoked") == "revoked"]

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Drop the claims of keys that Dask has forgotten a while ago; those of revoked runs stay with their topic."""
        for topic in [*self.untold]:  # its client is about to hear of the key, and of its runs first
            self._pass_on(topic)
        if finish != "forgotten" or (claims := self.claimed_for.pop(key, None)) is None:
            return
        now = time.monotonic()
        self.forgotten.extend((now, claim) for claim in claims)
        while self.forgotten[0][0] < now - _SETTLING:
            claim = self.forgotten.popleft()[1]
            for known in self.claims.values():
                if known.get(claim, "revoked") != "revoked":
                    del known[claim]

    def let_go(self, topic: str) -> None:
        self.claims.pop(topic, None)
        self.kept.pop(topic, None)
        self.clients.pop(topic, None)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Let go of what a driver that died left here; later, as one that only lost its connection comes back."""
        if client in self.clients.values():
            asyncio.get_running_loop().call_later(_COMES_BACK_WITHIN, self._close_topics_of, client)

    def _close_topics_of(self, client: str) -> None:
        if client not in self.scheduler.clients:
            for topic in [topic for topic, owner in self.clients.items() if owner == client]:
                self.let_go(topic)

    def log_event(self, topic: str | list[str], msg: Any) -> None:
        """Note why a worker is about to die: a nanny says so when it ends one for its memory."""
        if topic == "worker-restart-memory":
            self.out_of_memory[msg["worker"]] = msg["rss"]

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        memory = self.out_of_memory.pop(worker, None)
        for topic, claims in self.claims.items():
            lost = [claim for claim, owner in claims.items() if owner == worker]
            if lost:
                self.tell(topic, {"worker": worker, "claims": lost, "memory": memory})
