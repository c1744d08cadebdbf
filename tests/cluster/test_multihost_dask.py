"""Dask on several hosts: the user and the API see the truth when hosts come, go, die or cannot be reached."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from tests.cluster import hosts
from tests.cluster.dask_hosts import PORT, start_scheduler, start_worker

pytestmark = [pytest.mark.dask, pytest.mark.timeout(400, func_only=True)]


class Cluster(NamedTuple):
    laptop: hosts.Host
    head: hosts.Host
    scheduler: hosts.Process
    spec: str
    api: str

    def worker(self, name: str) -> hosts.Process:
        """Start a worker with one thread on a host of its own; it is ready when this returns."""
        return start_worker(self.head, name, threads=1)


@pytest.fixture(scope="module")
def laptop(network: hosts.Network) -> tuple[hosts.Host, str]:
    pytest.importorskip("distributed")
    host = network.host("laptop")
    return host, hosts.start_api(host)


def start(laptop: tuple[hosts.Host, str], name: str) -> Cluster:
    host, api = laptop
    head = host.network.host(name)
    scheduler = start_scheduler(head, name)
    cluster = Cluster(host, head, scheduler, f"dask://{head.address}:{PORT}", api)
    for number in (1, 2):
        cluster.worker(f"{name}-w{number}")
    return cluster


@pytest.fixture(scope="module")
def cluster(laptop: tuple[hosts.Host, str]) -> Cluster:
    return start(laptop, "a")


def test_modules_beside_the_flow_travel_with_its_tasks(cluster: Cluster) -> None:
    end = hosts.Driver(cluster.laptop, "modules", cluster.spec, cluster.api).end()
    assert end["raised"] is None
    one, two, refused, late = end["rows"]
    assert [one["value"], two["value"]] == [2, 4]
    assert (refused["status"], refused["text"], refused["own"]) == ("failed", "('unlucky', 13)", True)
    # A module that only a body imports cannot be foreseen, so the error says what to do.
    assert (late["status"], late["error"]) == ("failed", "ModuleNotFoundError")
    assert any("Module 'unseen' exists where the flow runs, but not on the worker" in note for note in late["notes"])
    assert end["states"] == {"COMPLETED": 2, "FAILED": 2}


def test_workers_that_cannot_reach_the_api_fail_the_flow_run(cluster: Cluster) -> None:
    """The API's address is only valid on the laptop. The flow run fails at once, before any body runs."""
    end = hosts.Driver(cluster.laptop, "holding", cluster.spec, f"http://127.0.0.1:{hosts.API_PORT}/api").end()
    assert end["raised"].startswith("ApiUnreachable: Dask worker tcp://10.77.0.")
    assert f"cannot reach the Prefect API at http://127.0.0.1:{hosts.API_PORT}/api" in end["raised"]
    assert "set PREFECT_API_URL to an address that workers can reach" in end["raised"]
    assert end["states"] == {}


def test_a_driver_that_is_cut_off_for_some_seconds_loses_nothing(cluster: Cluster) -> None:
    driver = hosts.Driver(cluster.laptop, "holding", cluster.spec, cluster.api)
    driver.until_there("ran-0")
    cluster.head.link("down")
    driver.path("go").touch()  # so that bodies end, and no new ones begin, while nothing reaches the driver
    driver.until_there("ran-1")
    cluster.head.link("up")
    end = driver.end()
    assert [row["status"] for row in end["rows"]] == ["completed"] * 4
    assert end["states"] == {"COMPLETED": 4}
    assert [driver.times(f"ran-{number}") for number in range(4)] == [1] * 4


def test_a_worker_that_joins_late_runs_tasks(cluster: Cluster) -> None:
    driver = hosts.Driver(cluster.laptop, "late", cluster.spec, cluster.api)
    driver.until_there("ran-1")
    cluster.worker("a-late")
    driver.until_ran(4)  # one has ended and two wait on the old workers, so this one runs on the new worker
    driver.path("more-workers").touch()
    end = driver.end()
    assert {row["status"] for row in end["rows"]} == {"completed"}
    assert len({row["value"] for row in end["rows"]}) == 3, end["rows"]  # addresses
    assert end["states"] == {"COMPLETED": 8}


RETIRE = """
import sys, distributed
with distributed.Client(sys.argv[1]) as client:
    names = {info["name"]: address for address, info in client.scheduler_info(n_workers=-1)["workers"].items()}
    print("retired", list(client.retire_workers([names[sys.argv[2]]])), flush=True)
"""


def test_a_worker_that_retires_loses_no_result(cluster: Cluster) -> None:
    """Its results move to other workers. Each run on it ends once, completed or crashed, and no body runs again."""
    driver = hosts.Driver(cluster.laptop, "keeping", cluster.spec, cluster.api)
    driver.until_there("ran-0")
    address = f"tcp://{cluster.head.address}:{PORT}"
    cluster.head.start("retire", sys.executable, "-c", RETIRE, address, "a-w1").until("retired [")
    driver.path("go").touch()
    end = driver.end()
    kept, held = end["rows"][:4], end["rows"][4:]
    assert [row["value"] for row in kept] == ["2000000 bytes"] * 4, kept
    assert {row["status"] for row in held} <= {"completed", "crashed"}, held
    assert [driver.times(f"large-{number}") for number in range(1, 5)] == [1] * 4
    assert [driver.times(f"ran-{number}") for number in range(2)] == [1] * 2


def test_a_scheduler_that_dies_crashes_all_open_runs(laptop: tuple[hosts.Host, str]) -> None:
    """All open runs are crashed, for the user and in the API, and the flow ends."""
    cluster = start(laptop, "b")
    driver = hosts.Driver(cluster.laptop, "holding", cluster.spec, cluster.api)
    driver.until_there("ran-0")
    cluster.scheduler.kill()
    end = driver.end()
    assert [row["status"] for row in end["rows"]] == ["crashed"] * 4
    for row in end["rows"]:
        assert f"the connection to the Dask scheduler at tcp://{cluster.head.address}:{PORT} was lost" in row["text"]
    assert end["states"] == {"CRASHED": 4}
