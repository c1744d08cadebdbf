"""A user's CI test: the flow of partial_results.py gives the same answers and the same failures on every runner.

pytest examples/test_weather.py                              # on each runner that is installed
pytest examples/test_weather.py --anyrunner=thread,process   # quickly, before a push
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from partial_results import weather  # type: ignore[import-not-found]  # beside this file
from prefect_anyrunner import TaskRunsFailed

if TYPE_CHECKING:
    from prefect_anyrunner.pytest_plugin import AnyRunner


def test_a_station_without_readings_is_none(any_runner: AnyRunner) -> None:
    """What arrived is kept, and is the same wherever it was computed."""
    means = weather(["north", "south", "east", "west"])
    assert means == {"north": 4.0, "south": 7.5, "east": None, "west": 2.0}
    any_runner.record("means", means)


def test_too_many_without_readings_is_one_failure(any_runner: AnyRunner) -> None:
    """The combined failure holds the exceptions that the failed task runs raised."""
    with pytest.raises(TaskRunsFailed) as failed:
        weather(["east", "nowhere", "north"])
    assert [type(error) for error in failed.value.exceptions] == [ZeroDivisionError, KeyError]
    any_runner.record("failure", str(failed.value))
