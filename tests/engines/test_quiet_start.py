"""A flow run says in one line which runner it uses and who chose it, and engines that it starts are quiet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging
from prefect import flow, task
from prefect_anyrunner import AnyTaskRunner, gather

@task
def one():
    return 1

@flow(task_runner=AnyTaskRunner(default="thread"), log_prints=True)
def nightly():
    assert gather(one.submit()) == 1

nightly()
print("level after it:", logging.getLogger("distributed").level)
"""


def output(tmp_path: Path, **variables: str) -> str:
    (tmp_path / "nightly.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "nightly.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "INFO", "COLUMNS": "400", **variables}, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"ANYRUNNER": "process://?max_workers=2"},
            "Task runner: process, max_workers=2, from environment variable ANYRUNNER.",
        ),
        ({}, "Task runner: thread, from argument default."),
    ],
)
def test_one_line_says_which_runner_and_who_chose_it(
    prefect_server: str, tmp_path: Path, variables: dict[str, str], line: str
) -> None:
    lines = [each for each in output(tmp_path, **{"ANYRUNNER": "", **variables}).splitlines() if "Task runner:" in each]
    assert len(lines) == 1
    assert "| INFO " in lines[0] and "Flow run '" in lines[0] and lines[0].rstrip().endswith(line)


@pytest.mark.dask
def test_a_temporary_dask_is_quiet(prefect_server: str, tmp_path: Path) -> None:
    found = output(tmp_path, ANYRUNNER="dask://?n_workers=1&threads_per_worker=1")
    assert not re.search(r"INFO +\| distributed\.", found), found
    assert "level after it: 20" in found


@pytest.mark.slow
@pytest.mark.dask
@pytest.mark.parametrize(
    "asked", [{"DASK_LOGGING__DISTRIBUTED": "info"}, {"PREFECT_LOGGING_EXTRA_LOGGERS": "distributed"}]
)
def test_dask_says_what_it_is_asked_for(prefect_server: str, tmp_path: Path, asked: dict[str, str]) -> None:
    found = output(tmp_path, ANYRUNNER="dask://?n_workers=1&threads_per_worker=1", **asked)
    assert "Scheduler at:" in found


@pytest.mark.slow
@pytest.mark.ray
def test_a_ray_of_its_own_is_quiet(prefect_server: str, tmp_path: Path) -> None:
    found = output(tmp_path, ANYRUNNER="ray://?num_cpus=1")
    assert "Started a local Ray" not in found
    assert "WARNING" not in found, found
