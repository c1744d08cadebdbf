"""Rule M1: a flow that is called at the top of a script, however that is started, runs on workers as on threads."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.engines.four_runners import OURS
from tests.engines.script_without_guard import CALL, INITIALIZER, TOP, WORKER_DIES

PROCESS = "process://?max_workers=1"
DASK = "dask://?n_workers=1&threads_per_worker=1"
SPECS = [
    "thread",
    PROCESS,
    pytest.param(DASK, marks=[pytest.mark.dask, pytest.mark.slow]),  # the example of the README runs on Dask, too
]
README = Path(__file__).parents[2] / "README.md"


class Ran:
    """A script that has run: its output, and how often its top ran."""

    def __init__(self, folder: Path, spec: str, arguments: list[str], stdin: str = "") -> None:
        marks = folder / "marks"
        environment = {**os.environ, "ANYRUNNER": spec, "MARKS": str(marks)}
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # This also waits for everything that the script has started, because that has the same standard error.
        self.stdout, self.stderr = child.communicate(stdin)
        self.code = child.returncode
        self.times = len(marks.read_text().split()) if marks.exists() else 0
        started = [process for process in psutil.process_iter() if _is_left(process, child.pid)]
        _, self.left = psutil.wait_procs(started, timeout=60)  # one that has closed its output may not have exited yet

    def check(self) -> None:
        assert self.code == 0, self.stderr
        assert self.stdout.split() == ["done"], self.stdout + self.stderr
        assert self.times == 1, f"the top ran {self.times} times\n{self.stderr}"
        assert "resource_tracker" not in self.stderr, self.stderr
        assert not self.left


def _is_left(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def as_file(folder: Path, spec: str) -> Ran:
    (folder / "nightly.py").write_text(TOP + CALL)
    return Ran(folder, spec, ["nightly.py"])


def as_module(folder: Path, spec: str) -> Ran:
    (folder / "etl").mkdir()
    (folder / "etl/__init__.py").touch()
    (folder / "etl/nightly.py").write_text(TOP + CALL)
    return Ran(folder, spec, ["-m", "etl.nightly"])


def on_standard_input(folder: Path, spec: str) -> Ran:
    return Ran(folder, spec, ["-"], stdin=TOP + CALL)


def as_zipapp(folder: Path, spec: str) -> Ran:
    (folder / "app").mkdir()
    (folder / "app/__main__.py").write_text(TOP + CALL)
    zipapp.create_archive(folder / "app", folder / "nightly.pyz")
    return Ran(folder, spec, ["nightly.pyz"])


def by_runpy(folder: Path, spec: str) -> Ran:
    (folder / "nightly.py").write_text(TOP + CALL)
    return Ran(folder, spec, ["-c", "import runpy; runpy.run_path('nightly.py')"])


def by_runpy_as_main(folder: Path, spec: str) -> Ran:
    (folder / "nightly.py").write_text(TOP + CALL)
    return Ran(folder, spec, ["-c", "import runpy; runpy.run_path('nightly.py', run_name='__main__')"])


def with_arguments(folder: Path, spec: str) -> Ran:
    parse = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--to', required=True)\n"
    (folder / "nightly.py").write_text(f"{TOP}\n{parse}assert parser.parse_args().to == 'sun'\n{CALL}")
    return Ran(folder, spec, ["nightly.py", "--to", "sun"])


def with_guard(folder: Path, spec: str) -> Ran:
    guarded = "".join(f"    {line}\n" for line in CALL.splitlines())
    (folder / "nightly.py").write_text(f'{TOP}\nif __name__ == "__main__":\n{guarded}')
    return Ran(folder, spec, ["nightly.py"])


WAYS = [
    as_file,
    as_module,
    on_standard_input,
    as_zipapp,
    by_runpy,
    by_runpy_as_main,
    with_arguments,
    with_guard,
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=() if way in (as_file, on_standard_input, with_guard) else pytest.mark.slow)
        for way in WAYS
    ],
)
def test_the_top_of_a_script_runs_once(
    way: Callable[[Path, str], Ran], spec: str, prefect_server: str, tmp_path: Path
) -> None:
    way(tmp_path, spec).check()


@pytest.mark.parametrize("spec", SPECS[1:])
def test_the_worker_that_takes_the_place_of_a_dead_one_does_not_import_the_script(
    spec: str, prefect_server: str, tmp_path: Path
) -> None:
    (tmp_path / "nightly.py").write_text(TOP + WORKER_DIES)
    Ran(tmp_path, spec, ["nightly.py"]).check()


@pytest.mark.parametrize("spec", SPECS)
def test_a_flow_in_a_test_runs_as_on_threads(spec: str, prefect_server: str, tmp_path: Path) -> None:
    body = "".join(f"    {line}\n" for line in CALL.splitlines())
    (tmp_path / "test_nightly.py").write_text(f"{TOP}\ndef test_nightly():\n{body}")
    ran = Ran(tmp_path, spec, ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_nightly.py"])
    assert "1 passed" in ran.stdout, ran.stdout
    assert ran.times == 1 if spec == "thread" else ran.times > 1  # workers import the module of a test, as any module
    assert not ran.left


def test_a_process_of_the_users_that_imports_the_script_ends_with_one_sentence(
    prefect_server: str, tmp_path: Path
) -> None:
    (tmp_path / "nightly.py").write_text(
        f"{TOP}\nnightly([])\nfrom multiprocessing import get_context\n"
        "own = get_context('spawn').Process(target=print)\nown.start()\nown.join()\nprint(own.exitcode)\n"
    )
    ran = Ran(tmp_path, PROCESS, ["nightly.py"])
    assert ran.code == 0, ran.stderr
    assert ran.stdout.split() == ["1"], ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count('Put the call of the flow under `if __name__ == "__main__":`') == 1, ran.stderr


@pytest.mark.dask
def test_dask_workers_that_import_the_script_by_the_users_choice_end_the_flow_with_one_sentence(
    prefect_server: str, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    choice = "import dask\ndask.config.set({'distributed.worker.multiprocessing-method': 'forkserver'})\n"
    (tmp_path / "nightly.py").write_text(choice + TOP + "nightly([Day('mon')])\n")
    ran = Ran(tmp_path, DASK, ["nightly.py"])
    assert ran.code == 1
    (error,) = [line for line in ran.stderr.splitlines() if "EngineUnreachable: " in line]
    assert "'forkserver', which imports the script" in error
    assert ran.stderr.endswith(f"{error}\n"), ran.stderr


def test_initializer_and_its_arguments_may_be_of_the_script(prefect_server: str, tmp_path: Path) -> None:
    (tmp_path / "nightly.py").write_text(TOP + INITIALIZER)
    Ran(tmp_path, "process", ["nightly.py"]).check()


@pytest.mark.parametrize("spec", OURS)
def test_the_first_example_of_the_readme_runs_as_it_stands(spec: str, prefect_server: str, tmp_path: Path) -> None:
    _, _, rest = README.read_text().partition("```python\n")
    (tmp_path / "nightly.py").write_text(rest.partition("```")[0])
    ran = Ran(tmp_path, spec, ["nightly.py"])
    assert ran.code == 0, ran.stderr
    assert not ran.left
