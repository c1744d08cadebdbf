"""Rules E, S, L and A: the end of a flow run, the Prefect API, settings of runners, async flows."""

from __future__ import annotations

import asyncio
import pickle
import threading
from pathlib import Path
from typing import Any

from prefect_anyrunner import Outcome, Status, agather, as_settled, gather
from prefect_anyrunner.conformance import task_errors, tasks
from prefect_anyrunner.conformance.checks import agree, contradictions, ended, lines, now, states_now, until
from prefect_anyrunner.conformance.open_flow import limit
from prefect_anyrunner.conformance.processes import is_running
from prefect_anyrunner.conformance.subject import Subject
from prefect_anyrunner.conformance.table import case


@case("E1-unawaited", "When a flow ends, running task runs may finish, and runs that have not started are cancelled.")
def unawaited(run: Subject) -> None:
    """End a flow while all workers are busy and more runs are waiting."""
    started, go, ran = run.path("started"), run.path("go"), run.path("ran")
    futures: list[Any] = []

    def body() -> None:
        futures.extend(tasks.hold.submit(started, go) for _ in range(run.workers))
        until(lambda: lines(started) == run.workers)
        futures.extend(tasks.note.submit(ran) for _ in range(3))
        futures.append(tasks.double.submit(futures[0]))

    def let_go() -> None:  # only after the end of the flow has cancelled the waiting runs
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
    # If the engine still holds runs of that flow, it starts them before these.
    run.flow(lambda: [ended(future) for future in tasks.double.map(range(run.workers * 4))])
    assert lines(ran) == 0
    wrong = contradictions(outcomes)
    assert not wrong, "\n".join(wrong)


@case("S1-reported", "After the flow run the Prefect API shows the state of the outcome for every run.")
def api_agrees(run: Subject) -> None:
    """End runs in every way and read their states back."""
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


@case("S2-recorded", "When a flow has ended, the Prefect API has the end of every run, however fast the runs ended.")
def recorded(run: Subject) -> None:
    """Map a no-op and read all runs back once, without waiting."""

    def body() -> list[Outcome]:
        return [ended(future) for future in tasks.double.map(range(60))]

    outcomes = run.flow(body)
    states = states_now(outcome.task_run_id for outcome in outcomes)
    missing = [outcome for outcome in outcomes if not agree(outcome, states.get(outcome.task_run_id))]
    assert not missing, f"the API has not recorded how {len(missing)} of {len(outcomes)} runs ended"


@case("A1-async", "An async flow submits async and sync tasks, and each ends as in a sync flow.")
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
        ("failed", task_errors.Broken),
        ("completed", 10),
        ("completed", 12),
    ]


@case("A1-loop", "Neither submit nor agather blocks the event loop; as_settled works in async for.")
def loop_goes_on(run: Subject) -> None:
    """Let a coroutine release a task run that another coroutine of the same loop waits for."""
    started, go = run.path("started"), run.path("go")
    over = threading.Event()

    def rescue() -> None:  # a blocked event loop would wait for ever
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
    assert in_time, "the event loop was blocked while a task ran"
    assert (values, one_by_one) == (["done", 8], [2, 4])


@case("L1-stopped", "The processes that a flow run has started are gone when it has ended.", only="process")
def engine_is_stopped(run: Subject) -> None:
    """Return the process ids of workers, and check them after the flow run."""
    pids = run.flow(lambda: gather([tasks.process_id.submit() for _ in range(4)]))

    until(lambda: not any(map(is_running, pids)))


@case("L1-duplicate", "A runner, its duplicate and its pickled copy are equal; one with other settings is not.")
def duplicate(run: Subject) -> None:
    """Duplicate a runner with a setting that is not the default."""
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


@case(
    "L1-live-cluster",
    "A duplicate uses the live cluster of its runner, which stays up afterwards.",
    only="dask",
)
def live_cluster(run: Subject) -> None:
    """Start a cluster in this process and run on a duplicate of its runner."""
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
        for _ in range(2):  # the second flow run needs the worker that the first one used
            outcome = run.flow_on(again, lambda: ended(tasks.double.submit(1)))
            assert outcome.value == 2
            assert outcome.worker is not None
            assert any(worker.address in outcome.worker for worker in cluster.workers.values())
        assert cluster.status.name == "running"
