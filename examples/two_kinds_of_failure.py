"""Answer two kinds of failure in two ways: bad input is reported, a full disk is worth another try.

python examples/two_kinds_of_failure.py
ANYRUNNER=dask python examples/two_kinds_of_failure.py
"""

from __future__ import annotations

from prefect import flow, task

from prefect_anyrunner import AnyTaskRunner, TaskRunsFailed, gather


class DiskFull(OSError):
    """The place for results is full."""


@task
def convert(line: str, full: bool) -> int:
    """Return the number in a line. Raises ValueError if there is none, DiskFull for an even one while `full`."""
    number = int(line)
    if full and number % 2 == 0:
        raise DiskFull(28, "no space left for", line)
    return number


@flow(task_runner=AnyTaskRunner())
def convert_all(lines: list[str]) -> dict[str, list[str]]:
    """Return the lines that were refused, and those that a second try converted."""
    refused: list[str] = []
    again: list[str] = []
    try:
        gather([convert.submit(line, full=True) for line in lines])
    except* ValueError as bad:
        refused = [lines[outcome.index] for outcome in _outcomes(bad)]
    except* DiskFull as full:
        again = [lines[outcome.index] for outcome in _outcomes(full)]
    gather([convert.submit(line, full=False) for line in again])
    return {"refused": refused, "converted later": again}


def _outcomes(group: BaseExceptionGroup) -> list:  # type: ignore[type-arg]
    """Return the outcomes of a part of a failure: `except*` hands over a TaskRunsFailed with its own."""
    assert isinstance(group, TaskRunsFailed)
    return list(group.outcomes)


if __name__ == "__main__":
    print(convert_all(["1", "2", "three", "4", "five"]))
