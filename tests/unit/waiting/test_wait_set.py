"""Which runs a poll asks the API about."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from prefect_anyrunner._prefect.api import PAGE
from prefect_anyrunner._waiting import wait_set
from prefect_anyrunner._waiting.flatten import Position


class Silent:
    """A future of Prefect's whose run goes on."""

    def __init__(self) -> None:
        self.task_run_id = uuid.uuid4()

    def wait(self, timeout: float | None = None) -> None: ...


@pytest.mark.parametrize("pause", [0.0, 0.5, 1.0, 2.0])
def test_each_run_is_asked_about_in_its_turn(pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    pages: list[list[uuid.UUID]] = []

    def ask(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, object]:
        pages.append(list(ids))
        clock.now += pause * wait_set.POLL_SECONDS  # so long does a poll take
        return {}

    futures = [Silent() for _ in range(2 * PAGE - 50)]
    waiting = wait_set.WaitSet([Position(index, (index,), future) for index, future in enumerate(futures)])
    monkeypatch.setattr(wait_set, "time", clock)
    monkeypatch.setattr(wait_set, "task_runs", ask)
    waiting._next_poll = clock.now
    for _ in range(4):
        clock.now += waiting.pause()
        assert waiting.collect([]) == []
    assert [len(page) for page in pages] == [PAGE] * 4
    for turn in (pages[:2], pages[1:3], pages[2:]):
        assert len({run_id for page in turn for run_id in page}) == len(futures)
