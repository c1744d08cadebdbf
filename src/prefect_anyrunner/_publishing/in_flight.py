"""Changes that were emitted, but that the API has not been seen to record."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.source import Source


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """A change on its way."""

    source: Source
    change: Change


class InFlight:
    """The last change of each run that is on its way, in the order of sending. It is not thread-safe."""

    def __init__(self) -> None:
        self._sent: OrderedDict[UUID, Sent] = OrderedDict()
        self.recorded = 0  # how many of the oldest, by the last answer of the API

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, source: Source, change: Change) -> None:
        """Add a change that is being sent; it replaces an earlier one of the same run."""
        earlier = self._sent.pop(change.run_id, None)
        if earlier is not None and earlier.change.is_end:
            earlier.source.unrecorded -= 1  # the later end is enough
        self._sent[change.run_id] = Sent(source, change)
        self._bound()

    def oldest(self, number: int) -> list[Sent]:
        """Return the changes that were sent first, at most `number`."""
        return list(itertools.islice(self._sent.values(), number))

    def let_go(self, recorded: list[Sent]) -> int:
        """Remove changes that the API has recorded, and return how many were removed."""
        gone = [sent for sent in recorded if self._remove(sent)]
        for sent in gone:
            sent.source.unrecorded -= sent.change.is_end
        self.recorded = 0
        return len(gone)

    def remove(self, lost: list[Sent]) -> list[Sent]:
        """Remove changes that did not arrive, and return those that no later change of the same run has replaced."""
        return [sent for sent in lost if self._remove(sent)]

    def take(self, source: Source) -> list[Change]:
        """Remove all changes of one source, and return the ends among them."""
        own = [sent for sent in self._sent.values() if sent.source is source]
        for sent in own:
            del self._sent[sent.change.run_id]
        self._bound()
        return [sent.change for sent in own if sent.change.is_end]

    def ends_of(self, source: Source) -> int:
        """Return how many ends of one source are on their way."""
        return sum(sent.source is source and sent.change.is_end for sent in self._sent.values())

    def _remove(self, sent: Sent) -> bool:
        there = self._sent.get(sent.change.run_id) is sent
        if there:
            del self._sent[sent.change.run_id]
        return there

    def _bound(self) -> None:
        self.recorded = min(self.recorded, len(self._sent))
