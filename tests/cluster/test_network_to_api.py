"""The network to the Prefect API is gone for a while: the flow goes on, and the API has every run's end (rule S2)."""

from __future__ import annotations

import pytest

from tests.cluster import dask_hosts, hosts

pytestmark = pytest.mark.timeout(400, func_only=True)
CUT_SECONDS = 20.0
"""Longer than an answer of the API may take, so that questions that are on their way end in errors."""


@pytest.fixture(scope="module")
def api(network: hosts.Network) -> tuple[hosts.Host, str]:
    host = network.host("api")
    return host, hosts.start_api(host)


@pytest.fixture(scope="module")
def laptop(network: hosts.Network, api: tuple[hosts.Host, str]) -> hosts.Host:
    return network.host("laptop")


@pytest.fixture(scope="module")
def dask(laptop: hosts.Host) -> str:
    """A scheduler and a worker on hosts of their own; gives their spec."""
    pytest.importorskip("distributed")
    head = laptop.network.host("head")
    dask_hosts.start_scheduler(head, "scheduler")
    dask_hosts.start_worker(head, "worker", threads=2)
    return f"dask://{head.address}:{dask_hosts.PORT}"


@pytest.mark.parametrize("spec", ["thread", "process://?max_workers=2", pytest.param("dask", marks=pytest.mark.dask)])
def test_the_api_has_every_end_after_the_network_was_gone(
    request: pytest.FixtureRequest, api: tuple[hosts.Host, str], laptop: hosts.Host, spec: str
) -> None:
    host, url = api
    driver = hosts.Driver(laptop, "cut_off", request.getfixturevalue("dask") if spec == "dask" else spec, url)
    driver.until_there("half")
    host.link("down")
    try:
        driver.path("cut").touch()
        driver.until_there("whole")
        driver.pause(CUT_SECONDS)
    finally:
        host.link("up")
    driver.path("back").touch()
    end = driver.end(within=300)
    assert end["raised"] is None
    assert [row["status"] for row in end["rows"]] == ["completed"] * 200
    assert driver.times("counted") == 200
    assert end["states"] == {"COMPLETED": 200}
