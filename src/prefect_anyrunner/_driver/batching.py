"""Small runs travel in groups: what an engine spends on a task is more than what Prefect's own engine does.

Each run is still claimed, told, lost and cancelled by itself. Here is which runs the driver lets travel together, and
what a worker still has to begin of a group.
"""

from __future__ import annotations

from collections.abc import Callable

from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._worker.batch import BATCH_BYTES, BATCH_PATIENCE
from prefect_anyrunner._worker.messages import RunRequest, RunResult

_GROUP = 8
"""Runs that one task of the engine carries at most."""
_GROUPS_PER_THREAD = 8
_SMALL_SECONDS = BATCH_PATIENCE / 4
"""Above which a run is not worth grouping: a task of which the last few all took longer goes run by run."""
_LAST_FEW = 8


Sent = tuple[Run, RunRequest]


class Batcher:
    """Which runs of one runner travel together."""

    def __init__(self) -> None:
        self._took: dict[str, tuple[float, ...]] = {}  # the digest of a task: seconds of its runs that ended last

    def note(self, run: Run, packed: RunResult) -> None:
        """Note how long `run` took: itself, for what its worker spends to import, say, tells nothing of others."""
        if packed.started and packed.ended and (parcel := run.parcel) is not None:
            took = (packed.ended - packed.started).total_seconds()
            self._took[parcel.task] = (*self._took.get(parcel.task, ())[1 - _LAST_FEW :], took)

    def cut(self, sent: list[Sent], threads: Callable[[], float]) -> list[list[Sent]]:
        """Cut runs into groups: of one task, small ones, none that was sent before.

        `threads` tells how many runs the engine can be at; every one of them still gets several groups.
        """
        most = 1
        if len(sent) >= 2 * _GROUPS_PER_THREAD and (count := threads()):  # else too few, however many threads
            most = max(1, min(_GROUP, int(len(sent) / (_GROUPS_PER_THREAD * count))))
        groups: list[list[Sent]] = []
        size = 0
        for run, parcel in sent:
            size += len(parcel.arguments)
            joins = (
                groups
                and len(groups[-1]) < most
                and size <= BATCH_BYTES
                and groups[-1][0][1].task == parcel.task
                and min(self._took.get(parcel.task, (0,))) <= _SMALL_SECONDS
                and not run.sends
            )
            if joins:
                groups[-1].append((run, parcel))
            else:
                groups.append([(run, parcel)])
                size = len(parcel.arguments)
        return groups
