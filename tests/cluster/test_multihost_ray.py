"""Ray on several hosts, through its client server: the user sees the truth when nodes come, die or are cut off."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cluster import hosts

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400, func_only=True)]
# A process that a shell starts in the background ignores SIGINT, but Ray cancels running tasks with that signal.
LAUNCH = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
RAY = [sys.executable, "-c", LAUNCH, str(Path(sys.executable).with_name("ray")), "start", "--block"]
# The conftest of this folder explains these variables.
CLIENT_SERVER = {"GRPC_ENABLE_FORK_SUPPORT": "false", "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "180"}
SMALL = ["--num-cpus", "1", "--object-store-memory", "100000000"]


class Cluster(NamedTuple):
    laptop: hosts.Host
    head: hosts.Host
    spec: str
    api: str

    def node(self, name: str) -> hosts.Host:
        """Start a node with one CPU on a host of its own; it has joined when this returns."""
        host = self.head.network.host(name)
        words = ["--address", f"{self.head.address}:6379", "--node-ip-address", host.address, *SMALL]
        host.start(name, *RAY, *words, RAY_raylet_start_wait_time_s="120").until("Ray runtime started")
        return host


@pytest.fixture(scope="module")
def laptop(network: hosts.Network) -> tuple[hosts.Host, str]:
    pytest.importorskip("ray")
    host = network.host("laptop")
    return host, hosts.start_api(host)


@pytest.fixture(scope="module")
def cluster(laptop: tuple[hosts.Host, str]) -> Iterator[Cluster]:
    host, api = laptop
    head = host.network.host("head")
    folder = tempfile.mkdtemp(prefix="r")  # Ray puts sockets there, whose paths must be short
    words = ["--head", "--node-ip-address", head.address, "--port", "6379", "--ray-client-server-port", "10001"]
    words += ["--include-dashboard", "false", "--temp-dir", folder, *SMALL]
    head.start("head", *RAY, *words, RAY_raylet_start_wait_time_s="120", **CLIENT_SERVER).until("Ray runtime started")
    yield Cluster(host, head, f"ray://{head.address}:10001", api)
    shutil.rmtree(folder, ignore_errors=True)


def test_modules_beside_the_flow_travel_with_its_tasks(cluster: Cluster) -> None:
    end = hosts.Driver(cluster.laptop, "modules", cluster.spec, cluster.api).end()
    assert end["raised"] is None
    one, two, refused, late = end["rows"]
    assert [one["value"], two["value"]] == [2, 4]
    assert (refused["status"], refused["text"], refused["own"]) == ("failed", "('unlucky', 13)", True)
    assert (late["status"], late["error"]) == ("failed", "ModuleNotFoundError")
    assert any("Module 'unseen' exists where the flow runs, but not on the worker" in note for note in late["notes"])
    assert end["states"] == {"COMPLETED": 2, "FAILED": 2}


def test_workers_that_cannot_reach_the_api_crash_each_run(cluster: Cluster) -> None:
    """The API's address is only valid on the laptop. Each run is crashed as soon as a worker has tried the address."""
    end = hosts.Driver(cluster.laptop, "holding", cluster.spec, f"http://127.0.0.1:{hosts.API_PORT}/api").end()
    for row in end["rows"]:
        assert (row["status"], row["cause"]) == ("crashed", "ApiUnreachable")
        assert f"cannot reach the Prefect API at http://127.0.0.1:{hosts.API_PORT}/api" in row["text"]
    assert end["states"] == {"CRASHED": 4}


def test_a_driver_that_is_cut_off_for_some_seconds_loses_nothing(cluster: Cluster) -> None:
    driver = hosts.Driver(cluster.laptop, "holding", cluster.spec, cluster.api)
    driver.until_there("ran-0")
    cluster.laptop.link("down")
    driver.path("go").touch()
    driver.pause(4)
    cluster.laptop.link("up")
    end = driver.end()
    assert [row["status"] for row in end["rows"]] == ["completed"] * 4, end
    assert end["states"] == {"COMPLETED": 4}
    assert [driver.times(f"ran-{number}") for number in range(4)] == [1] * 4


def test_a_worker_that_dies_crashes_one_of_many_small_runs(cluster: Cluster) -> None:
    driver = hosts.Driver(cluster.laptop, "dying", cluster.spec, cluster.api)
    end = driver.end()
    assert [row["status"] for row in end["rows"]] == ["completed"] * 21 + ["crashed"] + ["completed"] * 18, end
    assert end["states"] == {"COMPLETED": 79, "CRASHED": 1}
    assert [driver.times(f"ran-{number}") for number in range(40)] == [1] * 40


def test_a_node_that_joins_late_runs_tasks_and_crashes_one_when_it_dies(cluster: Cluster) -> None:
    """A node that joins runs a waiting body. When it dies, that run is crashed, and no other."""
    driver = hosts.Driver(cluster.laptop, "holding", cluster.spec, cluster.api)
    driver.until_there("ran-0")
    node = cluster.node("late")
    driver.until_there("ran-1")
    node.off()
    driver.path("go").touch()
    end = driver.end()
    assert sorted(row["status"] for row in end["rows"]) == ["completed", "completed", "completed", "crashed"], end
    assert end["states"] == {"COMPLETED": 3, "CRASHED": 1}
    assert [driver.times(f"ran-{number}") for number in range(4)] == [1] * 4


def test_a_head_that_dies_crashes_all_open_runs(cluster: Cluster) -> None:
    """All open runs are crashed, and the flow ends. This test stands last because it ends the head."""
    driver = hosts.Driver(cluster.laptop, "holding", cluster.spec, cluster.api)
    driver.until_there("ran-0")
    cluster.head.off()
    end = driver.end()
    assert [row["status"] for row in end["rows"]] == ["crashed"] * 4, end
    for row in end["rows"]:
        assert f"the connection to the Ray cluster at {cluster.spec} was lost" in row["text"]
    assert end["states"] == {"CRASHED": 4}
