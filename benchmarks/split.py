"""What is left of a task on a worker, and whose it is: the whole of it against Prefect's task engine alone.

Both run in this process, in the same warm context, on parcels that the runner packed for real; CPU time of the one
thread, so that neither the machine's other work nor the thread that sends Prefect's events counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from prefect import flow

from benchmarks.tasks import noop
from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._publishing.options import Events
from prefect_anyrunner._serialization.values import loads
from prefect_anyrunner._worker.contexts import contexts
from prefect_anyrunner._worker.engine import SyncEngine, run_sync
from prefect_anyrunner._worker.events import EventsOnWorker
from prefect_anyrunner._worker.messages import RunRequest, RunResult
from prefect_anyrunner._worker.run import _task_run, run_request
from prefect_anyrunner.backends.process import ProcessPoolTaskRunner


class _Here:
    """A worker host whose claims and bytes are in this process."""

    backend = "benchmark"

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def name(self) -> str:
        return "here"

    def fetch(self, digest: str) -> bytes:
        return self.kept[digest]

    def claim(self, key: str) -> str | None:
        return None


class _Keeping(ProcessPoolTaskRunner):
    """Packs what is submitted, and leaves it at that."""

    def __enter__(self) -> Any:
        self.host, self.sent = _Here(), list[Sending]()
        return super().__enter__()

    def store_blob(self, digest: str, data: bytes) -> None:
        self.host.kept[digest] = data

    def dispatch(self, runs: list[Run]) -> None:
        self.sent += self.ledger.send(runs)

    def revoke(self, runs: list[Run]) -> list[bool]:
        return [True] * len(runs)

    def duplicate(self) -> Any:
        return self


def split(order: dict[str, Any], address: str | None) -> Iterator[dict[str, Any]]:
    """Median milliseconds of one thread per task, for the engine alone and for everything, task by task in turns."""
    runner = _Keeping(max_workers=1)
    spent: dict[str, list[float]] = {"engine": [], "all": []}
    count = 1000

    @flow(name="benchmark", task_runner=runner)  # type: ignore[arg-type]  # one future for all
    def splitting() -> None:
        noop.map(range(2 * count + 20))
        requests = [request for _, _, request in runner.sent if request is not None]
        for number, request in enumerate(requests):
            alone = number % 2 == 0
            took = _alone(runner.host, request) if alone else _whole(runner.host, request)
            if number >= 20:  # the first ones find nothing warm
                spent["engine" if alone else "all"].append(took)

    splitting()
    yield {"variant": "ours", **{f"{name}_ms": 1e3 * median(each) for name, each in spent.items()}}


def _alone(host: _Here, request: RunRequest) -> float:
    task_run = _task_run(host, request)
    arguments = loads(request.arguments)
    warm = contexts.acquire(host, request.context)
    began = time.thread_time()
    engine = SyncEngine(
        task=noop, task_run=task_run, parameters=arguments, claim=request.claim, events=EventsOnWorker(Events.AUTO)
    )
    warm.context.copy().run(run_sync, engine)
    spent = time.thread_time() - began
    contexts.release(host, request.context, warm)
    return spent


def _whole(host: _Here, request: RunRequest) -> float:
    began = time.thread_time()
    packed: RunResult = run_request(host, request)
    assert packed.state is not None
    assert packed.state.is_completed()
    return time.thread_time() - began
