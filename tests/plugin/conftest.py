"""Flows for the pytest runs of these tests, and a place to see what a run leaves behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plugin.watching import Watched


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    folder = Path(tempfile.mkdtemp(prefix="t"))  # not below pytest's: Ray puts sockets there, whose paths must be short
    monkeypatch.setenv("TMPDIR", str(folder))
    watched = Watched(folder)
    yield watched
    for process in watched.processes():
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
