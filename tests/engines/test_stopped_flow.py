"""A flow on a Ray of its own that is stopped by SIGTERM, or whose Ray is stopped by the user's own code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

pytestmark = pytest.mark.ray
SCRIPT = Path(__file__).with_name("stopped_flow.py")


def test_sigterm_cancels_and_leaves_nothing(prefect_server: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, str(SCRIPT), "many", str(tmp_path)]) as process:
        try:
            while not [*tmp_path.glob("runs-*")]:
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
    flow_state, task_states = states(UUID((tmp_path / "flow-run").read_text()))
    assert flow_state == "Crashed"  # what Prefect calls a flow run that a signal ended
    assert task_states == Counter(Cancelled=50)


@pytest.mark.parametrize("wait_by", ["wait", "settle"])
def test_runs_crash_when_the_user_shuts_ray_down(prefect_server: str, tmp_path: Path, wait_by: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), wait_by, str(tmp_path)], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    flow_run_id, statuses, connected = json.loads(done.stdout.strip().splitlines()[-1])
    assert statuses == ["crashed", "blocked", "crashed"]
    assert not connected
    assert states(UUID(flow_run_id))[1] == Counter(Crashed=2, NotReady=1)


def states(flow_run_id: UUID) -> tuple[str, Counter[str]]:
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        task_runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    assert flow_run.state is not None
    return str(flow_run.state.name), Counter(str(run.state and run.state.name) for run in task_runs)
