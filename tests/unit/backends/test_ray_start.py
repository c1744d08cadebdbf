"""The environment in which a Ray starts in this process, without a Ray."""

from __future__ import annotations

import os

import pytest

connection = pytest.importorskip("prefect_anyrunner.backends._ray.connection")


def test_a_ray_that_starts_here_gets_more_time_than_its_default_and_leaves_no_variable_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "RAY_raylet_start_wait_time_s"
    monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    seen: dict[str, str] = {}

    def start() -> None:
        seen.update(os.environ)
        raise RuntimeError("this Ray does not start")

    with pytest.raises(RuntimeError, match="does not start"):
        connection._started(start, own=True)
    assert int(seen[name]) > 30
    assert dict(os.environ) == before
