"""`anyrunner run` and `anyrunner compare` on real flows and runners."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefect_anyrunner import cli

pytestmark = pytest.mark.usefixtures("prefect_server")

FLOWS = """
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from prefect import flow, task
from prefect.context import FlowRunContext
from prefect_anyrunner import AnyTaskRunner
from prefect_anyrunner import gather

@task
def halve(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd", number)
    return number // 2

@task
def place() -> str:
    return "the flow's process" if os.environ.get("FLOW_PROCESS") == str(os.getpid()) else "another"

@flow(task_runner=AnyTaskRunner())
def halves(top: int = 6) -> int:
    print("a flow that prints is left to print")
    return sum(gather(halve.map(range(top))))

@task
def table() -> dict[str, object]:
    here = place.fn() == "the flow's process"
    return {"rows": list(range(40)), "text": "x" * 80, "names": ["a", "b" if here else "c", "d"]}

@flow
def places() -> str:
    os.environ["FLOW_PROCESS"] = str(os.getpid())
    return gather(place.submit())

@flow
def tables() -> None:
    os.environ["FLOW_PROCESS"] = str(os.getpid())
    gather(table.submit())

@dataclass
class Order:
    day: str
    tags: set[str] = field(default_factory=lambda: {"red", "green", "blue", "white"})

class Customer:
    def __init__(self, order: Order) -> None:
        self.order = order

@task
def customer(day: str) -> Customer:
    return Customer(Order(day))

@flow
def customers(differ: bool = False) -> list[object]:
    os.environ["FLOW_PROCESS"] = str(os.getpid())
    day = customer.submit("monday")
    if differ:
        day = customer.submit(place.submit())
    return [gather(day), Order]

@flow(log_prints=True)
def own() -> str:
    print("I run as", os.getpid())
    return "by " + FlowRunContext.get().task_runner.name

@flow(task_runner=AnyTaskRunner())
def evens() -> list[int]:
    return gather([halve.submit(number) for number in (0, 2, 4)])

@flow(task_runner=AnyTaskRunner())
def waits(flag: str) -> None:
    Path(flag).write_text(str(os.getpid()))
    threading.Event().wait()

@flow(task_runner=AnyTaskRunner())
def dies() -> None:
    if os.environ.get("FLOW_PROCESS") is None:
        os._exit(7)
"""

VAULT = """
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_anyrunner.backends import Backend, Option

def build(address, options):
    return ThreadPoolTaskRunner()

BACKEND = Backend(name="vault", build=build, schemes={"vault": ""}, options={"token": Option("text", "a secret")})
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANYRUNNER", raising=False)
    (tmp_path / "flows_to_compare.py").write_text(FLOWS)
    return tmp_path


def test_runners_agree_on_failures(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "flows_to_compare.py:halves", "--on", "thread,process://?max_workers=2"]) == 0
    out, _ = capfd.readouterr()
    rows = {line.split("  ")[0].strip() or line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["task runs"][-2:] == ["6", "6"]
    assert rows["completed"] == ["completed", "3", "3"]
    assert rows["failed"] == ["failed", "3", "3"]
    assert rows["ValueError"] == ["ValueError", "3", "3"]
    assert rows["flow"] == ["flow", "TaskRunsFailed", "TaskRunsFailed"]
    assert rows["as on thread"][-2:] == ["-", "same"]
    assert out.count("3 of 6 task runs failed") == 1, "the combined failure is printed once"
    assert "a flow that prints" not in out


@pytest.mark.dask
def test_a_dask_cluster_agrees_with_threads(dask_cluster: str, capfd: pytest.CaptureFixture[str]) -> None:
    spec = dask_cluster.replace("tcp://", "dask://")
    assert cli.main(["compare", "flows_to_compare.py:halves", "--on", f"thread,{spec}", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert [runner["statuses"] for runner in answer["runners"]] == [{"completed": 3, "failed": 3}] * 2


def test_difference_is_reported_in_json(capfd: pytest.CaptureFixture[str]) -> None:
    # A flow with another runner of its own also runs on the given runners.
    command = ["compare", "flows_to_compare.py:places", "--on", "thread", "--on", "process://?max_workers=1", "--json"]
    assert cli.main(command) == 1
    answer = json.loads(capfd.readouterr().out)
    thread, process = answer["runners"]
    assert not answer["same"]
    assert thread["same"] and not process["same"]
    assert thread["statuses"] == process["statuses"] == {"completed": 1}
    assert process["differences"] == [
        """place: completed with "the flow's process" on thread, 'another' on process://?max_workers=1"""
    ]
    assert answer["failure"] is None


def test_long_values_are_shown_as_a_diff(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "flows_to_compare.py:tables", "--on", "thread,process"]) == 1
    out = capfd.readouterr().out
    shown = out.partition("different: ")[2].splitlines()
    assert shown[0] == "table: completed with different values on thread and on process:"
    assert shown[1:3] == ["    --- thread", "    +++ process"]
    assert "    -{'names': ['a', 'b', 'd']," in shown and "    +{'names': ['a', 'c', 'd']," in shown
    assert len(shown) < 12


@pytest.mark.parametrize("differ", [False, True])
def test_instances_of_classes_of_the_file_are_compared(differ: bool, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "flows_to_compare.py:customers", "-p", f"differ={str(differ).lower()}"]
    code = cli.main([*command, "--on", "thread,process"])
    out = capfd.readouterr().out
    assert code == differ, out
    if differ:
        assert "different: customer: completed with values that differ" in out


def test_the_output_of_each_run_can_be_kept(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_LOGGING_LEVEL")
    command = ["compare", "flows_to_compare.py:own", "--on", "thread,process", "--keep-logs", "logs/today"]
    assert cli.main(command) == 1
    out, err = capfd.readouterr()
    assert "different: the flow returned 'by threadpool' on thread, 'by processpool' on process" in out
    logs = [folder / "logs" / "today" / name for name in ("1-thread.log", "2-process.log")]
    for name, log in zip(("thread", "process"), logs, strict=True):
        assert f"anyrunner: the output on {name} is in {log.relative_to(folder)}" in err
        assert "I run as" in log.read_text() and "Finished in state Completed" in log.read_text()


def test_secrets_in_a_spec_are_not_shown(folder: Path) -> None:
    (folder / "vault.py").write_text(VAULT)
    about = folder / "vault-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vault\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[prefect_anyrunner.backends]\nvault = vault:BACKEND\n")
    command = [
        "compare",
        "flows_to_compare.py:evens",
        "--on",
        "vault://?token=hunter2",
        "--json",
        "--keep-logs",
        "logs",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from prefect_anyrunner.cli import main; sys.exit(main())", *command],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runners"][0]["runner"] == "vault://?token=***"
    assert "hunter2" not in done.stdout + done.stderr


def test_process_that_dies_is_a_difference(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["compare", "flows_to_compare.py:dies", "--on", "thread,thread"]) == 1
    assert "the process ended (exit code 7) before the flow did" in capfd.readouterr().out


def test_run_prints_the_number_of_task_runs(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "flows_to_compare.py:evens", "--runner", "thread://?max_workers=2"]) == 0
    out, err = capfd.readouterr()
    assert "flow 'evens' completed on thread://?max_workers=2 and waited for 3 task runs\nresult: [0, 1, 2]\n" in out
    assert "the import of" not in err


def test_a_flow_that_runs_on_import_is_reported(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "runs_on_import.py").write_text(
        "from prefect import flow\n\n@flow\ndef nightly():\n    return 1\n\nnightly()\n"
    )
    assert cli.main(["run", "runs_on_import.py:nightly"]) == 0
    assert "anyrunner: the import of runs_on_import.py has run flow 'nightly'" in capfd.readouterr().err


def test_run_renders_the_failure_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "flows_to_compare.py:halves", "-p", "top=2"]) == 1
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert err.count("ValueError: ") == 1
    assert "flow 'halves' failed on thread://: 1 of 2 task runs failed" in err


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGINT, (130, "anyrunner: interrupted\n")), (signal.SIGTERM, (143, ""))]
)
def test_interrupted_comparison_leaves_nothing_running(
    folder: Path, number: signal.Signals, end: tuple[int, str]
) -> None:
    flag = folder / "flag"
    command = ["compare", "flows_to_compare.py:waits", "--on", "thread,process", "-p", f"flag={flag}"]
    parent = subprocess.Popen(
        [sys.executable, "-c", "import sys; from prefect_anyrunner.cli import main; sys.exit(main())", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (flag.exists() and flag.read_text()):  # the time limit of the test ends the loop
        assert parent.poll() is None, parent.communicate()
        time.sleep(0.05)
    parent.send_signal(number)
    _, err = parent.communicate(timeout=100)
    assert (parent.returncode, err) == end
    with pytest.raises(ProcessLookupError):
        os.kill(int(flag.read_text()), 0)
