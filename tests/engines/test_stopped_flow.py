"""A flow on a Ray of its own that is stopped by SIGTERM, or whose Ray is stopped by the user's own code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from tests.engines.states_in_api import check_task_runs, flow_run_state

pytestmark = pytest.mark.ray
SCRIPT = Path(__file__).with_name("stopped_flow.py")


def test_sigterm_cancels_and_leaves_nothing(prefect_server: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, str(SCRIPT), "many", str(tmp_path)]) as process:
        try:
            while not (tmp_path / "submitted").exists() or not [*tmp_path.glob("runs-*")]:
                assert process.poll() is None
                time.sleep(0.05)
            started = psutil.Process(process.pid).children(recursive=True)
            assert any("raylet" in each.name() for each in started)
            process.send_signal(signal.SIGTERM)
            assert process.wait(100) == -signal.SIGTERM
        finally:
            process.kill()
    _, left = psutil.wait_procs(started, timeout=30)
    assert left == []
    flow_run_id = UUID((tmp_path / "flow-run").read_text())
    assert flow_run_state(flow_run_id) == "Crashed"  # what Prefect calls a flow run that a signal ended
    check_task_runs(flow_run_id, Cancelled=50)


@pytest.mark.slow
@pytest.mark.parametrize("wait_by", ["wait", "settle"])
def test_runs_crash_when_the_user_shuts_ray_down(prefect_server: str, tmp_path: Path, wait_by: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), wait_by, str(tmp_path)], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    flow_run_id, statuses, connected = json.loads(done.stdout.strip().splitlines()[-1])
    assert statuses == ["crashed", "blocked", "crashed"]
    assert not connected
    check_task_runs(UUID(flow_run_id), Crashed=2, NotReady=1)
