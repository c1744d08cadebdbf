"""What the futures of the four stock runners of Prefect say, on their real engines (issue 17384 and its kin)."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import CancelledRun, CrashedRun, FailedRun, UnfinishedRun, UpstreamTaskError
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from prefect_anyrunner import Outcome, Status, TaskRunsFailed, agather, as_settled, asettle, gather, settle
from tests.stock import stock_tasks as tasks

RUNNERS = [
    "thread",
    "process",
    pytest.param("dask", marks=pytest.mark.dask),
    pytest.param("ray", marks=pytest.mark.ray),
]

Runner = TaskRunner[Any]


@pytest.fixture(scope="module", params=RUNNERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def runner(kind: str, prefect_server: str, request: pytest.FixtureRequest) -> Iterator[Runner]:
    with made(kind, request) as started:
        yield started


def made(kind: str, request: pytest.FixtureRequest) -> Runner:
    if kind == "thread":
        return thread_runner(4)
    if kind == "process":
        return process_runner(2)
    if kind == "dask":
        address = request.getfixturevalue("dask_cluster")
        return dask_runner(address)
    request.getfixturevalue("ray_head")
    return ray_runner()


def thread_runner(workers: int = 1) -> Runner:
    return ThreadPoolTaskRunner(max_workers=workers)


def process_runner(workers: int = 1) -> Runner:
    return ProcessPoolTaskRunner(max_workers=workers)


def dask_runner(address: str) -> Runner:
    from prefect_dask.task_runners import DaskTaskRunner

    runner: Runner = DaskTaskRunner(address=address)
    return runner


def ray_runner() -> Runner:
    from prefect_ray.task_runners import RayTaskRunner

    runner: Runner = RayTaskRunner()
    return runner


def submitted(runner: Runner, task: Any, **options: Any) -> Any:
    parameters = {name: value for name, value in options.items() if name != "wait_for"}
    return runner.submit(task, parameters, wait_for=options.get("wait_for"))


def mapped(runner: Runner, task: Any, parameters: dict[str, Any]) -> Any:
    return runner.map(task, parameters)


def only(future: Any, timeout: float | None = 100) -> Outcome:
    report = settle(future, timeout=timeout)
    assert len(report) == 1
    return report[0]


# --- what a body does -----------------------------------------------------------------------------------------------


def test_results_stand_in_order_and_shape(runner: Runner, kind: str) -> None:
    one, two = submitted(runner, tasks.double, number=1), submitted(runner, tasks.double, number=2)
    assert gather({"a": [two, one], "b": (two,)}) == {"a": [4, 2], "b": (4,)}
    assert [outcome.runner for outcome in settle([one])] == [kind]


def test_an_exception_is_itself_and_named(runner: Runner, kind: str) -> None:
    futures = mapped(runner, tasks.odd_fails, {"number": range(4)})
    with pytest.raises(TaskRunsFailed) as raised:
        gather(futures)
    group = raised.value
    assert group.message == "2 of 4 task runs failed: 2 ValueError (odd_fails[1], odd_fails[3])"
    assert [repr(member) for member in group.exceptions] == ["ValueError('odd 1')", "ValueError('odd 3')"]
    note = group.exceptions[0].__notes__[-1]
    assert note.startswith(f"Task run {futures[1].task_run_id}: odd_fails[1], named 'odd_fails")
    assert note.endswith(f"on {kind}")
    assert group.outcomes[0].started is not None
    assert group.outcomes[0].attempts == 1


def test_a_group_out_of_a_body_is_one_failure(runner: Runner) -> None:
    outcome = only(submitted(runner, tasks.raises_group))
    assert outcome.status is Status.FAILED
    assert isinstance(outcome.error, ExceptionGroup)
    assert [repr(inner) for inner in outcome.error.exceptions] == ["ValueError('one')", "KeyError('two')"]


def test_timeouts_of_the_user_are_failures(runner: Runner) -> None:
    own, limit = settle([submitted(runner, tasks.raises_timeout), submitted(runner, tasks.times_out)], timeout=100)
    assert own.status is limit.status is Status.FAILED
    assert repr(own.error) == "TimeoutError('of the user')"
    assert isinstance(limit.error, TimeoutError)
    assert limit.state is not None
    assert limit.state.name == "TimedOut"


def test_returned_states_count(runner: Runner) -> None:
    failed, cancelled, completed = settle(
        [submitted(runner, task) for task in (tasks.returns_failed, tasks.returns_cancelled, tasks.returns_completed)],
        timeout=100,
    )
    assert failed.status is Status.FAILED
    assert repr(failed.error) == repr(FailedRun("said so"))
    assert cancelled.status is Status.CANCELLED
    assert repr(cancelled.error) == repr(CancelledRun("stopped by hand"))
    assert (completed.status, completed.value) == (Status.COMPLETED, 5)


# --- what engines do ------------------------------------------------------------------------------------------------


def test_a_result_that_cannot_be_pickled(runner: Runner, kind: str) -> None:
    outcome = only(submitted(runner, tasks.returns_lock))
    if kind == "thread":
        assert outcome.status is Status.COMPLETED
        return
    assert outcome.status is Status.CRASHED
    assert isinstance(outcome.error, CrashedRun)
    assert isinstance(outcome.error.__cause__, TypeError)
    # The stock runners tell the API otherwise; both are said.
    assert "the Prefect API has it as Completed" in str(outcome.error)


def test_an_exception_that_cannot_be_rebuilt(runner: Runner, kind: str) -> None:
    outcome = only(submitted(runner, tasks.two_arguments))
    if kind == "thread":
        assert isinstance(outcome.error, tasks.TwoArguments)
        assert outcome.error.code == 7
    elif outcome.status is Status.FAILED:  # prefect-dask's global reducers are at work in this process
        assert isinstance(outcome.error, tasks.TwoArguments)
    else:
        assert outcome.status is Status.CRASHED
        assert "missing 1 required positional argument" in str(outcome.error)
        assert "TwoArguments: 7: seven" in str(outcome.error)


def test_a_worker_that_dies_takes_the_whole_process_pool(prefect_server: str) -> None:
    with process_runner() as runner:
        futures = [submitted(runner, tasks.dies), submitted(runner, tasks.double, number=1)]
        outcomes = settle(futures, timeout=100)
        assert [outcome.status for outcome in outcomes] == [Status.CRASHED, Status.CRASHED]
        assert "BrokenProcessPool" in str(outcomes[0].error)
        assert type(outcomes[0].error.__cause__).__name__ == "BrokenProcessPool"  # type: ignore[union-attr]


@pytest.mark.parametrize("task", [tasks.exits, tasks.interrupts, tasks.own_base])
def test_what_ends_a_process_does_not_end_the_flow_on_threads(task: Any, prefect_server: str) -> None:
    with thread_runner() as runner:
        outcome = only(submitted(runner, task))
        assert outcome.status is Status.CRASHED
        assert isinstance(outcome.error, CrashedRun)
        assert outcome.error.__cause__ is not None
        assert not isinstance(outcome.error.__cause__, Exception)
        assert type(outcome.error.__cause__).__name__ in str(outcome.error)


def test_a_real_ctrl_c_gets_through(prefect_server: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with thread_runner() as runner:
        future = submitted(runner, tasks.waits_for_file, path=str(go))
        timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            settle(future)
        timer.join()
        go.touch()
        assert only(future).status is Status.COMPLETED


# The pool's own thread dies of the exception that came out of the body: why its futures are silent from then on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_future_that_never_ends(prefect_server: str) -> None:
    """The stock future is silent for ever after a `BaseException`; the API knows better."""
    with process_runner() as runner:
        outcome = only(submitted(runner, tasks.exits))
        assert outcome.status is Status.CRASHED
        assert "exit" in str(outcome.error)


@pytest.mark.ray
def test_own_base_exceptions_on_ray(ray_head: str) -> None:
    with ray_runner() as runner:
        outcome = only(submitted(runner, tasks.own_base))
        assert outcome.status is Status.CRASHED
        assert isinstance(outcome.error, CrashedRun)
        assert isinstance(outcome.error.__cause__, tasks.OwnBase)
        assert str(outcome.error) == "OwnBase: mine"


@pytest.mark.ray
def test_a_worker_that_dies_on_ray_and_what_depended_on_it(ray_head: str) -> None:
    with ray_runner() as runner:
        dead = submitted(runner, tasks.dies)
        outcomes = settle([dead, submitted(runner, tasks.add_one, number=dead)], timeout=200)
        assert [outcome.status for outcome in outcomes] == [Status.CRASHED, Status.BLOCKED]
        assert "WorkerCrashedError" in str(outcomes[0].error)
        assert type(outcomes[1].error.__cause__).__name__ == "WorkerCrashedError"  # type: ignore[union-attr]


@pytest.mark.dask
def test_a_worker_that_dies_on_dask_and_what_depended_on_it(dask_cluster: str) -> None:
    with dask_runner(dask_cluster) as runner:
        dead = submitted(runner, tasks.dies)
        outcomes = settle([submitted(runner, tasks.add_one, number=dead), dead], timeout=200)
        assert [outcome.status for outcome in outcomes] == [Status.BLOCKED, Status.CRASHED]
        assert "KilledWorker" in str(outcomes[1].error)
        assert outcomes[0].upstream == (dead.task_run_id,)
        assert outcomes[0].error.__cause__ is outcomes[1].error  # type: ignore[union-attr]


@pytest.mark.dask
def test_a_run_that_dask_was_told_to_forget(dask_cluster: str) -> None:
    with dask_runner(dask_cluster) as runner:
        future = submitted(runner, tasks.double, number=1)
        future.wrapped_future.cancel()
        outcome = only(future)
        assert outcome.status is Status.CANCELLED
        assert isinstance(outcome.error, CancelledRun)


# --- upstreams ------------------------------------------------------------------------------------------------------


def test_blocked_runs_name_the_root(runner: Runner) -> None:
    root = submitted(runner, tasks.odd_fails, number=1)
    middle = submitted(runner, tasks.add_one, number=root)
    futures = {
        "root": root,
        "middle": middle,
        "low": submitted(runner, tasks.add_one, number=middle),
        "nested": submitted(runner, tasks.add_one, number=[{"a": root}]),
        "after": submitted(runner, tasks.double, number=1, wait_for=[root]),
    }
    report = settle(futures, timeout=100)
    failed, *blocked = report
    assert [outcome.status for outcome in blocked] == [Status.BLOCKED] * 4
    for outcome in blocked:
        assert outcome.upstream == (root.task_run_id,)
        assert isinstance(outcome.error, UpstreamTaskError)
        assert outcome.error.__cause__ is failed.error
        assert "ended failed: ValueError: odd 1" in str(outcome.error)
    with pytest.raises(TaskRunsFailed, match=r"1 of 5 task runs failed: 1 ValueError .*; 4 blocked by them"):
        report.raise_for_failures()


def test_the_root_is_found_although_only_the_last_is_at_hand(runner: Runner) -> None:
    root = submitted(runner, tasks.odd_fails, number=1)
    last = submitted(runner, tasks.add_one, number=submitted(runner, tasks.add_one, number=root))
    with pytest.raises(TaskRunsFailed) as raised:
        gather(last, timeout=100)
    assert raised.value.outcomes[0].status is Status.BLOCKED
    if "process" not in type(runner).__name__.lower():  # there the run in the middle has no task run in the API
        assert raised.value.outcomes[0].upstream == (root.task_run_id,)
        assert "odd 1" in str(raised.value.exceptions[0])


# --- waiting --------------------------------------------------------------------------------------------------------


def test_our_timeout_leaves_the_run_alone(runner: Runner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow, quick = submitted(runner, tasks.waits_for_file, path=str(go)), submitted(runner, tasks.double, number=1)
    only(quick)
    late, done = settle([slow, quick], timeout=0.05)
    assert (late.status, done.status) == (Status.UNFINISHED, Status.COMPLETED)
    assert isinstance(late.error, UnfinishedRun)
    go.touch()
    assert only(slow).value == str(go)


def test_what_has_ended_is_found_without_any_wait(runner: Runner) -> None:
    future = submitted(runner, tasks.double, number=4)
    future.wait()
    assert only(future, timeout=0).value == 8


def test_settling_twice_gives_equal_reports(runner: Runner) -> None:
    futures = mapped(runner, tasks.odd_fails, {"number": range(2)})
    assert settle(futures) == settle(futures)


def test_outcomes_come_as_runs_end(runner: Runner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow, quick = submitted(runner, tasks.waits_for_file, path=str(go)), submitted(runner, tasks.double, number=1)
    outcomes = iter(as_settled([slow, quick, slow]))
    assert next(outcomes).index == 1
    go.touch()
    assert [outcome.index for outcome in outcomes] == [0, 2]


def test_async_waits_do_not_block_the_loop(runner: Runner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = submitted(runner, tasks.waits_for_file, path=str(go))

    async def main() -> None:
        waiting = asyncio.create_task(agather([slow]))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        go.touch()  # happens only if the loop goes on
        assert await waiting == [str(go)]
        assert [outcome.value async for outcome in as_settled([slow])] == [str(go)]

    asyncio.run(asyncio.wait_for(main(), 100))


def test_a_cancelled_async_wait_ends(runner: Runner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = submitted(runner, tasks.waits_for_file, path=str(go))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asettle([slow]), 0.1)

    asyncio.run(main())
    go.touch()
    assert only(slow).status is Status.COMPLETED


# --- policy ---------------------------------------------------------------------------------------------------------


def test_what_has_not_started_on_threads_is_withdrawn(prefect_server: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with thread_runner(2) as runner:
        started = submitted(runner, tasks.waits_for_file, path=str(go))
        failing = submitted(runner, tasks.odd_fails, number=1)
        only(failing)
        blocker = submitted(runner, tasks.waits_for_file, path=str(go))
        queued = [submitted(runner, tasks.double, number=n) for n in range(3)]
        go_later = threading.Timer(0.5, go.touch)
        go_later.start()
        report = settle([failing, started, blocker, *queued], policy="then=drain")
        go_later.join()
    assert [outcome.status for outcome in report] == ["failed", "completed", "completed", *["cancelled"] * 3]
    with pytest.raises(TaskRunsFailed, match="3 cancelled because of them") as raised:
        report.raise_for_failures()
    assert len(raised.value.exceptions) == 1


# --- in a flow ------------------------------------------------------------------------------------------------------


def test_a_flow_ends_with_the_one_combined_failure(kind: str, prefect_server: str, request: Any) -> None:
    if kind == "process":
        pytest.skip("a pool of its own for one flow takes ten seconds, and shows what threads show")
    from prefect import flow

    @flow(task_runner=made(kind, request), name=f"nightly-{kind}")
    def nightly() -> Any:
        return gather(tasks.odd_fails.map(range(3)))

    with pytest.raises(TaskRunsFailed) as raised:
        nightly()
    assert raised.value.message == "1 of 3 task runs failed: 1 ValueError (odd_fails[1])"
    assert str(raised.value.outcomes[0].task_run_name).startswith("odd_fails-")
