"""Objects and bodies that misbehave; each of them ends its own run at most."""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from prefect_anyrunner import Status
from prefect_anyrunner.backends import Capability
from prefect_anyrunner.conformance import hostile_tasks, task_errors, tasks
from prefect_anyrunner.conformance.checks import contradictions, ended, read_task_run, statuses, until
from prefect_anyrunner.conformance.open_flow import api_limit
from prefect_anyrunner.conformance.subject import Subject
from prefect_anyrunner.conformance.table import case


@case("F1-no-text", "An exception that cannot be printed is the failure of its task, as itself.")
def no_text(run: Subject) -> None:
    """Raise an exception whose `__str__` and `__repr__` raise."""

    def body() -> None:
        outcome = ended(hostile_tasks.raise_without_text.submit())
        assert outcome.status is Status.FAILED, outcome.status
        assert outcome.error is not None
        assert type(outcome.error).__name__ == "NoText"
        assert outcome.error.args == (3,)
        assert traceback.extract_tb(outcome.error.__traceback__)[-1].name == "raise_without_text"
        assert not contradictions([outcome])

    run.inside(body)


@case("V1-result-refuses", "A result that cannot be unpickled fails its run, by name; its peers complete.")
def result_refuses(run: Subject) -> None:
    """Return objects that raise, or exit, when they are unpickled."""

    def body() -> None:
        hows = ["live", "refuse", "exit", "live"]
        outcomes = [ended(future) for future in hostile_tasks.refuse.map(hows)]
        for how, outcome in zip(hows, outcomes, strict=True):
            if how == "live" or not run.can(Capability.SEPARATE_PROCESS):
                assert outcome.status is Status.COMPLETED, outcome
                continue
            assert outcome.status is Status.FAILED, outcome
            for part in ("the result of task 'refuse'", "_refuse" if how == "refuse" else "exit"):
                assert part in str(outcome.error), f"{part!r} is not in: {outcome.error}"
        assert statuses(tasks.double.map([1, 2])) == ["completed"] * 2
        assert not contradictions(outcomes)

    run.inside(body)


@case("V1-argument-refuses", "An argument that cannot be unpickled fails only its own run, by name.")
def argument_refuses(run: Subject) -> None:
    """Take objects that raise, or exit, when they are unpickled."""

    def body() -> None:
        outcomes = [ended(each) for each in tasks.echo.map([1, hostile_tasks.Refuses(), hostile_tasks.Exits(), 4])]
        assert [outcomes[0].value, outcomes[3].value] == [1, 4]
        for outcome in outcomes[1:3]:
            if not run.can(Capability.SEPARATE_PROCESS):
                assert outcome.status is Status.COMPLETED, outcome
                continue
            assert outcome.status is Status.FAILED, outcome
            assert "the arguments of task 'echo'" in str(outcome.error), outcome.error
        assert not contradictions(outcomes)

    run.inside(body)


@case(
    "C2-argument-kills",
    "A worker that dies while it unpickles an argument crashes only that run.",
    needs=(Capability.SURVIVE_WORKER_DEATH,),
)
def argument_kills(run: Subject) -> None:
    """Map over an object that kills the process that unpickles it."""

    def body() -> None:
        outcomes = [ended(each) for each in tasks.echo.map([1, hostile_tasks.KillsReader(), 3])]
        assert [outcome.status.value for outcome in outcomes] == ["completed", "crashed", "completed"]
        assert not contradictions(outcomes)

    run.inside(body)


@case("F6-returned-pending", "A task that returns a state which is not final has crashed, also in the API.")
def returned_pending(run: Subject) -> None:
    """Return `Pending`."""

    def body() -> None:
        outcome = ended(hostile_tasks.return_pending.submit())
        assert outcome.status is Status.CRASHED, outcome
        assert "Pending" in str(outcome.error), outcome.error
        assert not contradictions([outcome])

    run.inside(body)


@case("N1-returned-future", "A task may return futures of runs that it has submitted; they arrive with their outcomes.")
def returned_future(run: Subject) -> None:
    """Return futures from as many tasks as the engine has workers."""
    count = run.workers

    def body() -> None:
        outcomes = [ended(each) for each in hostile_tasks.return_future.map(range(count))]
        assert [outcome.status for outcome in outcomes] == [Status.COMPLETED] * count, outcomes
        for number, outcome in enumerate(outcomes):
            good, nested = outcome.value
            assert ended(good).value == 2 * number
            assert ended(nested["failed"]).status is Status.FAILED
            assert type(ended(nested["failed"]).error) is task_errors.Broken

    run.inside(body)


