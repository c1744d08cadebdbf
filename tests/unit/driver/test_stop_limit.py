"""Signals that arrive while something starts or stops."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from prefect_anyrunner._driver.stop_limit import StopLimit, finish_until_stopped, signals_held_back


class Terminated(BaseException):
    """What the handler of SIGTERM raises, as Prefect's does."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    yield
    assert signal.getsignal(signal.SIGTERM) is end
    signal.signal(signal.SIGTERM, before)


def test_a_signal_is_raised_when_the_block_ends() -> None:
    done = []
    with pytest.raises(Terminated), signals_held_back(lambda: done.append("arrived")):
        signal.raise_signal(signal.SIGTERM)
        done.append("went on")
    assert done == ["arrived", "went on"]


def test_a_second_signal_is_raised_at_once() -> None:
    with pytest.raises(Terminated), signals_held_back():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the second signal was held back, too")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarms")
def test_an_alarm_is_raised_when_the_block_ends_and_a_signal_goes_first() -> None:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        done = []
        with pytest.raises(TimeoutError), signals_held_back(lambda: pytest.fail("nobody asked to stop")):
            signal.raise_signal(signal.SIGALRM)
            done.append("went on")
        with pytest.raises(Terminated), signals_held_back(lambda: done.append("arrived")):
            signal.raise_signal(signal.SIGALRM)
            signal.raise_signal(signal.SIGTERM)
            done.append("went on")
        assert done == ["went on", "arrived", "went on"]
        assert signal.getsignal(signal.SIGALRM) is ring
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_block_in_a_block_holds_it_back_until_the_outer_one_ends() -> None:
    done = []
    with pytest.raises(Terminated), signals_held_back():
        with signals_held_back():
            signal.raise_signal(signal.SIGTERM)
        done.append("went on")
    assert done == ["went on"]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_held_back(lambda: pytest.fail("it was not ignored")):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_during_a_quiet_end_makes_it_one_that_stops() -> None:
    calls: list[type[BaseException] | None] = []

    def finish(exc_type: type[BaseException] | None) -> None:
        calls.append(exc_type)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Terminated):
        finish_until_stopped(finish, None, StopLimit(20), stop=False)
    assert calls == [None, Terminated]


def test_a_second_signal_leaves_no_time_for_bodies_but_for_the_api() -> None:
    limit = StopLimit(1000)
    limit.begin()
    assert limit.left_for_bodies() > 400

    def finish(exc_type: type[BaseException] | None) -> None:
        signal.raise_signal(signal.SIGTERM)
        assert limit.left_for_bodies() == 0 and 400 < limit.left() <= 500

    with pytest.raises(Terminated):
        finish_until_stopped(finish, Terminated, limit, stop=False)
