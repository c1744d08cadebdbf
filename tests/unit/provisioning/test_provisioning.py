"""Child processes and guarded commands end together with all that they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_anyrunner import RunnerSpec
from prefect_anyrunner._provisioning.child import Child, ChildEnded
from prefect_anyrunner._provisioning.environment import child_environment

CHILD = """
import os, signal, subprocess, sys
from prefect_anyrunner._provisioning.child import Parent

parent = Parent(int(sys.argv[1]))
print("hello", flush=True)
match parent.receive():
    case "sleep":
        sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        parent.send(sleeping.pid)
        parent.receive()
    case "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    case "exit":
        parent.send("last words")
        os._exit(7)
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[[], Child]:
    (tmp_path / "some_child.py").write_text(CHILD)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    return lambda: Child("some_child", {**os.environ, "PYTHONPATH": path})


def gone(process_id: int) -> bool:
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_child_is_stopped_with_its_own_children(start: Callable[[], Child]) -> None:
    child = start()
    child.send("sleep")
    sleeping = child.receive()
    with pytest.raises(TimeoutError):
        child.receive(0.3)
    child.stop()
    while not gone(sleeping):  # the time limit of the test ends the loop
        time.sleep(0.02)
    assert not child.folder.exists()


def test_end_of_a_child_is_reported_after_its_messages(start: Callable[[], Child]) -> None:
    for word, how in (("kill", "killed by signal 9 (SIGKILL)"), ("exit", "exit code 7")):
        child = start()
        child.send(word)
        if word == "exit":
            assert child.receive() == "last words"
        with pytest.raises(ChildEnded) as ended:
            child.receive()
        assert str(ended.value) == how
        assert child.tail() == ["hello"]
        child.stop()


def test_nothing_is_left_of_a_child_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="null byte"):
        Child("some_child", {"NAME": "a value with \0"})
    assert list(tmp_path.iterdir()) == []


GUARDED = """
import os, signal, subprocess, sys
from pathlib import Path
from prefect_anyrunner._provisioning.server import guarded

folder = Path(sys.argv[1])
script = "import os, subprocess, sys, time; from pathlib import Path;" \\
    "sleeping = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);" \\
    "Path('pids.part').write_text(f'{os.getpid()} {sleeping.pid}'); os.rename('pids.part', 'pids'); time.sleep(600)"
os.chdir(folder)
with guarded([sys.executable, "-c", script], folder / "log"):
    while not Path("pids").exists():
        pass
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["leave", "kill"])
def test_guarded_command_ends_with_the_process_that_started_it(how: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GUARDED, str(tmp_path), how], timeout=60)
    assert done.returncode == (-signal.SIGKILL if how == "kill" else 0)
    for process_id in map(int, (tmp_path / "pids").read_text().split()):
        while not gone(process_id):  # the time limit of the test ends the loop
            time.sleep(0.02)


def test_only_a_ray_that_starts_here_gets_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    here, there = (child_environment(RunnerSpec.parse(text)) for text in ("ray", "ray://host:1"))
    assert here["RAY_AUTH_MODE"] == "token" and here["RAY_AUTH_TOKEN"]
    assert "RAY_AUTH_MODE" not in there and "RAY_AUTH_TOKEN" not in there
