"""When the API is asked, and how fast it records."""

from __future__ import annotations

import pytest

from prefect_anyrunner._publishing.pace import Pace, Questions


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `pace` sees, in its only element."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_the_pace_is_that_of_the_last_seconds(clock: list[float]) -> None:
    measured = Pace()
    assert measured.per_second() == 0.0
    for _ in range(11):
        measured.add(50)
        measured.note(0)
        clock[0] += 1
    assert measured.per_second() == 50.0
    for _ in range(40):
        measured.add(10)
        measured.note(0)
        clock[0] += 1
    assert measured.per_second() == 10.0


def test_questions_become_rarer_while_nothing_is_recorded(clock: list[float]) -> None:
    questions = Questions()
    intervals = []
    for _ in range(15):
        questions.answered(0, of=10, per_second=0)
        intervals.append(questions.due(urgent=True) - clock[0])
        clock[0] = questions.due(urgent=True)
    assert intervals == sorted(intervals)
    assert intervals[0] < 0.05
    assert intervals[-1] == 1.0
    questions.answered(10, of=10, per_second=100)
    assert questions.due(urgent=True) - clock[0] < 0.05
    assert questions.due(urgent=False) - clock[0] == 2.0


def test_the_next_question_comes_when_the_rest_should_be_there(clock: list[float]) -> None:
    questions = Questions()
    questions.answered(40, of=100, per_second=120)
    assert questions.due(urgent=True) - clock[0] == 0.5


def test_an_api_that_does_not_answer_is_asked_every_five_seconds_at_most(clock: list[float]) -> None:
    questions = Questions()
    for _ in range(20):
        questions.failed()
        clock[0] = questions.due(urgent=True)
    questions.failed()
    assert questions.unanswered
    assert questions.due(urgent=True) - clock[0] == 5.0


def test_what_is_not_recorded_for_long_was_lost(clock: list[float]) -> None:
    questions = Questions()
    questions.began()
    clock[0] += 9
    assert not questions.is_stuck(0)
    questions.answered(5, of=10, per_second=1)
    clock[0] += 9
    assert not questions.is_stuck(5)
    clock[0] += 2
    assert questions.is_stuck(5)
    questions.found_missing()
    clock[0] += 11
    assert not questions.is_stuck(0)  # it has been sent again, and gets more time
    clock[0] += 10
    assert questions.is_stuck(0)
