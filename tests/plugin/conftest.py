"""Flows for the pytest runs of these tests, and a folder that shows what a run leaves behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin.watching import Watched

FLOWS = """
import os
import pytest
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect_anyrunner import AnyTaskRunner, gather

@task
def double(number):
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * 2

@flow(task_runner=AnyTaskRunner())
def doubles(numbers):
    return gather(double.map(numbers))

@flow(task_runner=AnyTaskRunner())
def parent(numbers):
    return doubles(numbers), FlowRunContext.get().task_runner.name

@flow
def of_its_own():
    return FlowRunContext.get().task_runner.name
"""


@pytest.fixture
def flows(pytester: pytest.Pytester, prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYRUNNER", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(flows=FLOWS)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    folder = Path(tempfile.mkdtemp(prefix="t"))  # a short path, because Ray puts sockets there
    monkeypatch.setenv("TMPDIR", str(folder))
    watched = Watched(folder)
    yield watched
    for process in watched.processes():
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
