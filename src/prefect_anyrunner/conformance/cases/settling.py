"""Rules O and E: settling once, again, after the flow run, and by the caller of the flow."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow
from prefect.exceptions import CrashedRun

from prefect_anyrunner import Report, Status, TaskRunsFailed, gather, settle
from prefect_anyrunner.conformance import task_errors, tasks
from prefect_anyrunner.conformance.checks import lines, until
from prefect_anyrunner.conformance.open_flow import limit
from prefect_anyrunner.conformance.subject import Subject
from prefect_anyrunner.conformance.table import case


@case("O1-order", "Outcomes are in submission order, a future may be given twice, and the shape is kept.")
def order(run: Subject) -> None:
    """Settle a nested argument that holds one future twice."""

    def body() -> tuple[Any, Report]:
        first, second, third = (tasks.double.submit(number) for number in range(3))
        futures = {"a": [third, first], "b": (first, {"c": second}), "none": []}
        return gather(futures), settle(futures)

    values, report = run.inside(body)
    assert values == {"a": [4, 0], "b": (0, {"c": 2}), "none": []}
    assert [outcome.index for outcome in report] == [0, 1, 2, 3]
    assert [outcome.path for outcome in report] == [("a", 0), ("a", 1), ("b", 0), ("b", 1, "c")]
    assert [outcome.value for outcome in report] == [4, 0, 0, 2]


@case("O1-group", "The combined failure has its members in submission order, and its message counts them.")
def group(run: Subject) -> None:
    """Gather runs that complete, fail, crash and are blocked."""
    ran = run.path("ran")

    def body() -> TaskRunsFailed:
        failed: Any = tasks.raise_rich.submit()
        futures = [
            tasks.raise_base.submit(ran, "OwnBase"),
            tasks.double.submit(1),
            failed,
            tasks.echo.submit(failed),
            tasks.raise_special.submit("two"),
        ]
        try:
            gather(futures)
        except TaskRunsFailed as failure:
            return failure
        raise AssertionError("gather() did not raise")

    failure = run.inside(body)
    assert [type(error) for error in failure.exceptions] == [CrashedRun, task_errors.Broken, task_errors.TwoArguments]
    assert failure.exceptions[1].args == ("outer", 3)
    assert str(failure).startswith("3 of 5 task runs failed"), str(failure)
    assert "1 blocked by them" in str(failure), str(failure)
    broken, rest = failure.split(task_errors.Broken)
    assert isinstance(broken, TaskRunsFailed)
    assert [outcome.error for outcome in broken.outcomes] == [failure.exceptions[1]]
    assert rest is not None


@case("O1-many", "The values of a wide map are in order, each in its own future.")
def many(run: Subject) -> None:
    """Map over a hundred numbers."""
    report = run.inside(lambda: settle(tasks.double.map(range(100))))
    assert [outcome.value for outcome in report] == [2 * number for number in range(100)]


@case("O1-equal", "Equal submits are separate runs, each executed once.")
def equal_submits(run: Subject) -> None:
    """Submit the same task with the same arguments five times."""
    path = run.path("ran")

    def body() -> Report:
        return settle([*tasks.note.map([path] * 3, [7] * 3), *(tasks.note.submit(path, 7) for _ in range(2))])

    report = run.inside(body)
    assert [outcome.value for outcome in report] == [7] * 5
    assert len({outcome.task_run_id for outcome in report}) == 5
    assert lines(path) == 5


@case("O2-again", "Settling twice gives equal reports, also after the flow run and its runner have ended.")
def again(run: Subject) -> None:
    """Settle the same futures in the flow and after it."""
    futures: list[Any] = []
    reports: list[Report] = []

    def body() -> None:
        failed: Any = tasks.raise_rich.submit()
        futures.extend([tasks.double.submit(1), failed, tasks.echo.submit(failed)])
        reports.extend([settle(futures), settle(futures)])

    run.flow(body)
    reports.append(settle(futures, timeout=limit()))
    assert list(reports[0]) == list(reports[1]) == list(reports[2])
    assert [outcome.status for outcome in reports[2]] == [Status.COMPLETED, Status.FAILED, Status.BLOCKED]
    assert reports[2][0].value == 2


@flow
def returns_futures(path: str) -> Any:
    """Return futures without waiting for them."""
    failed: Any = tasks.raise_rich.submit()
    crashed = tasks.raise_base.submit(path, "OwnBase")
    return {
        "good": [tasks.double.submit(1), tasks.double.submit(2)],
        "bad": (failed, tasks.echo.submit(failed), crashed),
    }


@case("E2-returned", "The caller of a flow can settle the futures that the flow returned; each has its outcome.")
def returned(run: Subject) -> None:
    """Return nested futures from a flow, and settle them outside."""
    answer = returns_futures.with_options(task_runner=run.make())(run.path("ran"))
    report = settle(answer, timeout=limit())
    assert [outcome.status.value for outcome in report] == ["completed", "completed", "failed", "blocked", "crashed"]
    assert [outcome.value for outcome in report[:2]] == [2, 4]
    assert isinstance(report[2].error, task_errors.Broken)
    assert report[2].error.args == ("outer", 3)


@case("E2-kept", "Futures that outlive their flow run have their outcomes, whether the flow waited for them or not.")
def kept(run: Subject) -> None:
    """Keep futures beyond the end of the flow, in a list outside it."""
    ran = run.path("ran")
    futures: list[Any] = []

    def body() -> None:
        futures.extend([tasks.note.submit(ran, 3), tasks.raise_special.submit("two")])
        until(lambda: lines(ran))

    run.flow(body)
    first, second = settle(futures, timeout=limit())
    assert (first.status, first.value) == (Status.COMPLETED, 3), first
    # It depends on whether the run had started before the flow ended.
    assert second.status is Status.CANCELLED or isinstance(second.error, task_errors.TwoArguments), second


@case("E1-counted", "One log line gives the number of runs that were never awaited.")
def unawaited_logged(run: Subject) -> None:
    """Submit three runs and wait for one of them."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    runner = run.make()
    listener, level = Listener(), runner.logger.level
    runner.logger.addHandler(listener)
    runner.logger.setLevel(logging.WARNING)
    try:

        def body() -> None:
            tasks.double.map([1, 2])
            tasks.double.submit(3).wait()

        run.flow_on(runner, body)
    finally:
        runner.logger.removeHandler(listener)
        runner.logger.setLevel(level)
    lines_about = [line for line in messages if "never awaited" in line]
    assert len(lines_about) == 1, messages
    assert lines_about[0].startswith("2 submitted task runs were never awaited"), lines_about
