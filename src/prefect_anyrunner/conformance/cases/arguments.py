"""Rules V, U, N and X: arguments, results, upstream runs, nested runs, and the context of a task run."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from prefect import allow_failure, flow, tags, unmapped
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from prefect_anyrunner import Status
from prefect_anyrunner.backends import Capability
from prefect_anyrunner.conformance import task_errors, tasks
from prefect_anyrunner.conformance.checks import ended, lines, read_task_run, until
from prefect_anyrunner.conformance.subject import Subject
from prefect_anyrunner.conformance.table import case


@case("V1-argument", "An argument that cannot be pickled fails its own run, by name, and no other run of the map.")
def argument_cannot_travel(run: Subject) -> None:
    """Map over a lock between numbers."""
    outcomes = run.inside(lambda: [ended(future) for future in tasks.echo.map([1, threading.Lock(), 3])])
    assert [outcomes[0].value, outcomes[2].value] == [1, 3]
    if run.can(Capability.SEPARATE_PROCESS):
        assert outcomes[1].status is Status.FAILED
        for part in ("echo", "lock", "value"):
            assert part in str(outcomes[1].error), f"{part!r} is not in: {outcomes[1].error}"
    else:
        assert outcomes[1].status is Status.COMPLETED


@case("V1-result", "A result that cannot be pickled fails its own run, by name, and no other run of the map.")
def result_cannot_travel(run: Subject) -> None:
    """Return a lock between numbers."""
    first, outcome, last = run.inside(lambda: [ended(future) for future in tasks.lock_or.map([1, None, 3])])
    assert (first.value, last.value) == (1, 3)
    if run.can(Capability.SEPARATE_PROCESS):
        assert outcome.status is Status.FAILED
        for part in ("lock_or", "lock", "result"):
            assert part in str(outcome.error), f"{part!r} is not in: {outcome.error}"
    else:
        assert outcome.status is Status.COMPLETED


@case("V2-portable", "Portable threads pickle arguments, results and errors as a cluster does.", only="thread")
def portable(run: Subject) -> None:
    """Change an argument in place, and use objects that cannot be pickled."""
    mine = ["here"]

    def body() -> None:
        taken, lock_in, lock_out, error = [
            ended(future)
            for future in (
                tasks.identity.submit(mine),
                tasks.echo.submit(threading.Lock()),
                tasks.make_lock.submit(),
                tasks.raise_special.submit("lock"),
            )
        ]
        assert taken.status is Status.COMPLETED
        assert (taken.value != id(mine), mine) == (True, ["here"])
        assert (lock_in.status, lock_out.status) == (Status.FAILED, Status.FAILED)
        assert "echo" in str(lock_in.error)
        assert "make_lock" in str(lock_out.error)
        assert error.status is Status.FAILED
        assert type(error.error) is not task_errors.HoldsLock
        assert isinstance(error.error, ValueError)

    run.flow(body, portable=True)


@case("V2-process", "Tasks run outside the flow's process.", needs=(Capability.SEPARATE_PROCESS,))
def outside(run: Subject) -> None:
    """Compare process ids."""
    assert run.inside(lambda: ended(tasks.process_id.submit())).value != os.getpid()


@case("U1-argument", "A failed, crashed or blocked upstream blocks the runs that take it; the root is named.")
def upstream_argument(run: Subject) -> None:
    """Take such futures as arguments."""

    def body() -> None:
        failed: Any = tasks.raise_rich.submit()
        crashed: Any = tasks.raise_base.submit(run.path("ran"), "OwnBase")
        plain = tasks.echo.submit(failed)
        after_crash = tasks.echo.submit(crashed)
        nested = tasks.echo.submit({"deep": [1, (failed,)]})
        second: Any = tasks.echo.submit(nested)
        for future, root in ((plain, failed), (after_crash, crashed), (nested, failed), (second, failed)):
            outcome = ended(future)
            assert outcome.status is Status.BLOCKED, outcome
            assert outcome.upstream == (root.task_run_id,), outcome
            assert str(root.task_run_id) in str(outcome.error), outcome
            assert outcome.error is not None
            assert outcome.error.__cause__ is ended(root).error, outcome

    run.inside(body)


@case("U1-wait-for", "A failed, crashed or blocked upstream in wait_for blocks the run; a completed one does not.")
def upstream_wait_for(run: Subject) -> None:
    """Wait for each of them."""

    def body() -> None:
        failed: Any = tasks.raise_rich.submit()
        fine: Any = tasks.double.submit(1)
        blocked = ended(tasks.double.submit(number=2, wait_for=[fine, failed], return_state=False))
        assert blocked.status is Status.BLOCKED
        assert blocked.upstream == (failed.task_run_id,)
        crashed: Any = tasks.raise_base.submit(run.path("ran"), "OwnBase")
        behind: Any = tasks.double.submit(number=2, wait_for=[crashed], return_state=False)
        last = ended(tasks.double.submit(number=2, wait_for=[behind], return_state=False))
        assert last.status is Status.BLOCKED
        assert last.upstream == (crashed.task_run_id,)
        assert ended(tasks.double.submit(number=3, wait_for=[fine], return_state=False)).value == 6

    run.inside(body)


@case("U2-annotations", "allow_failure passes the exception itself; quote and unmapped do the same as on threads.")
def annotated(run: Subject) -> None:
    """Use each of them."""

    def body() -> None:
        failed: Any = tasks.raise_rich.submit()
        allowed = ended(tasks.describe.submit(allow_failure(failed)))
        assert allowed.status is Status.COMPLETED, allowed
        assert allowed.value == ("Broken", "('outer', 3)")
        fine: Any = tasks.double.submit(4)
        assert ended(tasks.describe.submit(allow_failure(fine))).value == ("int", "8")
        assert ended(tasks.echo.submit(quote([1, {"two": 3}]))).value == [1, {"two": 3}]
        assert ended(tasks.holds_future.submit(quote([fine]))).value is True, "quote() was resolved"
        sums = tasks.add.map([1, 2], unmapped(10))
        assert [ended(future).value for future in sums] == [11, 12]

    run.inside(body)


@case("U3-other-runner", "A finished future of another runner can be an argument.")
def other_runner(run: Subject) -> None:
    """Take the finished future of a flow on Prefect's own threads."""

    def body() -> Any:
        found: list[Any] = []

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
        def elsewhere() -> None:
            future = tasks.double.submit(5)
            future.wait()
            found.append(future)

        elsewhere()
        return ended(tasks.double.submit(found[0])).value

    assert run.flow(body) == 20


