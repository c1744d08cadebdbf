"""Flow runs in processes of their own, and how tests check that the API has all of their ends (rule S2)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from prefect_anyrunner._provisioning.child import Child
from tests.engines.own_server import OwnServer

LONG = 200.0
"""Seconds in which a busy machine gets everything done."""
SLOW = pytest.mark.slow
RUNNERS = [
    "thread://",
    pytest.param("process://?max_workers=2", marks=SLOW),
    pytest.param("dask://?n_workers=2", marks=[SLOW, pytest.mark.dask]),
    pytest.param("ray://?num_cpus=2", marks=[SLOW, pytest.mark.ray]),
]


class Flow:
    """A flow run in a process of its own."""

    def __init__(self, server: OwnServer, spec: str, name: str, argument: Any, **environment: str) -> None:
        self.child = Child("tests.engines.published_flow", {**server.environment, **environment})
        self.child.send((spec, name, argument))
        self.flow_run_id: str = self.receive()

    def receive(self) -> Any:
        return self.child.receive(LONG)

    def end(self) -> list[str]:
        """Wait until the process has ended and return what it printed."""
        assert self.child.wait(LONG) == 0, self.child.tail(50)
        printed = self.child.tail(1000)
        self.child.stop()
        return printed


def check_both_halves(server: OwnServer, spec: str, trouble: AbstractContextManager[object]) -> None:
    """Check that the API has every end of a flow run whose second half runs inside `trouble`."""
    run = Flow(server, spec, "in_two_halves", 200)
    assert run.receive() == "half"
    with trouble:
        run.child.send("go on")
        assert run.receive() == "whole"
    run.child.send("end")
    assert run.receive() == {"completed": 200}
    run.end()
    assert server.states(run.flow_run_id) == {"Completed": 200}
