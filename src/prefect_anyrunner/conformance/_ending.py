"""Rules W, K, E, S, L and A: waiting, cancelling, and how a flow run ends."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from pathlib import Path
from typing import Any

from prefect.exceptions import CancelledRun
from prefect.futures import as_completed, wait

from .. import Outcome, Status, agather, as_settled, gather
from . import tasks
from ._subject import Subject, agree, contradictions, ended, limit, lines, now, shown, until
from ._table import case


@case("W1-agree", "wait, result, state and add_done_callback all say what the outcome says.")
def agree_with_outcome(run: Subject) -> None:
    """Ask a completed, a failed and a crashed run in every way."""

    def body() -> None:
        held: Any = tasks.hold.submit(run.path("started"), go := run.path("go"))
        early: list[bool] = []
        held.add_done_callback(lambda who: early.append(now(who) is not None))
        Path(go).touch()
        until(lambda: bool(early))
        assert early == [True], "the callback was called before the run had ended"
        for future, status in (
            (tasks.double.submit(2), Status.COMPLETED),
            (tasks.raise_rich.submit(), Status.FAILED),
            (tasks.raise_base.submit(run.path("ran"), "OwnBase"), Status.CRASHED),
        ):
            told: Any = future
            called: list[Any] = []
            here = threading.Event()

            def note(who: Any, called: list[Any] = called, here: threading.Event = here) -> None:
                called.append((who.task_run_id, now(who) is not None))
                here.set()

            told.add_done_callback(note)
            outcome = ended(told)
            assert outcome.status is status, outcome
            assert agree(outcome, told.state), told.state
            assert here.wait(30), "the callback was not called"
            told.add_done_callback(note)  # at once, now that it has ended
            assert called == [(told.task_run_id, True)] * 2
            if status is Status.COMPLETED:
                assert told.result() == outcome.value == 4
                continue
            assert told.result(raise_on_failure=False) is outcome.error
            try:
                told.result(timeout=30)
            except BaseException as raised:
                assert raised is outcome.error
            else:
                raise AssertionError("result() did not raise")

    run.inside(body)


@case("W1-timeout", "wait(timeout) and result(timeout) do not say that a run has ended before it has.")
def timeout_is_honest(run: Subject) -> None:
    """Ask a run that waits for a file."""
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


@case("W1-prefect-waits", "Prefect's own wait and as_completed leave every future knowing its final state.")
def prefect_waits(run: Subject) -> None:
    """Wait in Prefect's ways for what completes, fails and crashes."""

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
    """Keep all workers busy, and cancel what is behind."""
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
    """Cancel what waits for a run that goes on."""
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


@case("K1-while-running", "A run that is cancelled while it computes in Python ends cancelled, and its worker goes on.")
def cancel_while_running(run: Subject) -> None:
    """Stop an endless loop."""
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


@case("E1-unawaited", "When a flow ends, what runs is let finish, what has not started is cancelled.")
def unawaited(run: Subject) -> None:
    """Leave a flow while all workers are busy and more is behind."""
    started, go, ran = run.path("started"), run.path("go"), run.path("ran")
    futures: list[Any] = []

    def body() -> None:
        futures.extend(tasks.hold.submit(started, go) for _ in range(run.workers))
        until(lambda: lines(started) == run.workers)
        futures.extend(tasks.note.submit(ran) for _ in range(3))
        futures.append(tasks.double.submit(futures[0]))

    def let_go() -> None:  # only after the end of the flow has cancelled the others
        try:
            until(lambda: len(futures) == run.workers + 4 and all(map(now, futures[run.workers :])))
        finally:
            Path(go).touch()

    watching = threading.Thread(target=let_go)
    watching.start()
    try:
        run.flow(body)
    finally:
        watching.join()
    outcomes = [ended(future) for future in futures]
    assert [each.status.value for each in outcomes] == ["completed"] * run.workers + ["cancelled"] * 4
    # What an engine still held of that flow comes before this, if it comes at all.
    run.flow(lambda: [ended(future) for future in tasks.double.map(range(run.workers * 4))])
    assert lines(ran) == 0
    wrong = contradictions(outcomes)
    assert not wrong, "\n".join(wrong)