@case("U3-unfinished", "An unfinished future of another runner can be an argument, too.")
def unfinished_of_other(run: Subject) -> None:
    """Take a future of the flow run around this one, which runs on Prefect's own threads."""
    started, go = run.path("started"), run.path("go")
    found: list[Any] = []

    def body() -> Any:
        try:
            future = tasks.echo.submit(found[0])
        finally:
            Path(go).touch()
        return ended(future).value

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
    def around() -> Any:
        found.append(tasks.hold.submit(started, go))
        until(lambda: lines(started))
        return run.flow(body)

    assert around() == "done"


@case("U3-chain", "Results go from task to task through futures, and the flow need not wait.")
def chain(run: Subject) -> None:
    """Double three times, and add up a whole map."""

    def body() -> None:
        future: Any = tasks.double.submit(1)
        for _ in range(3):
            future = tasks.double.submit(future)
        assert ended(future).value == 16
        many: Any = tasks.double.map([1, 2, 3])
        assert ended(tasks.echo.submit(list(many))).value == [2, 4, 6]

    run.inside(body)


@case("N1-nested", "Tasks may submit tasks and wait for them, two deep, with more parents than workers.")
def nested(run: Subject) -> None:
    """Submit one more parent than the engine has workers."""
    count = run.workers + 1
    outcomes = run.inside(lambda: [ended(future) for future in tasks.descend.map([2] * count)])
    assert [(outcome.status.value, outcome.value) for outcome in outcomes] == [("completed", 2)] * count


