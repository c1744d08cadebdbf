"""A worker from a second virtual environment, which has another Prefect, is refused."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import threading
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import prefect
import pytest
from prefect import flow

import prefect_anyrunner
from prefect_anyrunner import RunnerSpec, Status, VersionSkew, as_settled, settle
from prefect_anyrunner._provisioning.server import free_port, guarded
from prefect_anyrunner.conformance import tasks

pytestmark = [pytest.mark.dask, pytest.mark.timeout(400, func_only=True)]
OTHER = "3.8.7"
DASK = str(Path(sys.executable).with_name("dask"))


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with another Prefect; all other packages are those that are installed here."""
    folder = tmp_path_factory.mktemp("other")
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), f"prefect=={OTHER}"]
    done = subprocess.run([sys.executable, *install], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"prefect {OTHER} cannot be installed here: {done.stderr.strip()[-300:]}")
    below = (sysconfig.get_paths()["purelib"], str(Path(prefect_anyrunner.__file__).parents[1]))
    (packages / "beneath.pth").write_text("\n".join(below) + "\n")
    return str(folder / "bin" / "python")


@pytest.fixture
def cluster(prefect_server: str, tmp_path: Path) -> Iterator[Any]:
    """A scheduler, and a function that starts a worker by a Python."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"

    def until(log: Path, what: str) -> None:
        from tests.cluster.hosts import Process

        Process(log, log).until(what)

    with ExitStack() as stack:

        def start(name: str, command: list[str], what: str) -> None:
            log = tmp_path / f"{name}.log"
            stack.enter_context(guarded(command, log))
            until(log, what)

        start(
            "scheduler", [DASK, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], "Scheduler"
        )

        def worker(name: str, python: str) -> None:
            words = [address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            start(name, [python, "-m", "distributed.cli.dask_worker", *words], "Registered to")

        yield port, worker


def test_the_flow_run_fails_when_it_connects(cluster: Any, other_python: str) -> None:
    port, worker = cluster
    worker("same", sys.executable)
    worker("other", other_python)

    @flow(task_runner=RunnerSpec.parse(f"dask://127.0.0.1:{port}").runner())
    def one() -> Any:
        return tasks.double.submit(1)

    says = rf"^Dask worker tcp://127\.0\.0\.1:\d+ has prefect {OTHER}, this flow runs prefect {prefect.__version__}: "
    with pytest.raises(VersionSkew, match=says):
        one()


def test_a_worker_that_joins_later_refuses_its_runs(cluster: Any, other_python: str, tmp_path: Path) -> None:
    port, worker = cluster
    worker("same", sys.executable)
    started, go = str(tmp_path / "started"), str(tmp_path / "go")

    @flow(task_runner=RunnerSpec.parse(f"dask://127.0.0.1:{port}").runner())
    def some() -> Any:
        futures = [tasks.hold.submit(started, go) for _ in range(4)]
        for _ in as_settled(futures):  # the first run to end is one that the other worker refused
            Path(go).touch()
        return settle(futures)

    def join() -> None:
        while not Path(started).exists():  # then the flow run has connected
            time.sleep(0.1)
        worker("other", other_python)

    # The thread starts outside the flow, because the flow is pickled with its context and a process cannot be.
    threading.Thread(target=join, daemon=True).start()
    report: Any = some()
    assert report[0].status is Status.COMPLETED
    refused = [outcome for outcome in report if outcome.status is Status.CRASHED]
    assert refused
    for outcome in refused:
        assert isinstance(outcome.error.__cause__, VersionSkew)
        assert f"has prefect {OTHER}, this flow runs prefect {prefect.__version__}" in str(outcome.error)
