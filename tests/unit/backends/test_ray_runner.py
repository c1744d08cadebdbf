"""Threads that submit first at the same time start one watch, and pickle nothing before a worker was asked."""

from __future__ import annotations

import contextvars
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from prefect_anyrunner._driver.remote_runner import RemoteRunner

ray = pytest.importorskip("prefect_anyrunner.backends.ray")
PATIENCE = 1.0
"""Seconds in which another thread would do what it must not do."""


def test_two_threads_start_one_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = ray.RayTaskRunner()
    runner._channel = SimpleNamespace(send=lambda _: None)
    other = threading.Thread(target=runner.dispatch, args=([],))
    made: list[str] = []
    twice = threading.Event()

    def watch(*_: Any, **__: Any) -> object:
        made.append(threading.current_thread().name)
        if len(made) == 1:
            other.start()
            twice.wait(PATIENCE)
        else:
            twice.set()
        return object()

    monkeypatch.setattr(ray, "WorkerWatch", watch)
    runner.dispatch([])
    other.join()
    assert made == [threading.current_thread().name]


def test_no_thread_pickles_before_a_worker_has_said_which_modules_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = ray.RayTaskRunner(address="ray://127.0.0.1:9")
    done: list[str] = []
    prepared = threading.Event()

    def prepare(*_: Any) -> bool:
        done.append("prepared")
        prepared.set()
        return True

    def run() -> Any:
        return SimpleNamespace(context=contextvars.copy_context())

    other = threading.Thread(target=runner.prepare, args=(run(), None))

    def probe() -> None:
        other.start()
        prepared.wait(PATIENCE)
        done.append("probed")

    monkeypatch.setattr(RemoteRunner, "prepare", prepare)
    monkeypatch.setattr(runner, "_probe_worker", probe)
    assert runner.prepare(run(), None)
    other.join()
    assert done == ["probed", "prepared", "prepared"]
