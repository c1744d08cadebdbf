"""What is said of a run does not depend on whether prefect-dask, and with it tblib's reducers, is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BLOCKED = ("dask", "distributed", "prefect_dask")


def outcomes(runner: str, *more: str, path: Path | None = None) -> list[dict[str, Any]]:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), environment["PYTHONPATH"]])
    script = Path(__file__).with_name("transport_flow.py")
    done = subprocess.run(
        [sys.executable, str(script), runner, *more], capture_output=True, text=True, timeout=200, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.dask
def test_the_same_with_and_without(prefect_server: str, tmp_path: Path) -> None:
    for name in BLOCKED:  # in the way of the installed ones, in the workers as well
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name} here', name={name!r})\n")
    on_threads = outcomes("thread", path=tmp_path)
    assert [each["status"] for each in on_threads] == ["failed"] * 8 + ["crashed", "completed"]
    for found in (outcomes("process", path=tmp_path), outcomes("process", "with-dask")):
        for there, here in zip(found, on_threads, strict=True):
            assert there == here