@case("X1-tags", "A run has the tags of its submit, in the task and in the API.")
def each_its_tags(run: Subject) -> None:
    """Change the tags between submits."""

    def body() -> None:
        futures: list[Any] = []
        for tag in ("red", "blue"):
            with tags(tag):
                futures.append(tasks.who_am_i.submit(1))
        futures.append(tasks.who_am_i.submit(1))
        for future, expected in zip(futures, (["red"], ["blue"], []), strict=True):
            assert ended(future).value["tags"] == expected
            task_run_id = future.task_run_id
            until(lambda id=task_run_id, tags=expected: sorted(read_task_run(id).tags) == tags)  # type: ignore[misc]

    run.inside(body)


@case("X1-name-and-logger", "task_run_name templates name the run in the outcome, in the logger and in the API.")
def name_and_logger(run: Subject) -> None:
    """Name two runs by their argument."""

    def body() -> None:
        for number, future in zip((3, 4), tasks.who_am_i.map([3, 4]), strict=True):
            outcome = ended(future)
            values = outcome.value
            assert values["id"] == values["logger_id"] == str(outcome.task_run_id)
            assert values["logger_name"] == f"named-{number}"
            assert outcome.task_run_name in (f"named-{number}", None), outcome  # a stock future does not know the name
            assert outcome.task_run_id is not None
            task_run_id = outcome.task_run_id
            until(lambda id=task_run_id, name=f"named-{number}": read_task_run(id).name == name)  # type: ignore[misc]
            assert str(read_task_run(task_run_id).flow_run_id) == values["flow_run_id"]

    run.inside(body)


@case("X1-runtime", "prefect.runtime has the same values in a task as on threads.")
def runtime(run: Subject) -> None:
    """Read it in two runs of one map."""
    outcomes = run.inside(lambda: [ended(future) for future in tasks.runtime_values.map([1, 2])])
    for number, outcome in zip((1, 2), outcomes, strict=True):
        values = dict(outcome.value)
        assert outcome.task_run_id is not None
        assert (values.pop("name"), values.pop("task")) == (read_task_run(outcome.task_run_id).name, "runtime_values")
        assert values.pop("parameters") == {"number": number}
        assert values["flow"] == "conformance"
        assert list(values["flow parameters"]) == ["key"]


@case("X1-inputs", "The API shows which task runs an argument came from.")
def inputs(run: Subject) -> None:
    """Take one future as it is and one in a list, and wait for a third one."""

    def body() -> None:
        first, second, third = (tasks.double.submit(number) for number in range(3))
        outcome = ended(tasks.add.submit([first], other=[second], wait_for=[third], return_state=False))
        assert outcome.value == [0, 2]
        assert outcome.task_run_id is not None
        found: Any = read_task_run(outcome.task_run_id).task_inputs
        shown = {name: [str(each.id) for each in found.get(name, [])] for name in ("one", "other", "wait_for")}
        ids = [[str(future.task_run_id)] for future in (first, second, third)]
        assert shown == dict(zip(("one", "other", "wait_for"), ids, strict=True)), shown

    run.inside(body)


@case("X1-parent", "A task run that a task submits is linked to its parent in the API.")
def parent(run: Subject) -> None:
    """Submit one task from another."""

    def body() -> None:
        outcome = ended(tasks.submit_one.submit())
        assert outcome.status is Status.COMPLETED, outcome
        above, below = outcome.value
        assert above == str(outcome.task_run_id)
        inputs: Any = read_task_run(below).task_inputs
        assert [str(each.id) for each in inputs["__parents__"]] == [above]

    run.inside(body)


@case("X1-running", "While a task runs, the API shows it Running.")
def running(run: Subject) -> None:
    """Read the state while a run waits for a file."""
    started, go = run.path("started"), run.path("go")

    def body() -> None:
        future: Any = tasks.hold.submit(started, go)
        try:
            until(lambda: lines(started))
            until(lambda: read_task_run(future.task_run_id).state_name == "Running")
        finally:
            Path(go).touch()
        assert ended(future).value == "done"

    run.inside(body)
