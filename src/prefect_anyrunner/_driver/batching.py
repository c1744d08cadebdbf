"""Batches of runs, because an engine spends more on one task of its own than Prefect's task engine spends on a run.

Each run of a batch is still claimed, reported, lost and cancelled individually.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._worker.batch import BATCH_BYTES, BATCH_PATIENCE
from prefect_anyrunner._worker.messages import RunResult

_MOST_RUNS = 8
"""Maximum number of runs that one task of the engine carries."""
_BATCHES_PER_THREAD = 8
"""Minimum number of batches for each thread of the engine, so that the work spreads evenly."""
_SMALL_SECONDS = BATCH_PATIENCE / 4
"""Longest run, in seconds, that is worth batching. A task whose last few runs all took longer is sent run by run."""
_LAST_FEW = 8
"""Number of a task's last runs whose durations count."""


class Batcher:
    """Decides which runs of one started runner travel together."""

    def __init__(self) -> None:
        self._durations: dict[str, tuple[float, ...]] = {}  # digest of a task -> seconds of its last runs

    def note(self, run: Run, result: RunResult) -> None:
        """Note how long the body of `run` took, without imports on a cold worker, which do not predict the next run."""
        if result.started and result.ended and (request := run.request) is not None:
            seconds = (result.ended - result.started).total_seconds()
            last = self._durations.get(request.task, ())
            self._durations[request.task] = (*last[1 - _LAST_FEW :], seconds)

    def split(self, sendings: Sequence[Sending], threads: Callable[[], float]) -> list[list[Sending]]:
        """Split runs into batches. A batch holds small runs of one task that were never sent before.

        `threads` returns the number of runs that the engine can execute at a time.
        """
        most = 1
        # Fewer runs than this are never batched, however many threads the engine has.
        if len(sendings) >= 2 * _BATCHES_PER_THREAD and (count := threads()):
            most = max(1, min(_MOST_RUNS, int(len(sendings) / (_BATCHES_PER_THREAD * count))))
        batches: list[list[Sending]] = []
        task, size = "", 0
        for sending in sendings:
            request = sending.request
            assert request is not None
            size += len(request.arguments)
            joins = (
                batches
                and len(batches[-1]) < most
                and size <= BATCH_BYTES
                and task == request.task
                and min(self._durations.get(task, (0,))) <= _SMALL_SECONDS
                and not sending.run.sends
            )
            if joins:
                batches[-1].append(sending)
            else:
                batches.append([sending])
                task, size = request.task, len(request.arguments)
        return batches