@case("S1-told", "After the flow run the Prefect API shows for every run the state of its outcome.")
def told(run: Subject) -> None:
    """End runs in every way and read each back."""
    started = run.path("started")

    def body() -> list[Outcome]:
        failed: Any = tasks.raise_rich.submit()
        futures: list[Any] = [
            tasks.double.submit(1),
            failed,
            tasks.raise_base.submit(run.path("ran"), "SystemExit"),
            tasks.echo.submit(failed),
            tasks.make_lock.submit(),
            tasks.echo.submit(threading.Lock()),
            tasks.raise_special.submit("lock"),
            *tasks.double.map(range(10)),
        ]
        spinning: Any = tasks.spin.submit(started)
        until(lambda: lines(started))
        spinning.cancel()
        return [ended(future) for future in [*futures, spinning]]

    outcomes = run.flow(body)
    wrong = contradictions(outcomes)
    assert not wrong, "\n".join(wrong)
    assert {outcome.status for outcome in outcomes} >= {
        Status.COMPLETED,
        Status.FAILED,
        Status.CRASHED,
        Status.BLOCKED,
        Status.CANCELLED,
    }


@case("A1-async", "An async flow submits async and sync tasks, and each ends as it would elsewhere.")
def from_async(run: Subject) -> None:
    """Submit from a coroutine."""

    async def body() -> list[Any]:
        first: Any = tasks.double_async.submit(1)
        futures: list[Any] = [
            first,
            tasks.double.submit(first),
            tasks.double_async.submit(first),
            tasks.raise_async.submit(),
            *tasks.double_async.map([5, 6]),
        ]
        outcomes = [ended(future) for future in futures]
        return [(each.status.value, each.value if each.error is None else type(each.error)) for each in outcomes]

    assert run.async_flow(body) == [
        ("completed", 2),
        ("completed", 4),
        ("completed", 4),
        ("failed", tasks.Broken),
        ("completed", 10),
        ("completed", 12),
    ]


@case("A1-loop", "Neither submit nor agather blocks the event loop; as_settled works in async for.")
def loop_goes_on(run: Subject) -> None:
    """Have a coroutine release, from the same loop, what another one waits for."""
    started, go = run.path("started"), run.path("go")
    over = threading.Event()

    def rescue() -> None:  # a loop that stands still would wait for ever
        until(lambda: lines(started) or over.is_set())
        if not over.wait(limit() * 0.4):
            Path(go).touch()

    rescuing = threading.Thread(target=rescue)

    async def body() -> tuple[Any, list[Any], bool]:
        async def release() -> bool:
            while not lines(started):
                await asyncio.sleep(0.02)
            in_time = not Path(go).exists()
            Path(go).touch()
            return in_time

        releasing = asyncio.create_task(release())
        values = await agather([tasks.hold.submit(started, go), tasks.double_async.submit(4)])
        one_by_one = [outcome.value async for outcome in as_settled(tasks.double_async.map([1, 2]))]
        return values, sorted(one_by_one), await releasing

    rescuing.start()
    try:
        values, one_by_one, in_time = run.async_flow(body)
    finally:
        over.set()
        rescuing.join()
    assert in_time, "the event loop stood still while a task ran"
    assert (values, one_by_one) == (["done", 8], [2, 4])


@case("L1-stopped", "The processes that a flow run started are gone when it has ended.", only="process")
def engine_is_stopped(run: Subject) -> None:
    """Ask workers who they are, and look for them afterwards."""
    pids = run.flow(lambda: gather([tasks.process_id.submit() for _ in range(4)]))

    def gone(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    until(lambda: all(map(gone, pids)))


@case("L1-duplicate", "A runner, its duplicate and its pickled copy are equal; one with other settings is not.")
def duplicate(run: Subject) -> None:
    """Duplicate one with a setting that is not the default."""
    one = run.make(**run.setting)
    again = one.duplicate()
    assert type(again) is type(one)
    assert again is not one
    assert again == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert run.make() == run.make()
    if run.setting:
        assert run.make() != one
    for name, value in run.setting.items():
        assert getattr(again, name, value) == value


@case("L1-live-cluster", "A live cluster stays with the duplicate and is still there afterwards.", only="dask")
def live_cluster(run: Subject) -> None:
    """Start a cluster in this process and run on the duplicate of its runner."""
    import distributed

    kind: Any = type(run.make())
    with distributed.LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        runner = kind(cluster=cluster)
        again = runner.duplicate()
        assert again == runner
        for _ in range(2):  # what a flow run used is free for the next
            outcome = run.flow_on(again, lambda: ended(tasks.double.submit(1)))
            assert outcome.value == 2
            assert outcome.worker is not None
            assert any(worker.address in outcome.worker for worker in cluster.workers.values())
        assert cluster.status.name == "running"
