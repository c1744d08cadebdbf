"""Many outcomes in little memory: a completed run is a row of numbers, every other outcome is kept whole."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, overload
from uuid import UUID

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome

_ID = 16


class Rows(Sequence[Outcome]):
    """Outcomes by index. They may be put in any order, each index once; in the end, the indexes have no gaps.

    The row of a completed run keeps task name, id, attempts, start, end, worker, runner and, with `keep_values`, the
    value.
    """

    def __init__(self, *, keep_values: bool = False) -> None:
        self.failed = 0
        """The number of outcomes that are not COMPLETED."""
        self.failed_ids: set[UUID | None] = set()
        self._whole: dict[int, Outcome] = {}
        self._values: dict[int, Any] | None = {} if keep_values else None
        self._ids = bytearray()
        self._attempts = array("H")
        self._started = array("d")
        self._ended = array("d")
        self._words = array("L")  # the number of each row's (task name, worker, runner)
        self._known: dict[tuple[str, str | None, str | None], int] = {}
        self._texts: list[tuple[str, str | None, str | None]] = []
        self._count = 0

    @property
    def not_completed(self) -> tuple[Outcome, ...]:
        """The outcomes that are not COMPLETED, in order; the others are not read."""
        whole = (self._whole[index] for index in sorted(self._whole))
        return tuple(outcome for outcome in whole if outcome.status is not Status.COMPLETED)

    def put(self, outcome: Outcome) -> None:
        """Store an outcome at its index."""
        if self._values is not None:
            outcome = outcome.fetched()
        index = outcome.index
        self._count += 1
        if outcome.status is not Status.COMPLETED:
            self.failed += 1
            self.failed_ids.add(outcome.task_run_id)
        if outcome.status is not Status.COMPLETED or outcome.task_run_id is None:
            self._whole[index] = outcome
            return
        missing = index + 1 - len(self._attempts)
        if missing > 0:
            self._ids.extend(bytes(_ID * missing))
            for column in (self._attempts, self._words):
                column.extend([0] * missing)
            for moments in (self._started, self._ended):
                moments.extend([0.0] * missing)
        words = (outcome.task_name, outcome.worker, outcome.runner)
        if words not in self._known:
            self._known[words] = len(self._texts)
            self._texts.append(words)
        self._ids[_ID * index : _ID * (index + 1)] = outcome.task_run_id.bytes
        self._attempts[index] = min(outcome.attempts, 2**16 - 1)
        self._started[index] = _seconds(outcome.started)
        self._ended[index] = _seconds(outcome.ended)
        self._words[index] = self._known[words]
        if self._values is not None:
            self._values[index] = outcome.value

    @overload
    def __getitem__(self, place: int) -> Outcome: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Outcome, ...]: ...
    def __getitem__(self, place: int | slice) -> Outcome | tuple[Outcome, ...]:
        if isinstance(place, slice):
            return tuple(self._row(index) for index in range(*place.indices(self._count)))
        index = place + self._count if place < 0 else place
        if not 0 <= index < self._count:
            raise IndexError(place)
        return self._row(index)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Outcome]:
        return map(self._row, range(self._count))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows | tuple):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))  # rows can be equal to a tuple

    def _row(self, index: int) -> Outcome:
        if (whole := self._whole.get(index)) is not None:
            return whole
        task_name, worker, runner = self._texts[self._words[index]]
        return Outcome(
            index=index,
            path=(index,),
            task_name=task_name,
            task_run_id=UUID(bytes=bytes(self._ids[_ID * index : _ID * (index + 1)])),
            status=Status.COMPLETED,
            attempts=self._attempts[index],
            started=_moment(self._started[index]),
            ended=_moment(self._ended[index]),
            worker=worker,
            runner=runner,
            _value=None if self._values is None else self._values[index],
        )


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
