"""The example of a CI test passes when pytest runs it in a folder of its own, as a user does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder: Path, runners: str) -> str:
    for name in ("test_weather.py", "partial_results.py"):
        shutil.copy(EXAMPLES / name, folder)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--anyrunner={runners}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_on_thread_and_process(prefect_server: str, tmp_path: Path) -> None:
    assert "4 passed" in run(tmp_path, "thread,process")


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", [pytest.param("dask", marks=pytest.mark.dask), pytest.param("ray", marks=pytest.mark.ray)]
)
def test_on_an_engine(engine: str, prefect_server: str, tmp_path: Path) -> None:
    assert "2 passed" in run(tmp_path, engine)
