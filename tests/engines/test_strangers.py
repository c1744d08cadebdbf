"""A runner that is sent to something else than its engine says so within its timeout, instead of waiting without end.

That no test here waits longer is what pytest-timeout is for: without the greeting, each Dask test hangs.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from prefect_anyrunner import EngineUnreachable, pick
from tests.engines import strangers

STRANGERS = {"silent": strangers.silent, "http": strangers.http, "talking": strangers.talking}


def refusal(spec: str) -> str:
    with pytest.raises(EngineUnreachable) as caught, pick(spec):
        pass
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


@pytest.mark.dask
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", STRANGERS)
def test_dask_names_a_stranger(kind: str) -> None:
    with STRANGERS[kind]() as port:
        text = refusal(f"dask://127.0.0.1:{port}?connect_timeout=2")
    answer = (
        "answers, but is no Dask scheduler"
        if kind == "talking"
        else "no Dask scheduler answered there within 2 seconds"
    )
    assert f"tcp://127.0.0.1:{port} " in text and answer in text and "8787 is usually its dashboard" in text


@pytest.mark.dask
@pytest.mark.timeout(60)
def test_dask_names_the_prefect_api(prefect_server: str) -> None:
    text = refusal(f"dask://{prefect_server.partition('://')[2].partition('/')[0]}?connect_timeout=2")
    assert "is no Dask scheduler" in text or "no Dask scheduler answered" in text


@pytest.mark.dask
@pytest.mark.timeout(120)
def test_dask_names_its_dashboard_and_its_workers() -> None:
    import distributed

    local: Any = distributed.LocalCluster
    with local(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", processes=False,
        protocol="tcp",
    ) as cluster:  # fmt: skip
        dashboard = cluster.scheduler.services["dashboard"].port
        assert "8787 is usually its dashboard" in refusal(f"dask://127.0.0.1:{dashboard}?connect_timeout=2")
        (worker,) = cluster.workers.values()
        text = refusal(worker.address.replace("tcp://", "dask://"))
        assert text == f"{worker.address} is a Dask worker, not the scheduler, which is at {cluster.scheduler_address}."


@pytest.mark.dask
@pytest.mark.timeout(60)
def test_dask_asks_again_before_it_connects(dask_cluster: str) -> None:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    mine = DaskTaskRunner(address=dask_cluster, connect_timeout=2)
    with mine, strangers.silent() as port:
        mine.address = f"tcp://127.0.0.1:{port}"  # as if the scheduler had gone between start and submit
        with pytest.raises(EngineUnreachable, match="no Dask scheduler answered there"):
            mine._connect()


@pytest.mark.ray
@pytest.mark.timeout(60)
@pytest.mark.parametrize("scheme", ["ray://", ""])
@pytest.mark.parametrize("kind", STRANGERS)
def test_ray_names_a_stranger(kind: str, scheme: str) -> None:
    from prefect_anyrunner.backends._ray.greeting import greet

    with STRANGERS[kind]() as port:
        address = f"{scheme}127.0.0.1:{port}"
        with pytest.raises(EngineUnreachable) as caught:
            greet(address, 2)
    answer = "no Ray answered there within 2 seconds" if kind == "silent" else "answers, but is no Ray"
    assert str(caught.value).startswith(f"{address} ") and answer in str(caught.value)


@pytest.mark.ray
@pytest.mark.timeout(60)
def test_a_ray_is_greeted_by_its_own_kind_of_address(ray_head: str) -> None:
    from prefect_anyrunner.backends._ray.greeting import greet

    greet(ray_head, 10)
    with pytest.raises(EngineUnreachable, match="is no server for clients of Ray"):
        greet(f"ray://{ray_head}", 10)


@pytest.mark.ray
def test_nobody_at_all_is_an_os_error() -> None:
    from prefect_anyrunner.backends._ray.greeting import greet

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(ConnectionRefusedError):
            greet(f"ray://127.0.0.1:{taken.getsockname()[1]}", 10)
