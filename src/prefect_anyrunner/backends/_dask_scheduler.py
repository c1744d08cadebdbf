"""What runs on the Dask scheduler: who claimed which body, and the bytes that workers fetch once.

Sent to the scheduler by `register_plugin`; it imports nothing but distributed.
"""

from __future__ import annotations

from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

KEEPER = "prefect-anyrunner-keeper"


class Keeper(SchedulerPlugin):
    """Keeps, per runner (a topic), claims and bytes; told when a worker dies, it names the runs that died with it.

    The first to claim a body has it, be it a worker that wants to run it or the driver that wants it never to run.
    """

    name = KEEPER
    idempotent = True

    def __init__(self) -> None:
        self.claims: dict[str, dict[str, str]] = {}
        self.kept: dict[str, dict[str, bytes]] = {}
        self.scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        for operation in ("open", "put", "get", "claim", "claimed", "revoke", "forget", "let_go"):
            scheduler.handlers[f"anyrunner_{operation}"] = getattr(self, operation)

    def open(self, topic: str) -> None:
        self.claims[topic] = {}

    def put(self, topic: str, digest: str, data: bytes) -> None:
        self.kept.setdefault(topic, {})[digest] = data

    def get(self, topic: str, digest: str, worker: str) -> bytes | None:
        return self.kept.get(topic, {}).get(digest)

    def claim(self, topic: str, claim: str, worker: str) -> str | None:
        """Give the body to `worker`; return None, or who has it already."""
        if (known := self.claims.get(topic)) is None:  # a run that its flow left behind reaches a worker only now
            return "revoked"
        if claim in known:  # also by the same worker: then Dask runs it again there
            return known[claim]
        known[claim] = worker
        return None

    def claimed(self, topic: str, claims: list[str]) -> list[str]:
        known = self.claims.get(topic, {})
        return [claim for claim in claims if claim in known]

    def revoke(self, topic: str, claims: list[str]) -> list[str]:
        known = self.claims.setdefault(topic, {})
        return [claim for claim in claims if known.setdefault(claim, "revoked") == "revoked"]

    def forget(self, topic: str, claims: list[str]) -> None:
        known = self.claims.get(topic, {})
        for claim in claims:
            known.pop(claim, None)

    def let_go(self, topic: str) -> None:
        self.claims.pop(topic, None)
        self.kept.pop(topic, None)

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        for topic, claims in self.claims.items():
            lost = [claim for claim, owner in claims.items() if owner == worker]
            if lost:
                scheduler.log_event(topic, {"worker": worker, "claims": lost})
