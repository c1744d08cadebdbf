"""Keep what arrived: a few stations that do not answer are no reason to lose the readings of all others.

python examples/partial_results.py
ANYRUNNER=process python examples/partial_results.py
"""

from __future__ import annotations

from prefect import flow, task

from prefect_anyrunner import AnyTaskRunner, Report, settle

READINGS = {"north": [3.0, 5.0], "south": [7.5], "east": [], "west": [1.0, 2.0, 3.0]}


@task
def mean(station: str) -> float:
    """Return the mean reading of a station. Raises ZeroDivisionError if there is none, KeyError for an unknown one."""
    readings = READINGS[station]
    return sum(readings) / len(readings)


@flow(task_runner=AnyTaskRunner())
def weather(stations: list[str]) -> dict[str, float | None]:
    """Return the mean of each station, None where there is none; fail if more than half of them have none."""
    report: Report = settle(mean.map(stations), policy="tolerate=50%")
    report.raise_for_failures()
    if report.failures:
        print(report.summary())
    return dict(zip(stations, report.results(default=None), strict=True))


if __name__ == "__main__":
    print(weather(["north", "south", "east", "west"]))
