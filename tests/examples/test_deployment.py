"""In the deployment example, on a real work pool with a real worker, a job variable chooses the runner."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

EXAMPLE = Path(__file__).parents[2] / "examples" / "deployment"


def prefect(*words: str, folder: Path) -> str:
    """Run the command `prefect` as a user would, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words],
        cwd=folder,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "INFO", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(480, func_only=True)  # ten commands, each of which imports Prefect, and a Dask cluster of its own
def test_job_variable_decides_on_the_runner(prefect_server: str, tmp_path: Path) -> None:
    folder = tmp_path / "deployment"
    shutil.copytree(EXAMPLE, folder)
    prefect("work-pool", "create", "laptop", "--type", "process", folder=folder)
    prefect("deploy", "--all", folder=folder)
    runs = {
        name: re.findall(r"UUID: ([0-9a-f-]{36})", prefect("deployment", "run", *words, folder=folder))[0]
        for name, words in {
            "thread": ["nightly/any-runner"],
            "process": ["nightly/any-runner", "--job-variable", f"env={json.dumps({'ANYRUNNER': 'process'})}"],
            "small-dask": ["nightly/on-dask"],
        }.items()
    }
    output = prefect("worker", "start", "--pool", "laptop", "--run-once", folder=folder)
    with get_client(sync_client=True) as client:
        for name, run_id in runs.items():
            run = client.read_flow_run(run_id)
            assert run.state is not None and run.state.is_completed(), output
            where = "in the process of the flow" if name == "thread" else "in other processes"
            assert f"'{run.name}' - tasks ran {where}" in output, output


@pytest.mark.slow
@pytest.mark.timeout(480, func_only=True)
def test_a_misspelt_runner_is_named_by_the_state(prefect_server: str, tmp_path: Path) -> None:
    folder = tmp_path / "deployment"
    shutil.copytree(EXAMPLE, folder)
    prefect("work-pool", "create", "misspelt", "--type", "process", folder=folder)
    prefect("deploy", "--name", "any-runner", "--pool", "misspelt", folder=folder)
    variable = f"env={json.dumps({'ANYRUNNER': 'dsk'})}"
    created = prefect("deployment", "run", "nightly/any-runner", "--job-variable", variable, folder=folder)
    output = prefect("worker", "start", "--pool", "misspelt", "--run-once", folder=folder)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(re.findall(r"UUID: ([0-9a-f-]{36})", created)[0])
    assert run.state is not None and run.state.is_failed(), output
    assert str(run.state.message).startswith("environment variable ANYRUNNER: unknown runner 'dsk'"), output
