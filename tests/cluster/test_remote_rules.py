"""A sample of the rules through a Ray Client server and through TLS; test_remote_table.py runs all of them."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow

from prefect_anyrunner import RunnerSpec, SpecError
from prefect_anyrunner.conformance import CASES, tasks

SOME = ("O1-group", "F1-whole", "K1-while-running", "L1-duplicate", "V1-result")
ENGINES = {"ray": "ray_client", "dask": "dask_tls"}


@pytest.fixture(
    params=[pytest.param("dask", marks=pytest.mark.dask), pytest.param("ray", marks=pytest.mark.ray)], scope="module"
)
def spec(request: pytest.FixtureRequest) -> str:
    text: str = request.getfixturevalue(ENGINES[request.param])
    return text


@pytest.mark.timeout(480, func_only=True)  # the first case on each engine waits until it has started
@pytest.mark.parametrize("case", [each for each in CASES if each.id in SOME], ids=lambda case: case.id)
def test_rule(spec: str, case: Any, benches: Any) -> None:
    benches.run(spec, case)


@pytest.mark.dask
def test_tls_without_a_certificate_is_one_sentence(dask_tls: str) -> None:
    address = RunnerSpec.parse(dask_tls).address
    assert address is not None and address.startswith("tls://")

    @flow(task_runner=RunnerSpec("dask", address, {}).runner())
    def one() -> Any:
        return tasks.double.submit(1).result()

    with pytest.raises(SpecError, match=r"^tls://127\.0\.0\.1:\d+ speaks TLS: give ca_file, cert and key"):
        one()
