"""A runner with the address of a Ray uses that one or none, also where this process is connected to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task

from prefect_anyrunner import EngineUnreachable, settle
from tests.engines import files
from tests.engines.test_no_workers import warnings_of

pytestmark = pytest.mark.ray


@task
def double(number: int) -> int:
    return 2 * number


def runner(**settings: Any) -> Any:
    from prefect_anyrunner.backends.ray import RayTaskRunner

    return RayTaskRunner(**settings)


def doubled(ray_runner: Any) -> list[int]:
    @flow(task_runner=ray_runner)
    def doubling() -> list[int]:
        return settle(double.map([1, 2])).results()

    return doubling()


@pytest.mark.parametrize("address", ["ray://127.0.0.1:9", "127.0.0.1:9", "ray://head.invalid:10001"])
def test_another_address_is_refused(ray_head: str, address: str) -> None:
    with pytest.raises(EngineUnreachable, match=r"connected to the one at .*ray\.shutdown\(\)") as caught:
        doubled(runner(address=address))
    assert ray_head in str(caught.value)
    assert address in str(caught.value)


def test_the_same_address_and_none_are_used(ray_head: str) -> None:
    assert doubled(runner(address=ray_head)) == [2, 4]
    assert doubled(runner()) == [2, 4]


def test_auto_is_what_the_environment_says(ray_head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1:9"):
        doubled(runner(address="auto"))
    monkeypatch.setenv("RAY_ADDRESS", ray_head)
    assert doubled(runner(address="auto")) == [2, 4]


def waits_for(path: Path) -> str:
    """Return an expression that is not evaluated before there is a file."""
    there = f"__import__('pathlib').Path({str(path)!r})"
    return f"__import__({files.__name__!r}, fromlist=['']).until_there({there})"


def test_worker_that_does_not_answer_holds_up_no_submit(
    ray_head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect_anyrunner.backends import ray as ray_backend

    expression = waits_for(tmp_path / "go on")
    monkeypatch.setattr(ray_backend, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(ray_backend, "probe_expression", lambda *_, **__: expression)
    monkeypatch.setattr(ray_backend, "user_modules", lambda: {files.__name__: files})
    mine = runner(address=ray_head)
    with warnings_of(mine.logger) as found:
        assert doubled(mine) == [2, 4]
    (tmp_path / "go on").touch()
    assert found.texts == ["No Ray worker answered within 0.1 seconds which modules it has."]


def test_check_of_a_worker_that_does_not_answer_ends(
    ray_head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect_anyrunner.backends import ray as ray_backend

    monkeypatch.setattr(ray_backend, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(ray_backend, "probe_expression", lambda *_: waits_for(tmp_path / "go on"))
    with (
        runner(address=ray_head) as mine,
        pytest.raises(EngineUnreachable, match=r"No Ray worker answered within 0\.1"),
    ):
        mine.workers()
    (tmp_path / "go on").touch()
