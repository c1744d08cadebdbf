"""Rules W1 and K1: waiting for task runs and cancelling them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from prefect.exceptions import CancelledRun
from prefect.futures import as_completed, wait

from prefect_anyrunner import Outcome, Status
from prefect_anyrunner.conformance import tasks
from prefect_anyrunner.conformance.checks import agree, ended, lines, now, shown, until
from prefect_anyrunner.conformance.open_flow import limit
from prefect_anyrunner.conformance.subject import Subject
from prefect_anyrunner.conformance.table import case


@case("W1-agree", "wait, result, state and add_done_callback agree with the outcome.")
def agree_with_outcome(run: Subject) -> None:
    """Use every method of a completed, a failed and a crashed run's future."""

    def body() -> None:
        held: Any = tasks.hold.submit(run.path("started"), go := run.path("go"))
        early: list[bool] = []
        held.add_done_callback(lambda who: early.append(now(who) is not None))
        Path(go).touch()
        until(lambda: bool(early))
        assert early == [True], "the callback was called before the run had ended"
        pairs: list[tuple[Any, Status]] = [
            (tasks.double.submit(2), Status.COMPLETED),
            (tasks.raise_rich.submit(), Status.FAILED),
            (tasks.raise_base.submit(run.path("ran"), "OwnBase"), Status.CRASHED),
        ]
        for future, status in pairs:
            called: list[Any] = []
            here = threading.Event()

            def note(who: Any, called: list[Any] = called, here: threading.Event = here) -> None:
                called.append((who.task_run_id, now(who) is not None))
                here.set()

            future.add_done_callback(note)
            outcome = ended(future)
            assert outcome.status is status, outcome
            assert agree(outcome, future.state), future.state
            assert here.wait(30), "the callback was not called"
            future.add_done_callback(note)  # at once, now that it has ended
            assert called == [(future.task_run_id, True)] * 2
            if status is Status.COMPLETED:
                assert future.result() == outcome.value == 4
                continue
            assert future.result(raise_on_failure=False) is outcome.error
            try:
                future.result(timeout=30)
            except BaseException as raised:
                assert raised is outcome.error
            else:
                raise AssertionError("result() did not raise")

    run.inside(body)


@case("W1-timeout", "wait(timeout) and result(timeout) do not report an end before the run has ended.")
def timeout_ends_wait(run: Subject) -> None:
    """Use the future of a run that waits for a file."""
    started, go = run.path("started"), run.path("go")

    def body() -> None:
        future: Any = tasks.hold.submit(started, go)
        try:
            until(lambda: lines(started))
            future.wait(0.01)
            assert now(future) is None
            assert not future.state.is_final()
            try:
                future.result(timeout=0.01)
            except TimeoutError:
                pass
            else:
                raise AssertionError("result() did not raise TimeoutError")
        finally:
            Path(go).touch()
        assert ended(future).value == "done"

    run.inside(body)


@case("W1-prefect-waits", "After Prefect's own wait and as_completed, every future has its final state.")
def prefect_waits(run: Subject) -> None:
    """Wait with Prefect's functions for runs that complete, fail and crash."""

    def body() -> None:
        for wait_for_all in (lambda them: wait(them, timeout=limit()), lambda them: [*as_completed(them)]):
            three: list[Any] = [
                tasks.double.submit(2),
                tasks.raise_rich.submit(),
                tasks.raise_base.submit(run.path("ran"), "OwnBase"),
            ]
            wait_for_all(three)
            assert [future.state.type.value for future in three] == ["COMPLETED", "FAILED", "CRASHED"]

    run.inside(body)


@case("K1-before-start", "A run that is cancelled before it starts never starts, and the API shows it as cancelled.")
def cancel_before_start(run: Subject) -> None:
    """Keep all workers busy, and cancel a run that waits for one."""
    started, go, ran = run.path("started"), run.path("go"), run.path("ran")

    def body() -> Outcome:
        holding = [tasks.hold.submit(started, go) for _ in range(run.workers)]
        try:
            until(lambda: lines(started) == run.workers)
            behind: Any = tasks.note.submit(ran)
            after: Any = tasks.note.submit(ran, behind)
            assert behind.cancel()
            outcome = ended(behind)
            assert ended(after).status is Status.BLOCKED
            assert not behind.cancel()
        finally:
            Path(go).touch()
        assert [ended(future).value for future in holding] == ["done"] * run.workers
        assert ended(tasks.double.submit(1)).value == 2
        return outcome

    outcome = run.flow(body)
    assert outcome.status is Status.CANCELLED
    assert isinstance(outcome.error, CancelledRun)
    state = shown(outcome)
    assert agree(outcome, state), state
    assert lines(ran) == 0


@case("K1-waiting", "A run that is cancelled while it waits for an upstream run never starts.")
def cancel_waiting(run: Subject) -> None:
    """Cancel a run whose upstream is still running."""
    started, go, ran = run.path("started"), run.path("go"), run.path("ran")

    def body() -> Outcome:
        upstream: Any = tasks.hold.submit(started, go)
        try:
            waiting: Any = tasks.note.submit(ran, upstream)
            until(lambda: lines(started))
            assert waiting.cancel()
            outcome = ended(waiting)
        finally:
            Path(go).touch()
        assert ended(upstream).status is Status.COMPLETED
        return outcome

    outcome = run.inside(body)
    assert outcome.status is Status.CANCELLED
    assert agree(outcome, shown(outcome))
    assert lines(ran) == 0


@case("K1-while-running", "A run that is cancelled while it computes in Python ends cancelled, and its worker stays.")
def cancel_while_running(run: Subject) -> None:
    """Cancel a run in an endless loop."""
    started = run.path("started")

    def body() -> Outcome:
        future: Any = tasks.spin.submit(started)
        until(lambda: lines(started))
        assert future.cancel()
        outcome = ended(future)
        assert ended(tasks.double.submit(1)).value == 2
        return outcome

    outcome = run.inside(body)
    assert outcome.status is Status.CANCELLED, outcome
    assert lines(started) == 1
    state = shown(outcome)
    assert agree(outcome, state), state
