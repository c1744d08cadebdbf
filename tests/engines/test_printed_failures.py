"""What Prefect's log shows of a flow run with many failures."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow, task

from prefect_anyrunner import TaskRunsFailed, gather
from tests.engines.four_runners import OURS

pytestmark = pytest.mark.parametrize("kind", OURS)


@task
def fetch(row: int) -> None:
    if row % 2:
        raise ConnectionError(f"no answer from {'abcdefghijklmnop'[row % 16]}.example.com")
    raise ValueError(f"row {row}: cannot parse")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("prefect.flow_runs")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    yield stream
    logger.setLevel(level)
    logger.removeHandler(handler)


def test_prefects_log_is_bounded_and_ends_with_the_summary(runner: Any, log: io.StringIO) -> None:
    @flow(task_runner=runner)
    def nightly() -> None:
        gather(fetch.map(range(60)))

    with pytest.raises(TaskRunsFailed) as raised:
        nightly()
    assert len(raised.value.exceptions) == 60
    lines = log.getvalue().splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("Encountered exception")]
    printed = lines[first:]
    assert len(printed) < 80
    assert max(map(len, printed)) < 800
    text = "\n".join(printed)
    assert text.count("| Traceback (most recent call last):") == 2
    last = text.partition("Summary: 60 of 60 task runs failed")[2]
    assert "30 x ValueError: row 0: cannot parse (test_printed_failures.py:" in last
    assert "30 x ConnectionError: no answer from b.example.com (test_printed_failures.py:" in last
