"""Workers of the process pool that die before they have run anything, and a pool that breaks as a whole."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task, unmapped
from prefect.exceptions import CrashedRun
from prefect.settings import PREFECT_TASKS_DEFAULT_RETRIES, temporary_settings

from prefect_anyrunner import Outcome, Report, Status, settle
from prefect_anyrunner.backends._worker_process import POOL_CONTEXT
from prefect_anyrunner.backends.process import ProcessPoolTaskRunner


def first_one_dies(folder: str) -> None:
    try:
        (Path(folder) / "died").touch(exist_ok=False)
    except FileExistsError:
        await_file(Path(folder) / "sent")
        return
    await_file(Path(folder) / "sent")
    os.kill(os.getpid(), signal.SIGKILL)


def await_file(path: Path) -> None:
    end = time.monotonic() + 150
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)


def never_comes_up() -> None:
    raise RuntimeError("no such licence server")


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(f"{text}\n")


@task
def note(folder: str, number: int) -> int:
    append(Path(folder) / f"ran-{number}", str(os.getpid()))
    return number


@task
def hold(folder: str) -> str:
    append(Path(folder) / "held", str(os.getpid()))
    await_file(Path(folder) / "go")
    return "done"


def runner(**settings: Any) -> Any:
    return ProcessPoolTaskRunner(**settings)


def runner_here() -> Any:
    from prefect.context import FlowRunContext

    context: Any = FlowRunContext.get()
    return context.task_runner


def pool_here() -> Any:
    return runner_here()._pool


def only_worker() -> int:
    (pid,) = pool_here()._pool_manager.worker_manager.workers
    return int(pid)


def executions(folder: Path, count: int) -> list[int]:
    return [len((folder / f"ran-{number}").read_text().split()) for number in range(count)]


def workers() -> int:
    return sum(child.name == "pebble_pool_worker" for child in multiprocessing.active_children())


def test_a_worker_killed_while_it_starts_takes_no_run(prefect_server: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(max_workers=2, initializer=first_one_dies, initargs=(str(tmp_path),)))
    def starting() -> list[Any]:
        futures = note.map(unmapped(str(tmp_path)), range(12))
        (tmp_path / "sent").touch()
        report = settle(futures)
        assert workers() <= 2
        return [report]

    (report,) = starting()
    assert (tmp_path / "died").exists()
    assert report.results() == list(range(12))
    assert executions(tmp_path, 12) == [1] * 12
    assert workers() == 0


def test_workers_that_never_come_up_end_the_runs(prefect_server: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(max_workers=2, initializer=never_comes_up))
    def hopeless() -> list[Report]:
        return [settle(note.map(unmapped(str(tmp_path)), range(3)))]

    (report,) = hopeless()
    assert [outcome.status for outcome in report] == [Status.CRASHED] * 3
    for outcome in report:
        assert isinstance(outcome.error, CrashedRun)
        assert "ended before they ran anything" in str(outcome.error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rerun_lost", [0, 1])
def test_a_pool_that_breaks_loses_what_runs_and_nothing_else(
    rerun_lost: int, prefect_server: str, tmp_path: Path
) -> None:
    @flow(task_runner=runner(max_workers=1, rerun_lost=rerun_lost))
    def breaking() -> list[Report]:
        held = hold.submit(str(tmp_path))
        behind = note.map(unmapped(str(tmp_path)), range(6))
        await_file(tmp_path / "held")
        pool = pool_here()
        pool._pool_manager.handle_broken_pool(BrokenProcessPool("broken by the test"))
        if not rerun_lost:
            assert settle(held)[0].status is Status.CRASHED
        (tmp_path / "go").touch()
        report = settle([held, behind])
        assert pool_here() is not pool
        assert workers() <= 1
        return [report]

    (report,) = breaking()
    expected = [Status.COMPLETED if rerun_lost else Status.CRASHED, *[Status.COMPLETED] * 6]
    assert [outcome.status for outcome in report] == expected
    assert executions(tmp_path, 6) == [1] * 6
    assert len((tmp_path / "held").read_text().split()) == 1 + rerun_lost
    assert workers() == 0


def limit_processes(to_what: pytest.MonkeyPatch) -> None:
    """Let every start of a process fail as at the system's limit, which does not apply to root."""

    def refuse(process: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    context: Any = POOL_CONTEXT
    to_what.setattr(context.Process, "_Popen", staticmethod(refuse))


def assert_no_process(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        assert outcome.status is Status.CRASHED
        assert isinstance(outcome.error, CrashedRun)
        assert "it could not be given to a process" in str(outcome.error)
        assert os.strerror(errno.EAGAIN) in str(outcome.error)


def test_a_limit_of_processes_ends_the_runs_of_a_broken_pool(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @flow(task_runner=runner(max_workers=1))
    def limited() -> list[Report]:
        held = hold.submit(str(tmp_path))
        behind = note.map(unmapped(str(tmp_path)), range(3))
        await_file(tmp_path / "held")
        with monkeypatch.context() as limit:
            limit_processes(limit)
            pool_here()._pool_manager.handle_broken_pool(BrokenProcessPool("broken by the test"))
            lost = settle([held, behind])
            with pytest.raises(BrokenProcessPool, match=os.strerror(errno.EAGAIN)):
                note.submit(str(tmp_path), 3)
        return [lost, settle(note.submit(str(tmp_path), 4))]

    lost, later = limited()
    assert lost[0].status is Status.CRASHED
    assert_no_process(lost[1:])
    assert later.results() == [4]
    assert [path.name for path in tmp_path.glob("ran-*")] == ["ran-4"]
    assert workers() == 0


class BreaksThePool:
    """An argument that breaks the pool for good while its run is made ready."""

    def __init__(self, limit: pytest.MonkeyPatch) -> None:
        self._limit = limit

    def __reduce__(self) -> Any:
        limit_processes(self._limit)
        pool_here()._pool_manager.handle_broken_pool(BrokenProcessPool("broken by the test"))
        return int, (3,)


def test_a_limit_of_processes_ends_all_runs_of_a_map(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @flow(task_runner=runner(max_workers=1))
    def limited() -> list[Report]:
        with monkeypatch.context() as limit:
            last: Any = BreaksThePool(limit)
            return [settle(note.map(unmapped(str(tmp_path)), [0, 1, 2, last]))]

    (report,) = limited()
    assert_no_process(report[-1:])
    assert workers() == 0


def test_a_folder_that_was_deleted_ends_the_runs(prefect_server: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(max_workers=1))
    def swept() -> list[Report]:
        held = hold.submit(str(tmp_path))
        behind = note.submit(str(tmp_path), 0)
        await_file(tmp_path / "held")
        shutil.rmtree(runner_here()._folder.path)
        os.kill(only_worker(), signal.SIGKILL)
        return [settle([held, behind])]

    (report,) = swept()
    killed, refused = [str(outcome.error) for outcome in report]
    assert "killed by signal 9" in killed
    assert "FileNotFoundError" in refused
    assert not list(tmp_path.glob("ran-*"))


def test_a_run_that_has_completed_cannot_be_revoked(prefect_server: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(max_workers=1))
    def completed() -> tuple[bool, list[bool]]:
        future: Any = note.submit(str(tmp_path), 0)
        run = runner_here().ledger.get(future.task_run_id)
        future.result()
        second: Any = note.submit(str(tmp_path), 1)
        second.result()  # so the worker is done with the first, and its claim is forgotten
        return (Path(runner_here()._folder.path) / "claims" / run.claim).exists(), runner_here().revoke([run])

    assert completed() == (False, [False])


def test_a_worker_with_the_number_of_a_dead_one_keeps_its_run(prefect_server: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(max_workers=1))
    def used_again() -> Report:
        held = hold.submit(str(tmp_path))
        await_file(tmp_path / "held")
        manager = pool_here()._pool_manager
        manager.handle_worker_expiration((only_worker(), -9))  # another one had that number
        looked = threading.Event()
        update = manager.update_workers

        def noted() -> None:
            update()
            looked.set()

        manager.update_workers = noted
        looked.wait()
        (tmp_path / "go").touch()
        return settle(held)

    assert used_again().results() == ["done"]


@task
def set_variable(name: str) -> tuple[int, str | None, str | None]:
    before = os.environ.get(name)
    os.environ[name] = "of the task"
    return os.getpid(), before, os.environ.get("PREFECT_TASKS_DEFAULT_RETRIES")


def test_a_body_has_the_flows_environment_and_changes_its_own(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @flow(task_runner=runner(max_workers=1))
    def two_tasks() -> list[Any]:
        monkeypatch.setenv("OF_THE_FLOW", "set before the first submit")
        found = [set_variable.submit(name).result() for name in ("NEW", "NEW", "OF_THE_FLOW", "OF_THE_FLOW")]
        with temporary_settings({PREFECT_TASKS_DEFAULT_RETRIES: 2}):
            return [*found, set_variable.submit("NEW").result()]

    found = two_tasks()
    assert len({pid for pid, _, _ in found}) == 1
    assert [each[1:] for each in found] == [
        *[(None, None)] * 2,
        *[("set before the first submit", None)] * 2,
        (None, "2"),
    ]


@task
def exits(code: int) -> None:
    os._exit(code)


def test_a_worker_that_exits_without_an_error_ends_its_run(prefect_server: str) -> None:
    runner: Any = ProcessPoolTaskRunner(max_workers=2)

    @flow(task_runner=runner)
    def exiting() -> Report:
        return settle([exits.submit(0), exits.submit(3)])

    ends = [(outcome.status, str(outcome.error)) for outcome in exiting()]
    assert [status for status, _ in ends] == [Status.CRASHED] * 2
    assert "exit code 0" in ends[0][1] and "exit code 3" in ends[1][1]