@case("N1-chain", "A task may wait for a run that waits for another run of its own, with every worker in use.")
def chain_in_a_task(run: Subject) -> None:
    """Submit a chain from as many tasks as the engine has workers."""
    count = run.workers
    outcomes = run.inside(lambda: [ended(each) for each in hostile_tasks.submit_chain.map(range(count))])
    assert [(each.status, each.value) for each in outcomes] == [(Status.COMPLETED, 4 * n) for n in range(count)]


@case("N1-timeouts", "Inside a task, waits end at their timeout, and outcomes arrive as runs end.")
def timeouts_in_a_task(run: Subject) -> None:
    """Wait in every way for a run that goes on until these waits have ended."""
    outcome = run.inside(lambda: ended(hostile_tasks.wait_in_vain.submit(run.path("started"), run.path("go"))))
    assert outcome.value == ["unfinished", "double", "done"], outcome


@case("N1-timeouts-async", "Inside an async task, waits end at their timeout, and outcomes arrive as runs end.")
def timeouts_in_an_async_task(run: Subject) -> None:
    """Do the same as N1-timeouts, in an async task."""
    outcome = run.inside(lambda: ended(hostile_tasks.wait_in_vain_async.submit(run.path("started"), run.path("go"))))
    assert outcome.value == ["unfinished", "double", "done"], outcome


@case("S1-left-by-a-task", "Runs that a task has submitted and not waited for still end, and the API shows it.")
def left_by_a_task(run: Subject) -> None:
    """Let a task submit runs that outlast it, and end the flow run right after the task."""
    outcome = run.flow(lambda: ended(hostile_tasks.submit_and_leave.submit(run.path("started"), run.path("go"))))
    assert outcome.status is Status.COMPLETED, outcome
    for run_id in outcome.value:
        until(lambda: (state := read_task_run(run_id).state) is not None and state.is_final(), within=api_limit())  # noqa: B023


@case("N1-from-a-thread", "A task may submit and wait in threads that it has started.")
def from_a_thread(run: Subject) -> None:
    """Submit from a thread inside a task."""
    outcome = run.inside(lambda: ended(hostile_tasks.submit_from_thread.submit()))
    assert (outcome.status, outcome.value) == (Status.COMPLETED, 8), outcome


@case("F6-state-with-data", "A returned failed state whose data is not an exception fails the run with its message.")
def state_with_data(run: Subject) -> None:
    """Return a failed state with a number in it."""

    def body() -> None:
        outcome = ended(hostile_tasks.fail_with_data.submit())
        assert outcome.status is Status.FAILED, outcome
        assert str(outcome.error) == "on purpose"

    run.inside(body)


@case("W1-callback-exits", "A callback that exits ends only itself.")
def callback_exits(run: Subject) -> None:
    """Add a callback that calls `sys.exit`, and another one after it."""

    def body() -> None:
        called = threading.Event()
        future = tasks.double.submit(1)
        future.add_done_callback(lambda _: sys.exit(1))
        future.add_done_callback(lambda _: called.set())
        assert ended(future).value == 2
        until(called.is_set)

    run.flow(body)


@case("O1-map-of-results", "An iterator that is given to map may itself submit runs and wait for them.")
def map_of_results(run: Subject) -> None:
    """Map over a generator that waits for task runs of its own."""

    def body() -> None:
        outcomes = [ended(each) for each in tasks.double.map(tasks.double.submit(n).result() for n in range(3))]
        assert [outcome.value for outcome in outcomes] == [0, 4, 8]

    run.inside(body)


@case("E1-late-child", "Runs that are running when the flow ends may finish, and may still submit and wait.")
def late_child(run: Subject) -> None:
    """End a flow while a task runs that then submits another task and waits for it."""
    started, go = run.path("started"), run.path("go")
    futures: list[Any] = []

    def body() -> None:
        futures.append(hostile_tasks.submit_late.submit(started, go))
        until(lambda: Path(started).exists())
        threading.Timer(0.5, Path(go).touch).start()  # the flow should be ending by then

    run.flow(body)
    assert ended(futures[0]).value == 4
