"""Changes that wait, in memory and in a file."""

from __future__ import annotations

import errno
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.states import Completed

from prefect_anyrunner._publishing import backlog
from prefect_anyrunner._publishing.backlog import Backlog, Waiting
from tests.unit.publishing.test_change import ended, facts


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A backlog that packs the third change and puts the seventh into a file of this folder."""
    monkeypatch.setattr(backlog, "AS_THEY_ARE", 2)
    monkeypatch.setattr(backlog, "IN_MEMORY", 6)
    return tmp_path


def test_changes_come_in_their_order_through_the_file_too(small: Path) -> None:
    with temporary_settings({PREFECT_HOME: small}):
        waiting: Backlog[str] = Backlog()
        changes = [ended(Completed(message=str(number))) for number in range(40)]
        got = []
        for number, each in enumerate(changes):  # two in, one out, so that the file is written while it is read
            waiting.append(Waiting(number, "odd" if number % 2 else "even", each))
            if number % 2:
                got.append(waiting.popleft())
        assert len(waiting) == 20
        while len(waiting):
            assert waiting.next_number == len(got)
            got.append(waiting.popleft())
    assert waiting.next_number is None
    assert [each.number for each in got] == [*range(40)]
    assert [each.source for each in got] == ["even", "odd"] * 20
    assert [facts(each.change) for each in got] == [facts(each) for each in changes]


def test_those_that_wait_long_are_packed_and_leave_their_context(small: Path) -> None:
    waiting: Backlog[str] = Backlog()
    for number in range(4):
        waiting.append(Waiting(number, "one", ended(Completed())))
    assert [type(waiting.popleft().content) is bytes for _ in range(4)] == [False, False, True, True]


def test_the_changes_of_one_source_are_taken_out(small: Path) -> None:
    with temporary_settings({PREFECT_HOME: small}):
        waiting: Backlog[str] = Backlog()
        for number in range(30):
            waiting.append(Waiting(number, "odd" if number % 2 else "even", ended(Completed())))
        assert [each.number for each in waiting.take("odd")] == [*range(1, 30, 2)]
        assert [waiting.popleft().number for _ in range(len(waiting))] == [*range(0, 30, 2)]


def test_what_does_not_fit_on_the_disk_stays_in_memory(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(FileIO):
        """A file that has room for one and a half changes."""

        def write(self, data: Any) -> int:
            room = 450 - self.seek(0, 2)
            if room <= 0:
                raise OSError(errno.ENOSPC, "no space left on device")
            return super().write(data[:room])

    def open_file(**_: Any) -> FileIO:
        return FullDisk(small / "changes", "w+")

    monkeypatch.setattr("tempfile.TemporaryFile", open_file)
    with temporary_settings({PREFECT_HOME: small}):
        waiting: Backlog[str] = Backlog()
        changes = [ended(Completed(message=str(number))) for number in range(12)]
        for number, each in enumerate(changes):
            waiting.append(Waiting(number, "one", each))
        assert len(waiting) == 12
        got = [waiting.popleft() for _ in range(12)]
    assert sorted(each.number for each in got) == [*range(12)]
    assert sorted(each.change.state.message or "" for each in got) == sorted(map(str, range(12)))
