"""The whole table of rules through a Ray Client server and through TLS."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_anyrunner.conformance import CASES

ENGINES = {"ray": "ray_client", "dask": "dask_tls"}


@pytest.mark.timeout(480, func_only=True)  # the first case on each engine waits until it has started
@pytest.mark.parametrize(
    ("engine", "case"),
    [
        pytest.param(engine, case, id=f"{engine}-{case.id}", marks=getattr(pytest.mark, engine))
        for engine in ENGINES
        for case in CASES
        if case.only in (None, engine)
    ],
)
def test_rule(request: pytest.FixtureRequest, engine: str, case: Any, benches: Any) -> None:
    benches.run(request.getfixturevalue(ENGINES[engine]), case)
